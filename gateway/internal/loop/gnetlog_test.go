package loop

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// TestWhyALoopEndsIsWritten, also amid accepts that fail, of which one is written a second.
func TestWhyALoopEndsIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		failed := 0
		log := gnetLogger{slog.New(slog.NewTextHandler(&said, nil)), new(sync.Map), func(err error) {
			if errors.Is(err, unix.EMFILE) {
				failed++
			}
		}}
		for range 3 {
			log.Errorf("Accept() failed due to error: %v", unix.EMFILE)
		}
		log.Errorf("event-loop(%d) is exiting due to error: %v", 1, "bad file descriptor")
		if accepts, ends := strings.Count(said.String(), "Accept()"), strings.Count(said.String(), "event-loop(1)"); accepts != 1 || ends != 1 {
			t.Errorf("%d and %d lines, want one of each:\n%s", accepts, ends, &said)
		}
		if failed != 3 {
			t.Errorf("%d of 3 accepts that failed are told", failed)
		}
	})
}
