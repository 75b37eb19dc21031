package process

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestAWaveOfPostsDuringADrain: each of 500 streams of events has something to say while the server drains, all at the same moment, and over
// connections that come only then. Each is answered.
func TestAWaveOfPostsDuringADrain(t *testing.T) {
	t.Parallel()
	const clients, atOnce = 500, 64 // as many as come at once on a busy machine before the server has waited too long for the first request
	s := start(t, launch{data: t.TempDir(), flags: []string{"--drain.window", "25s", "--limits.connections-per-ip", "0"}})
	streams, posters, names := make([]net.Conn, clients), make([]net.Conn, clients), make([]string, clients)
	defer func() {
		for _, c := range append(streams, posters...) {
			if c != nil {
				c.Close()
			}
		}
		if err := s.wait(patience); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}()
	each := func(do func(i int) error) {
		t.Helper()
		work := make(chan int)
		var working sync.WaitGroup
		for range atOnce {
			working.Go(func() {
				for i := range work {
					if err := do(i); err != nil {
						t.Errorf("client %d: %v", i, err)
					}
				}
			})
		}
		for i := range clients {
			work <- i
		}
		close(work)
		working.Wait()
	}
	dial := func(to []net.Conn, i int) (err error) {
		to[i], err = net.DialTimeout("tcp", s.address, patience)
		if err == nil {
			to[i].SetDeadline(time.Now().Add(2 * patience))
		}
		return err
	}
	each(func(i int) error {
		if err := dial(streams, i); err != nil {
			return err
		}
		fmt.Fprintf(streams[i], "GET /events?name=client-%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
		for in := bufio.NewScanner(streams[i]); in.Scan(); {
			if name, found := strings.CutPrefix(in.Text(), "data: "); found {
				names[i] = name
				return nil
			}
		}
		return io.ErrUnexpectedEOF
	})
	if t.Failed() {
		return
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readyz is 503", func() bool {
		status, _, err := s.get("/readyz")
		return err == nil && status == http.StatusServiceUnavailable
	})
	begun := time.Now()
	each(func(i int) error { return dial(posters, i) })
	came := time.Now()
	each(func(i int) error {
		body := fmt.Sprintf(`{"id":1,"publish":{"room":"hall-%d","text":"before I go"}}`, i%10)
		_, err := fmt.Fprintf(posters[i], "POST /events/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", names[i], len(body), body)
		return err
	})
	each(func(i int) error {
		res, err := http.ReadResponse(bufio.NewReader(posters[i]), nil)
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusNoContent {
			return fmt.Errorf("a POST was answered with %s", res.Status)
		}
		return nil
	})
	t.Logf("%d connections came in %v, and their POSTs were answered in %v", clients, came.Sub(begun), time.Since(came))
}
