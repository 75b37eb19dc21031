package process

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "rookery/proto/rookery/v1"
)

// flood is many messages through one room.
type flood struct {
	room       string
	publishers int
	each       int // messages of a publisher
	size       int // bytes of a message's text
	batch      int // publishes in flight of a publisher
	readers    int // healthy ones
}

func (f flood) total() uint64 { return uint64(f.publishers * f.each) }

// reading is what a reader has seen of a flood.
type reading struct {
	seen   uint64 // 1 to seen, in order
	digest uint64 // of numbers and texts: equal for readers who saw the same
	took   time.Duration
	late   time.Duration // 99th percentile from the server's clock to ours
	err    error
}

// read takes messages until the last one or an error.
func (f flood) read(p *peer) reading {
	begun := time.Now()
	h := fnv.New64a()
	var r reading
	var delays []int64
	for r.seen < f.total() && r.err == nil {
		frame, err := p.next()
		m := frame.GetMessage()
		switch {
		case err != nil:
			r.err = err
		case m == nil:
			if frame.GetJoined() == nil && frame.GetPing() == nil {
				r.err = fmt.Errorf("a frame that is no message: %v", frame)
			}
		case m.Seq != r.seen+1:
			r.err = fmt.Errorf("message %d came after %d", m.Seq, r.seen)
		default:
			r.seen++
			fmt.Fprintf(h, "%d %s\n", m.Seq, m.GetText())
			delays = append(delays, time.Now().UnixMilli()-int64(m.At))
		}
	}
	r.digest, r.took = h.Sum64(), time.Since(begun)
	if slices.Sort(delays); len(delays) > 0 {
		r.late = time.Duration(delays[len(delays)*99/100]) * time.Millisecond
	}
	return r
}

// publish sends one publisher's part.
func (f flood) publish(address, user string) error {
	p, err := login(address, rawTCP, user)
	if err != nil {
		return err
	}
	defer p.conn.Close()
	for sent := 0; sent < f.each; {
		var requests []*v1.ClientFrame
		for len(requests) < f.batch && sent < f.each {
			sent++
			text := fmt.Sprintf("%s %d ", user, sent)
			requests = append(requests, publishRequest(f.room, "", text+strings.Repeat("x", max(0, f.size-len(text)))))
		}
		if _, err := p.send(requests...); err != nil {
			return err
		}
		for range requests {
			reply, err := p.next()
			if err != nil {
				return fmt.Errorf("%s waits for a reply: %w", user, err)
			}
			if reply.GetPublished() == nil {
				return fmt.Errorf("%s: publish was answered with %v", user, reply)
			}
		}
	}
	return nil
}

// run publishes everything while healthy readers read, half of them over each transport.
func (f flood) run(t *testing.T, s *server) []reading {
	t.Helper()
	readings := make([]reading, f.readers)
	var running sync.WaitGroup
	defer running.Wait()
	for i := range readings {
		p, err := login(s.address, transports[i%2], fmt.Sprintf("healthy-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.conn.Close() })
		if err := p.enter(f.room); err != nil {
			t.Fatal(err)
		}
		running.Go(func() { readings[i] = f.read(p) })
	}
	failed := make([]error, f.publishers)
	for i := range failed {
		running.Go(func() { failed[i] = f.publish(s.address, fmt.Sprintf("publisher-%d", i)) })
	}
	running.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	for i, r := range readings {
		f.mustBeWhole(t, fmt.Sprintf("healthy reader %d", i), r, readings[0].digest)
	}
	return readings
}

func (f flood) mustBeWhole(t *testing.T, who string, r reading, digest uint64) {
	t.Helper()
	if r.err != nil || r.seen != f.total() || r.digest != digest {
		t.Fatalf("%s saw 1 to %d of %d, digest %x (others %x), then %v", who, r.seen, f.total(), r.digest, digest, r.err)
	}
}

// stall joins the room over each transport with peers that don't read from then on.
func (f flood) stall(t *testing.T, s *server) []*peer {
	t.Helper()
	var stalled []*peer
	for _, by := range transports {
		p, err := loginWithBuffer(s.address, by, "stalled over "+string(by), 4<<10)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.conn.Close() })
		if err := p.enter(f.room); err != nil {
			t.Fatal(err)
		}
		stalled = append(stalled, p)
	}
	return stalled
}

// slowest returns the longest time and lateness of readings, for the log.
func slowest(readings []reading) string {
	var took, late time.Duration
	for _, r := range readings {
		took, late = max(took, r.took), max(late, r.late)
	}
	return fmt.Sprintf("%v, %v late at the 99th percentile", took.Round(time.Millisecond), late)
}

