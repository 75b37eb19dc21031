package watch

import (
	"strings"
	"testing"
)

func TestMachine(t *testing.T) {
	m, err := LookAtMachine()
	if err != nil || m.Cores < 1 || m.MemoryBytes < 1<<20 || !strings.Contains(m.String(), "Linux "+m.Kernel) {
		t.Errorf("got %+v %q, %v", m, m, err)
	}
}
