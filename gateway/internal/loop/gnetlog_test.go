package loop

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// TestWhyALoopEndsIsWritten, also amid accepts that fail, of which one is written a second.
func TestWhyALoopEndsIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		log := gnetLogger{slog.New(slog.NewTextHandler(&said, nil)), new(sync.Map)}
		for range 3 {
			log.Errorf("Accept() failed due to error: %v", "too many open files")
		}
		log.Errorf("event-loop(%d) is exiting due to error: %v", 1, "bad file descriptor")
		if accepts, ends := strings.Count(said.String(), "Accept()"), strings.Count(said.String(), "event-loop(1)"); accepts != 1 || ends != 1 {
			t.Errorf("%d and %d lines, want one of each:\n%s", accepts, ends, &said)
		}
	})
}
