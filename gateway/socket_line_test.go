package gateway

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/accept"
)

// TestFaultsOfTheUnixSocketAreOneLineASecond: nothing can be accepted for ten seconds, as while descriptors or watches have run out.
func TestFaultsOfTheUnixSocketAreOneLineASecond(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	synctest.Test(t, func(t *testing.T) {
		s, err := listenSocket(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.listener.SetDeadline(time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		var faults accept.Faults
		s.serve(func(net.Conn, netip.Addr) error { return unix.ENOSPC }, &faults, slog.New(slog.NewTextHandler(&log, nil)))
		time.Sleep(9500 * time.Millisecond)
		s.close()
		if counts := faults.Counts(); counts[len(counts)-1] == 0 {
			t.Errorf("accepts that failed are counted as %d", counts)
		}
		if n := strings.Count(log.String(), "accept a connection"); n != 10 {
			t.Errorf("ten lines were to be written, and %d were:\n%s", n, log.String()[:min(1000, log.Len())])
		}
	})
}
