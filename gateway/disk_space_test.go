package gateway

import (
	"path/filepath"
	"testing"
)

func TestDiskSpaceIsThatOfTheFileSystem(t *testing.T) {
	if d := diskOf(t.TempDir()); d.free <= 0 || d.size < d.free {
		t.Errorf("of a directory: %+v", d)
	}
	if d := diskOf(filepath.Join(t.TempDir(), "none")); d.free != -1 || d.size != -1 {
		t.Errorf("of none: %+v", d)
	}
}
