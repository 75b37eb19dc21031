package process

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// shower is many ephemeral messages through one room, of senders with some keys each.
type shower struct {
	room    string
	senders int
	each    int // messages of a sender
	keys    int
	size    int
}

func (s shower) sender(i int) string { return fmt.Sprintf("sender-%d", i) }

// send sends one sender's part: without ids, but for one in a batch, whose answer says that
// the server has come so far.
func (s shower) send(address string, i int) error {
	p, err := login(address, transports[i%2], s.sender(i))
	if err != nil {
		return err
	}
	defer p.conn.Close()
	const batch = 100
	for sent := 0; sent < s.each; {
		var b []byte
		for n := 0; n < batch && sent < s.each; n++ {
			sent++
			text := strconv.Itoa(sent) + " "
			r := publishRequest(s.room, strconv.Itoa(sent%s.keys), text+strings.Repeat("x", s.size-len(text)))
			r.GetPublish().Ephemeral = true
			if n == batch-1 || sent == s.each {
				r.Id = uint64(sent)
			}
			b = proto.AppendClientFrame(b, proto.Binary, r)
		}
		if err := p.write(b); err != nil {
			return err
		}
		reply, err := p.next()
		if err != nil {
			return err
		}
		if reply.GetPublished() == nil || reply.Id != uint64(sent) || reply.GetPublished().Seq != 0 {
			return fmt.Errorf("%s: message %d was answered with %v", s.sender(i), sent, reply)
		}
	}
	return nil
}

// catch is what a reader has seen of a shower.
type catch struct {
	messages int
	last     map[string]int // by sender
	newest   map[string]int // by sender and key
	err      error
}

// read takes messages until it has the last one of every sender and key, or an error. Numbers of a sender
// must go up.
func (s shower) read(p *peer) catch {
	c := catch{last: map[string]int{}, newest: map[string]int{}}
	for c.err == nil && !s.complete(c) {
		var frame *v1.ServerFrame
		if frame, c.err = p.next(); c.err != nil {
			break
		}
		m := frame.GetMessage()
		if m == nil && frame.GetPing() != nil {
			continue
		}
		text, _, _ := strings.Cut(m.GetText(), " ")
		n, err := strconv.Atoi(text)
		switch {
		case err != nil || !m.Ephemeral || m.Seq != 0:
			c.err = fmt.Errorf("a frame that is no ephemeral message: %v", frame)
		case n <= c.last[m.From]:
			c.err = fmt.Errorf("message %d of %s came after %d", n, m.From, c.last[m.From])
		default:
			c.messages++
			c.last[m.From] = n
			c.newest[m.From+" "+m.Key] = n
		}
	}
	return c
}

func (s shower) complete(c catch) bool {
	for i := range s.senders {
		for n := s.each - s.keys + 1; n <= s.each; n++ {
			if c.newest[s.sender(i)+" "+strconv.Itoa(n%s.keys)] != n {
				return false
			}
		}
	}
	return true
}

// TestEphemeralReaderThatDoesNotRead: two readers take nothing while 60,000 ephemeral messages pass. The
// others get every one of them, the server holds no more than the newest, and writes none down. When the two begin
// to read they see the newest of each sender and key.
func TestEphemeralReaderThatDoesNotRead(t *testing.T) {
	t.Parallel()
	s := start(t, launch{data: t.TempDir(), binary: plainBinary, flags: []string{"--limits.stall-timeout", "1h", "--heartbeat", "1h"}})
	idle, _, err := s.memory()
	if err != nil {
		t.Fatal(err)
	}
	w := shower{room: "cursors", senders: 4, each: 15_000, keys: 8, size: 400}
	stalled := flood{room: w.room}.stall(t, s)
	catches := make([]catch, 4)
	failed := make([]error, w.senders)
	var running sync.WaitGroup
	for i := range catches {
		p, err := login(s.address, transports[i%2], fmt.Sprintf("healthy-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.conn.Close() })
		if err := p.enter(w.room); err != nil {
			t.Fatal(err)
		}
		running.Go(func() { catches[i] = w.read(p) })
	}
	begun := time.Now()
	for i := range failed {
		running.Go(func() { failed[i] = w.send(s.address, i) })
	}
	running.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	total := w.senders * w.each
	for i, c := range catches {
		// On a busy machine a healthy reader is behind for a moment too; what it missed is counted below.
		t.Logf("healthy reader %d got %d of %d in %v", i, c.messages, total, time.Since(begun).Round(time.Millisecond))
		if c.err != nil {
			t.Errorf("healthy reader %d: %v", i, c.err)
		}
	}
	if kept := s.metric(t, "rookery_ephemeral_kept_bytes", ""); kept == 0 || kept > 256<<10 { // at most 32 messages on each of some loops
		t.Errorf("%v bytes are kept for %d who are behind", kept, len(stalled))
	}
	if n := s.metric(t, "rookery_log_records_total", ""); n != 0 {
		t.Errorf("the log has %v records", n)
	}
	if n := s.metric(t, "rookery_subscriptions_behind", ""); n != 0 {
		t.Errorf("%v subscriptions read the log, which has nothing for them", n)
	}
	now, peak, err := s.memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("resident memory: %d MiB idle, %d MiB now, %d MiB at most", idle>>20, now>>20, peak>>20)
	if peak > idle+mostMemory {
		t.Errorf("the server held %d MiB at most, over %d MiB idle and %d MiB", peak>>20, idle>>20, mostMemory>>20)
	}

	got := 0
	for _, p := range stalled {
		c := w.read(p)
		if c.err != nil || c.messages == total {
			t.Errorf("stalled over %s, it got %d of %d, then %v", p.by, c.messages, total, c.err)
		}
		t.Logf("stalled over %s, it then got %d of %d", p.by, c.messages, total)
		got += c.messages
	}
	for _, c := range catches {
		got += c.messages
	}
	eventually(t, "what was left out is counted", func() bool {
		dropped := s.metric(t, "rookery_ephemeral_dropped_total", "behind")
		return int(dropped) == total*(len(catches)+len(stalled))-got && s.metric(t, "rookery_ephemeral_kept_bytes", "") == 0
	})
	if n := int(s.metric(t, "rookery_ephemeral_delivered_total", "")); n != got {
		t.Errorf("%d deliveries are counted, %d came", n, got)
	}
}
