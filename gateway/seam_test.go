package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
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
// that it sees in a room go up by one, those of the writer's ephemeral messages go up, and who
// stalled all the time sees the newest of each key in the end.
func TestSeamBetweenCatchUpAndLive(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ROOKERY_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("seed %d: repeat with ROOKERY_SEED=%d", seed, seed)
	const running = 3 * time.Second
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Log.Sync = gateway.SyncNever // many messages, not many syncs, is what this needs
		c.Limits.OutboundBytes = 4 << 20
		c.Heartbeat = time.Hour // who stalls is not asked whether it lives
	})
	rooms := []string{"one", "two", "three"}
	var published [3]atomic.Uint64
	var refused atomic.Uint64
	var newest [3][seamKeys]atomic.Uint64 // ephemeral messages, by room and key
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	for i, room := range rooms {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			p := login(t, srv.Addr(), wires[i], "writer")
			for passed := uint64(1); ; passed++ {
				select {
				case <-stop:
					return
				default:
				}
				burst := 1 + rng.IntN(40)
				for range burst {
					p.publish(room, "", fmt.Sprintf("%0*d", 1+rng.IntN(10_000), 0))
				}
				key := rng.IntN(seamKeys)
				const asked = 1 << 32 // not a number of the peer's own
				p.ephemeral(asked, room, strconv.Itoa(key), fmt.Sprintf("%0*d", 1+rng.IntN(2000), passed))
				for range burst + 1 {
					f := p.must()
					switch {
					case f.GetError().GetName() == "overloaded" && f.GetError().GetRetry():
						refused.Add(1) // a slow machine
						time.Sleep(10 * time.Millisecond)
					case f.GetPublished() == nil:
						t.Errorf("publish was answered with %v", f)
						return
					case f.Id == asked:
						newest[i][key].Store(passed)
					default:
						published[i].Store(f.GetPublished().Seq)
					}
				}
				time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond)
			}
		})
	}
	for i := range 12 {
		readers.Go(func() {
			r := &seamReader{t: t, srv: srv, wire: wires[i%len(wires)], rng: rand.New(rand.NewPCG(seed, uint64(100+i))),
				rooms: rooms, seen: map[string]uint64{}, passed: map[string]uint64{}, newest: map[string]uint64{}}
			stalls := i < len(wires)
			var throughout []string
			if stalls {
				// One of each kind reads nothing until the end: the kernel's buffers take some
				// megabytes before a socket is full.
				r.connect()
				for room, joined := range r.joined {
					if joined {
						throughout = append(throughout, room)
					}
				}
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
			for _, room := range throughout {
				for key := range seamKeys {
					r.awaitNewest(room, strconv.Itoa(key), newest[slices.Index(rooms, room)][key].Load())
				}
			}
		})
	}
	// As long as it takes to reach what the test is for: on a busy machine little is published
	// in a given time, and the kernel's buffers take all of it.
	time.Sleep(running)
	// What is left out of ephemeral messages is counted when a reader drains. Of those that stall
	// until the end it can only be seen that something is kept, and then that so many more
	// have come to each room that one of a key has taken the place of another.
	passes := func(room int) (n uint64) {
		for key := range seamKeys {
			n = max(n, newest[room][key].Load())
		}
		return n
	}
	var kept bool
	var since [3]uint64
	leftOut := func() bool {
		if metric(t, srv, seamDropped) > 0 {
			return true
		}
		was := kept
		kept = metric(t, srv, "rookery_ephemeral_kept_bytes") > 0
		over := was && kept
		for i := range rooms {
			if !was {
				since[i] = passes(i)
			}
			over = over && passes(i) > since[i]+seamKeys
		}
		return over
	}
	for begun := time.Now(); time.Since(begun) < time.Minute && !t.Failed() && !(leftOut() && seamReached(t, srv, seamMetrics)); {
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
	t.Logf("%d refused", refused.Load())
	all := append(slices.Clone(seamMetrics), seamDropped)
	for _, name := range all {
		t.Logf("%s %v", name, metric(t, srv, name))
	}
	if !seamReached(t, srv, all) {
		t.Error("one of these is 0: the test did not reach what it is for")
	}
}

// seamKeys is how many keys the ephemeral messages of a room have.
const seamKeys = 4

// seamMetrics count what makes the seam: none may be 0 at the end, nor seamDropped.
var seamMetrics = []string{"rookery_sockets_full_total", "rookery_subscriptions_fell_behind_total", "rookery_pages_total", "rookery_recent_deliveries_total", "rookery_ephemeral_delivered_total"}

const seamDropped = `rookery_ephemeral_dropped_total{reason="behind"}`

func seamReached(t *testing.T, srv *gatewaytest.Server, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return metric(t, srv, name) == 0 })
}

// metric reads one, with its labels as they are written, from the admin listener.
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
	passed map[string]uint64 // last ephemeral message seen in each room
	newest map[string]uint64 // the same by room and key
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
	if m.Ephemeral {
		n, err := strconv.ParseUint(m.GetText(), 10, 64)
		if err != nil || n <= r.passed[m.Room] {
			r.t.Errorf("ephemeral message %d of %s came after %d, over %s (%v)", n, m.Room, r.passed[m.Room], r.wire.name, err)
		}
		r.passed[m.Room], r.newest[m.Room+" "+m.Key] = n, n
		return
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

// awaitNewest reads until the newest ephemeral message of a key has come.
func (r *seamReader) awaitNewest(room, key string, newest uint64) {
	for !r.t.Failed() && r.newest[room+" "+key] < newest {
		r.check(r.peer.must())
	}
}
