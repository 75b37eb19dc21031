package process

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rookery/proto"
	"rookery/test/ledger"
)

// guest is a client that is there when the server is told to leave. Owned by its goroutine
// until that has ended.
type guest struct {
	peer  *peer
	stays bool // does not leave when asked to

	goaway        bool
	after, window time.Duration
	end           error
}

// stay reads until the end of the connection, and leaves when it is asked to and obeys.
func (g *guest) stay() {
	defer g.peer.conn.Close()
	for {
		f, err := g.peer.next()
		if err != nil {
			g.end = err
			return
		}
		if away := f.GetGoaway(); away != nil {
			g.goaway = true
			g.after = time.Duration(away.AfterMs) * time.Millisecond
			g.window = time.Duration(away.WindowMs) * time.Millisecond
			if !g.stays {
				time.Sleep(g.after) // what a client is told to do
				return
			}
		}
	}
}

// TestTermDrains: on SIGTERM every client is asked to leave, nobody new is let in, what is
// acknowledged is in the log, and the process ends in time with status 0.
func TestTermDrains(t *testing.T) {
	const (
		guests     = 200
		staying    = 50
		publishers = 8
		window     = 2 * time.Second
		room       = "hall"
	)
	data := t.TempDir()
	s := start(t, launch{data: data, flags: []string{"--drain.window", window.String()}})
	l := ledger.New(contentOf)

	var there []*guest
	for i := range guests {
		p, err := login(s.address, transports[i%2], fmt.Sprintf("guest-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		defer p.conn.Close()
		if err := p.enter(room); err != nil {
			t.Fatal(err)
		}
		there = append(there, &guest{peer: p, stays: i < staying})
	}
	var running sync.WaitGroup
	for _, g := range there {
		running.Go(g.stay)
	}
	var acknowledged atomic.Int64
	for i := range publishers {
		user := fmt.Sprintf("publisher-%d", i)
		p, err := login(s.address, transports[i%2], user)
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			defer p.conn.Close()
			publishUntilTheEnd(l, p, user, room, &acknowledged)
		})
	}
	eventually(t, "publishes flow", func() bool { return acknowledged.Load() > 100 })

	told := time.Now()
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readyz is 503", func() bool {
		status, _, err := s.get("/readyz")
		return err == nil && status == http.StatusServiceUnavailable
	})
	if status, _, err := s.get("/healthz"); err != nil || status != http.StatusOK {
		t.Errorf("healthz while draining: %d %v", status, err)
	}
	var refused *refusedError
	if _, err := login(s.address, webSocket, "late"); !errors.As(err, &refused) || refused.status != http.StatusServiceUnavailable || refused.retryAfter == "" {
		t.Errorf("a new WebSocket while draining ended with %v, want 503 with Retry-After", err)
	}
	var closed *closeError
	if _, err := login(s.address, rawTCP, "late"); !errors.As(err, &closed) || closed.code != proto.CloseDraining.Code {
		t.Errorf("a new TCP connection while draining ended with %v, want close code %d", err, proto.CloseDraining.Code)
	}
	before := acknowledged.Load()
	eventually(t, "publishes are acknowledged during the drain", func() bool { return acknowledged.Load() > before })

	if err := s.wait(window + 5*time.Second); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	took := time.Since(told)
	if want := "expected=4.5s at_most=30s"; !strings.Contains(s.log(), want) {
		t.Errorf("the log does not say %q", want)
	}
	running.Wait()
	spread := time.Duration(0)
	for i, g := range there {
		switch {
		case !g.goaway:
			t.Errorf("guest %d was not asked to leave; it ended with %v", i, g.end)
		case g.after > window || g.window != window:
			t.Errorf("guest %d was asked to leave after %v and to come back within %v; the window is %v", i, g.after, g.window, window)
		case g.stays && (!errors.As(g.end, &closed) || closed.code != proto.CloseDraining.Code):
			t.Errorf("guest %d stayed and ended with %v, want close code %d", i, g.end, proto.CloseDraining.Code)
		}
		spread = max(spread, g.after)
	}
	if spread < window/2 {
		t.Errorf("all were asked to leave within %v of a window of %v", spread, window)
	}

	s = start(t, launch{data: data})
	p, err := login(s.address, rawTCP, "auditor")
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	a := l.Audit(room, 0)
	if err := p.history(room, 0, a.Message); err != nil {
		t.Fatal(err)
	}
	a.End()
	t.Logf("drained in %v; %s", took.Round(time.Millisecond), l.Summary())
	if faults := l.Verdict(); faults != "" {
		t.Error(faults)
	}
}

// publishUntilTheEnd has four publishes in flight until the connection ends or the server
// says that it takes no more.
func publishUntilTheEnd(l *ledger.Ledger, p *peer, user, room string, acknowledged *atomic.Int64) {
	waiting := map[uint64]ledger.Publication{}
	for made := 0; ; {
		for len(waiting) < 4 {
			made++
			pub := l.Publish(room, user, fmt.Sprintf("%s-%d", user, made))
			id, err := p.send(publishRequest(room, pub.Key, contentOf(pub.Key)))
			if err != nil {
				return
			}
			waiting[id] = pub
		}
		f, err := p.next()
		if err != nil {
			return
		}
		switch {
		case f.GetPublished() != nil:
			l.Acknowledge(waiting[f.Id], f.GetPublished())
			acknowledged.Add(1)
			delete(waiting, f.Id)
		case f.GetError().GetName() == proto.ErrDraining.Name:
			return
		case f.GetError() != nil:
			l.Fault("%s: publish was answered with %v", user, f.GetError())
			return
		}
	}
}

// TestSecondTermEndsAtOnce has a client that stays, and a drain that is longer than the
// test's patience.
func TestSecondTermEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, launch{data: t.TempDir(), flags: []string{"--drain.window", "2m", "--drain.timeout", "3m"}})
	p, err := login(s.address, rawTCP, "guest")
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if f, err := p.next(); err != nil || f.GetGoaway() == nil {
		t.Fatalf("after SIGTERM came %v, %v", f, err)
	}
	// The first signal's handling is given back beside the drain: repeat the second.
	eventually(t, "it has ended", func() bool {
		s.signal(syscall.SIGTERM) // an error means that it has
		return !s.alive()
	})
	status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, want the signal's own end", s.cmd.ProcessState)
	}
}
