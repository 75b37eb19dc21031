package gateway

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/loop"
)

// listenShared is one more listener on an address, as gnet makes them.
func listenShared(t *testing.T, port int) (listener, itsPort int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}),
		unix.Listen(fd, 1024),
	); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, bound.(*unix.SockaddrInet4).Port
}

// TestNobodyIsLostWithTheListeners: while the old listeners are closed one after the other, clients come just before each of them is. Behind the
// first look nobody comes to an old one that is closed next, and all are accepted.
func TestNobodyIsLostWithTheListeners(t *testing.T) {
	for _, number := range []struct{ old, others int }{{1, 1}, {2, 2}, {4, 4}, {3, 8}, {1, 2}, {2, 1}, {4, 1}, {4, 2}, {8, 3}} {
		var old, others departing
		port := 0
		for range number.old {
			var fd int
			fd, port = listenShared(t, port)
			old = append(old, fd)
		}
		for range number.others {
			fd, _ := listenShared(t, port)
			others = append(others, fd)
		}
		var clients []net.Conn
		dial := func() {
			t.Helper()
			for range 40 {
				c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
				if err != nil {
					t.Fatal(err)
				}
				clients = append(clients, c)
			}
		}
		dial() // without a filter: to all of them
		given := departing{}
		if err := steer(old[0], len(old), len(others)); err != nil {
			t.Fatal(err)
		}
		step, settled := 0, len(others) >= len(old) // with fewer one of the old is given all until the others are closed
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		give := func(came []int) error {
			if step++; settled && step > 1 && len(came) > 0 {
				t.Errorf("%v: %d connections came to listener %d, which is closed", number, len(came), step)
			}
			given = append(given, came...)
			dial() // between the last look and the end of a listener
			return nil
		}
		if err := old.closeEach(address, len(others), give, func(last departing) error {
			given, settled, step = append(given, last.accept()...), true, 1
			return nil
		}, func(err error) {
			if err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		dial()
		got := append(given, others.accept()...)
		if len(got) != len(clients) {
			t.Errorf("%v: of %d connections %d were accepted", number, len(clients), len(got))
		}
		got.close()
		others.close()
		for _, c := range clients {
			c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%v: a connection ended with %v", number, err)
			}
			c.Close()
		}
	}
}

// TestWhoComesForEver: when new connections keep coming to the old listeners, since the kernel could not be steered, these are closed all the same.
func TestWhoComesForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{log: slog.New(slog.DiscardHandler)}
		came, given := 0, 0
		next := func() []int { came++; return []int{-1} }
		begun := time.Now()
		if err := s.linger(nil, time.Now().Add(lingeringMost), next, func(late []int) error { given += len(late); return nil }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < lingeringMost || took > lingeringMost+time.Second || given != came {
			t.Errorf("the old listeners stay for %v; %d of %d connections were given on", took, given, came)
		}
		begun = time.Now()
		if err := s.linger(nil, time.Now().Add(lingeringMost), func() []int { return nil }, func([]int) error { return nil }); err != nil || time.Since(begun) > 2*lingering {
			t.Errorf("those to whom nobody comes stay for %v, %v", time.Since(begun), err)
		}
	})
}

// TestWhoComesForEverTwice: where one old listener is left to the end, its time is that of all: it has no ten seconds of its own.
func TestWhoComesForEverTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, port := listenShared(t, 0)
		second, _ := listenShared(t, port)
		old := departing{first, second}
		other, _ := listenShared(t, port)
		defer departing{other}.close()
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		s := &Server{log: slog.New(slog.DiscardHandler), engine: loop.New(loop.Config{}), public: reservation{addr: address}}
		s.engine.SetCapacity(100)
		keep := func() {
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			s.engine.Keep(fd)
		}
		begun, given := time.Now(), 0
		keep()
		s.leave(old, 1, func(came []int) error {
			given += len(came)
			if time.Since(begun) < lingeringMost {
				keep()
				return nil
			}
			// To any listener, as if the kernel could not be steered.
			if err := unix.SetsockoptInt(other, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0); err != nil && err != unix.ENOENT {
				t.Error(err)
			}
			for range 8 {
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					continue
				}
				c.Close()
			}
			departing(departing{other}.accept()).close()
			return nil
		})
		if took := time.Since(begun); took < lingeringMost || took > lingeringMost+lingering || given == 0 {
			t.Errorf("the old listeners stay for %v, and %d connections were given on", took, given)
		}
	})
}

// TestWhoIsNotTakenIsTold: what can't be made a connection, here since it is no socket, is in the log.
func TestWhoIsNotTakenIsTold(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var said bytes.Buffer
	s := &Server{log: slog.New(slog.NewTextHandler(&said, nil))}
	if err := s.enter([]int{int(file.Fd())}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(said.String(), "accepted and not taken") {
		t.Errorf("the log has %q", &said)
	}
}
