package loop

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"rookery/proto"
)

// TestOutOfWatchesIsOneLineASecond, however many connections are closed for it.
func TestOutOfWatchesIsOneLineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := newRig(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		r.loop.arm = func(*conn) error { return unix.ENOSPC }
		for range 150 {
			s := r.open(true, proto.Binary)
			r.loop.await(s.context.(*conn))
			if !s.closed {
				t.Fatal("it is not closed")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if lines := strings.Count(log.String(), "can't be watched"); lines != 2 || !strings.Contains(log.String(), "unlogged=99") {
			t.Errorf("150 connections in a second and a half had %d lines:\n%s", lines, &log)
		}
	})
}