// mostMemory is what the server may hold above its memory when idle, however much passes
// to somebody who does not read. Its own bounds are those of limits.outbound_bytes for a
// connection, the mailboxes between its owners, and 4 MiB of each loop for the last messages of
// the room; the rest is room for the collector, which lets that become twice as much. The
// messages that two readers are behind would be more.
const mostMemory = 56 << 20

// TestReaderThatDoesNotRead: two readers take nothing while 80,000 messages pass. The
// server's memory is bounded, nobody else misses anything, and when the two begin to read
// they are given all of it from the log.
func TestReaderThatDoesNotRead(t *testing.T) {
	t.Parallel()
	s := start(t, launch{data: t.TempDir(), binary: plainBinary, flags: []string{"--limits.stall-timeout", "1h", "--heartbeat", "1h"}})
	idle, _, err := s.memory()
	if err != nil {
		t.Fatal(err)
	}
	f := flood{room: "hall", publishers: 4, each: 20_000, size: 400, batch: 250, readers: 5}
	stalled := f.stall(t, s)
	with := f.run(t, s)
	t.Logf("%d messages to %d readers beside %d who don't read: %s", f.total(), f.readers, len(stalled), slowest(with))

	if behind := s.metric(t, "rookery_subscriptions_behind", ""); int(behind) != len(stalled) {
		t.Errorf("%v subscriptions are behind, want %d: the sockets' buffers took more than was published", behind, len(stalled))
	}
	if held := s.metric(t, "rookery_outbound_bytes", ""); int(held) > len(stalled)*(256<<10) {
		t.Errorf("%v bytes wait for %d connections, over limits.outbound_bytes", held, len(stalled))
	}
	now, peak, err := s.memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("resident memory: %d MiB idle, %d MiB now, %d MiB at most", idle>>20, now>>20, peak>>20)
	if peak > idle+mostMemory {
		t.Errorf("the server held %d MiB at most, over %d MiB idle and %d MiB", peak>>20, idle>>20, mostMemory>>20)
	}

	for _, p := range stalled {
		begun := time.Now()
		r := f.read(p)
		f.mustBeWhole(t, "the stalled reader over "+string(p.by), r, with[0].digest)
		t.Logf("stalled over %s, it then read %d messages in %v", p.by, r.seen, time.Since(begun).Round(time.Millisecond))
	}
	eventually(t, "nobody is behind any more", func() bool { return s.metric(t, "rookery_subscriptions_behind", "") == 0 })
	for name, code := range map[string]string{"rookery_connections_closed_total": "stalled", "rookery_request_errors_total": "overloaded"} {
		if n := s.metric(t, name, code); n != 0 {
			t.Errorf("%s %s is %v", name, code, n)
		}
	}
}

// TestReaderThatStallsTooLongIsClosed: after limits.stall_timeout it is closed with the code
// stalled. What it reads then is the beginning without a gap, and a resume gives the rest.
func TestReaderThatStallsTooLongIsClosed(t *testing.T) {
	t.Parallel()
	s := start(t, launch{data: t.TempDir(), flags: []string{"--limits.stall-timeout", "1s"}})
	f := flood{room: "stall", publishers: 2, each: 5000, size: 1000, batch: 100, readers: 1}
	stalled := f.stall(t, s)
	f.run(t, s)
	eventually(t, "both are closed as stalled", func() bool {
		return int(s.metric(t, "rookery_connections_closed_total", "stalled")) == len(stalled)
	})
	for _, p := range stalled {
		r := f.read(p)
		if r.err == nil || r.seen == 0 || r.seen == f.total() {
			t.Fatalf("over %s it saw 1 to %d of %d, then %v; want a part, then the end", p.by, r.seen, f.total(), r.err)
		}
		var closed *closeError
		if errors.As(r.err, &closed) {
			t.Errorf("over %s it was told %v although it took nothing", p.by, closed)
		}
		p.conn.Close()

		again, err := login(s.address, p.by, "resumed")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { again.conn.Close() })
		if _, err := again.send(joinRequest(f.room, &r.seen, "")); err != nil {
			t.Fatal(err)
		}
		for seq := r.seen + 1; seq <= f.total(); {
			frame, err := again.next()
			if err != nil {
				t.Fatalf("resumed over %s: after %d of %d came %v", p.by, seq-1, f.total(), err)
			}
			if m := frame.GetMessage(); m != nil {
				if m.Seq != seq {
					t.Fatalf("resumed over %s: %d came in place of %d", p.by, m.Seq, seq)
				}
				seq++
			}
		}
	}
}
