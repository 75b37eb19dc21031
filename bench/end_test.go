package bench

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rookery/bench/benchtest"
	"rookery/bench/plan"
)

// silentServer accepts and says nothing.
func silentServer(t *testing.T) (target string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() }) // connections are taken by the kernel, and nobody accepts them
	return "tcp://" + listener.Addr().String()
}

// TestNoAnswerIsNoHang: whatever part of a run the server leaves without an answer, and whenever the user wants the end, it ends.
func TestNoAnswerIsNoHang(t *testing.T) {
	stop := make(chan struct{})
	close(stop)
	for _, c := range []struct {
		name    string
		change  func(*plan.Plan)
		stop    chan struct{}
		want    string // of the error; empty: a result
		unheard int64  // connects of it
	}{
		{"filling", func(p *plan.Plan) { p.Rooms.Backlog, p.Clients.Timeout = 1, 100*time.Millisecond }, nil, "has said nothing for 100ms", 0},
		{"filling, stopped", func(p *plan.Plan) { p.Rooms.Backlog, p.Clients.Timeout = 1, time.Hour }, stop, "stopped while the rooms were filled", 0},
		{"connecting, stopped", func(p *plan.Plan) { p.Clients.Timeout = time.Hour }, stop, "", 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := smallPlan(silentServer(t))
			p.Time.Drain = 0
			c.change(&p)
			r, err := Run(t.Context(), p, Options{Version: "test", Worker: []string{os.Args[0]}, Stop: c.stop})
			switch {
			case c.want != "":
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("the run ended with %v, want something on %q", err, c.want)
				}
			case err != nil:
				t.Error(err)
			case r.Counts.Connects != c.unheard || r.Counts.Connected != 0 || r.Counts.Sent+r.Counts.Unsent != 0:
				t.Errorf("counts are %+v", r.Counts)
			}
		})
	}
}

// TestFillWithLargeMessages: what is filled in finds room in the connection.
func TestFillWithLargeMessages(t *testing.T) {
	t.Parallel()
	s := benchtest.Start(t, benchtest.Faults{})
	p := smallPlan(s.URL())
	p.Clients.Connections, p.Rooms.Count, p.Rooms.Backlog = 1, 1, 300
	p.Publish.Rate, p.Publish.Size, p.Time.Duration = 0, 64<<10, time.Second
	if r := runPlan(t, p); r.CatchUp.Count != 300 || r.Counts.Delivered != 300 || r.Counts.Undelivered() != 0 {
		t.Errorf("caught up: %+v, counts are %+v", r.CatchUp, r.Counts)
	}
}

// TestWorkersEndWithARunThatDoesNotBegin: nobody is left of a worker that did not like its part.
func TestWorkersEndWithARunThatDoesNotBegin(t *testing.T) {
	ended := filepath.Join(t.TempDir(), "ended")
	script := `echo '{"hello":{"version":"test"}}'; read part; echo '{"error":"not with me"}'; cat >/dev/null; : >"$0"`
	_, err := Run(t.Context(), smallPlan("ws://127.0.0.1:1/ws"), Options{Version: "test", Worker: []string{"/bin/sh", "-c", script, ended}})
	if err == nil || !strings.Contains(err.Error(), "not with me") {
		t.Errorf("the run ended with %v", err)
	}
	if _, err := os.Stat(ended); err != nil {
		t.Errorf("the worker has not ended: %v", err)
	}
}

// TestAwaitEnds: a worker that has stopped does not hold the run.
func TestAwaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seconds{run: &run{fleet: &fleet{failed: make(chan error)}}, grown: make(chan struct{})}
		from := time.Now()
		if err := s.await(t.Context(), 0); err == nil || time.Since(from) != answerTime {
			t.Errorf("it ended with %v after %v, want an error after %v", err, time.Since(from), answerTime)
		}
	})
}
