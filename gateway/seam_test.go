package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	v1 "rookery/proto/rookery/v1"
)

// TestSeamBetweenCatchUpAndLive has readers join at random positions, stall until their
// sockets are full, leave, drop their connections and come back, while messages of
// random sizes flow. The model is the simplest there is: whatever a reader does, the numbers
// that it sees in a room go up by one.
func TestSeamBetweenCatchUpAndLive(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ROOKERY_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("seed %d: repeat with ROOKERY_SEED=%d", seed, seed)
	running := 6 * time.Second
	if testing.Short() {
		running = 2 * time.Second
	}
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Log.Sync = gateway.SyncNever // many messages, not many syncs, is what this needs
		c.Limits.OutboundBytes = 4 << 20
		c.Heartbeat = time.Hour // who stalls is not asked whether it lives
	})
	rooms := []string{"one", "two", "three"}
	var published [3]atomic.Uint64
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	for i, room := range rooms {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			p := login(t, srv.Addr(), wires[i], "writer")
			for {
				select {
				case <-stop:
					return
				default:
				}
				burst := 1 + rng.IntN(40)
				for range burst {
					p.publish(room, "", fmt.Sprintf("%0*d", 1+rng.IntN(10_000), 0))
				}
				for range burst {
					f := p.must()
					if f.GetPublished() == nil {
						t.Errorf("publish was answered with %v", f)
						return
					}
					published[i].Store(f.GetPublished().Seq)
				}
				time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond)
			}
		})
	}
	for i := range 12 {
		readers.Go(func() {
			r := &seamReader{t: t, srv: srv, wire: wires[i%len(wires)], rng: rand.New(rand.NewPCG(seed, uint64(100+i))),
				rooms: rooms, seen: map[string]uint64{}}
			if i < len(wires) {
				// One of each kind reads nothing until the end: the kernel's buffers take some
				// megabytes before a socket is full.
				r.connect()
				<-stop
			} else {
				r.run(stop)
			}
			r.finish(func(room string) uint64 {
				for j := range rooms {
					if rooms[j] == room {
						return published[j].Load()
					}
				}
				return 0
			}, &writers)
		})
	}
	// As long as it takes to reach what the test is for: on a busy machine little is published
	// in a given time, and the kernel's buffers take all of it.
	time.Sleep(running)
	for begun := time.Now(); time.Since(begun) < time.Minute && !t.Failed() && !seamReached(t, srv); {
		time.Sleep(100 * time.Millisecond)
	}
	close(stop)
	readers.Wait()
	for i, room := range rooms {
		t.Logf("%s: %d messages", room, published[i].Load())
		if published[i].Load() == 0 {
			t.Errorf("nothing was published in %s", room)
		}
	}
	for _, name := range seamMetrics {
		t.Logf("%s %v", name, metric(t, srv, name))
	}
	if !seamReached(t, srv) {
		t.Error("one of these is 0: the test did not reach what it is for")
	}
}

// seamMetrics count what makes the seam: none may be 0 at the end.
var seamMetrics = []string{"rookery_sockets_full_total", "rookery_subscriptions_fell_behind_total", "rookery_pages_total"}

func seamReached(t *testing.T, srv *gatewaytest.Server) bool {
	for _, name := range seamMetrics {
		if metric(t, srv, name) == 0 {
			return false
		}
	}
	return true
}

// metric reads one without labels from the admin listener.
func metric(t testing.TB, srv *gatewaytest.Server, name string) float64 {
	t.Helper()
	res, err := http.Get("http://" + srv.AdminAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// seamReader joins, stalls, leaves and comes back, and checks every message.
type seamReader struct {
	t     *testing.T
	srv   *gatewaytest.Server
	wire  wire
	rng   *rand.Rand
	rooms []string

	peer   *peer
	joined map[string]bool
	seen   map[string]uint64 // last seen in each room, over all connections
}

func (r *seamReader) run(stop <-chan struct{}) {
	r.connect()
	for !r.t.Failed() {
		select {
		case <-stop:
			return
		default:
		}
		switch n := r.rng.IntN(100); {
		case n < 70:
			r.read(time.Duration(r.rng.IntN(30)) * time.Millisecond)
		case n < 80:
			time.Sleep(time.Duration(r.rng.IntN(400)) * time.Millisecond)
		case n < 90:
			r.toggle(r.rooms[r.rng.IntN(len(r.rooms))])
		case n < 92:
			r.peer.conn.Close()
			r.connect()
		}
	}
}

func (r *seamReader) connect() {
	r.peer = login(r.t, r.srv.Addr(), r.wire, "reader")
	// A buffer that does not grow fills soon when the reader stalls. Much smaller, and the
	// kernel waits for its timers with each window, since loopback's segments are 64 KiB.
	_ = r.peer.conn.(*net.TCPConn).SetReadBuffer(128 << 10)
	r.joined = map[string]bool{}
	for _, room := range r.rooms {
		if r.rng.IntN(3) > 0 {
			r.toggle(room)
		}
	}
}

// toggle joins a room after what was seen there, or leaves it. What else comes before
// the answer is checked like everything.
func (r *seamReader) toggle(room string) {
	var id uint64
	if r.joined[room] {
		id = r.peer.request(&v1.ClientFrame{Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}})
	} else {
		id = r.peer.join(room, ptr(r.seen[room]), "")
	}
	for !r.t.Failed() {
		f := r.peer.must()
		if f.Id != id {
			r.check(f)
			continue
		}
		switch op := f.Op.(type) {
		case *v1.ServerFrame_Joined:
			if !op.Joined.GetRecovered() || op.Joined.Head < r.seen[room] {
				r.t.Errorf("join after %d was answered with %v", r.seen[room], op.Joined)
			}
			r.joined[room] = true
		case *v1.ServerFrame_Left:
			r.joined[room] = false
		default:
			r.t.Errorf("join or leave was answered with %v", f)
		}
		return
	}
}

// read takes what comes for a while.
func (r *seamReader) read(d time.Duration) {
	until := time.Now().Add(d)
	for !r.t.Failed() && time.Now().Before(until) {
		if len(r.peer.queue) == 0 && r.peer.in.Buffered() == 0 {
			r.peer.conn.SetReadDeadline(until)
			_, err := r.peer.in.Peek(1)
			r.peer.conn.SetReadDeadline(time.Now().Add(waitLimit))
			if err != nil {
				var timeout net.Error
				if !errors.As(err, &timeout) || !timeout.Timeout() {
					r.t.Errorf("a reader lost its connection: %v", err)
				}
				return
			}
		}
		r.check(r.peer.must())
	}
}

func (r *seamReader) check(f *v1.ServerFrame) {
	m := f.GetMessage()
	if m == nil {
		r.t.Errorf("a reader was sent %v", f)
		return
	}
	if !r.joined[m.Room] {
		// Joins are answered before their messages.
		r.t.Errorf("message %d of %s came to who has not joined it", m.Seq, m.Room)
	}
	if m.Seq != r.seen[m.Room]+1 {
		r.t.Errorf("message %d of %s came after %d, over %s", m.Seq, m.Room, r.seen[m.Room], r.wire.name)
	}
	r.seen[m.Room] = m.Seq
}

// finish reads everything to the end.
func (r *seamReader) finish(head func(room string) uint64, writers *sync.WaitGroup) {
	writers.Wait()
	for _, room := range r.rooms {
		if !r.joined[room] {
			r.toggle(room)
		}
	}
	for _, room := range r.rooms {
		for !r.t.Failed() && r.seen[room] < head(room) {
			r.check(r.peer.must())
		}
	}
}
