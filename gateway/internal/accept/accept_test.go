package accept

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// poor fails with each of faults, then gives a connection, then is closed.
type poor struct {
	faults []error
	given  bool
}

func (p *poor) Accept() (net.Conn, error) {
	if len(p.faults) > 0 {
		err := p.faults[0]
		p.faults = p.faults[1:]
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
	}
	if p.given {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed}
	}
	p.given = true
	return &net.TCPConn{}, nil
}

func (p *poor) Addr() net.Addr { return &net.TCPAddr{} }
func (p *poor) Close() error   { return nil }

func TestAcceptGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		var faults Faults
		l := On(&poor{faults: []error{unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EPROTO, unix.ENETDOWN, unix.EPERM}}, slog.New(slog.NewTextHandler(&said, nil)), &faults)
		if conn, err := l.Accept(); conn == nil || err != nil {
			t.Errorf("behind the faults came %v, %v", conn, err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("of a closed listener came %v", err)
		}
		if lines := strings.Count(said.String(), "\n"); lines != 1 {
			t.Errorf("%d lines in less than a second:\n%s", lines, &said)
		}
		if got, want := faults.Counts(), [...]int64{ofProcess: 0, ofMachine: 1, ofMemory: 2, ofOthers: 3}; got != want {
			t.Errorf("of the reasons %q %d are counted, want %d", ReasonNames(), got, want)
		}
	})
}
