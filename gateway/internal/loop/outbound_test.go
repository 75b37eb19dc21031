package loop

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"rookery/proto"
)

// TestPut: a socket takes what it has room for, and an error is nothing written.
func TestPut(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	defer unix.Close(fds[0])
	if n := put(fds[0], []byte("hello")); n != 5 {
		t.Errorf("%d of 5 bytes were written", n)
	}
	in := make([]byte, 10)
	if n, err := unix.Read(fds[1], in); err != nil || string(in[:n]) != "hello" {
		t.Errorf("read %q, %v", in[:n], err)
	}
	if n := put(fds[0], nil); n != 0 {
		t.Errorf("%d of no bytes were written", n)
	}
	large := make([]byte, 64<<20)
	if n := put(fds[0], large); n <= 0 || n >= len(large) {
		t.Errorf("%d of %d bytes were written to a socket that has no room for them", n, len(large))
	}
	if n := put(fds[0], large); n != 0 {
		t.Errorf("%d bytes were written to a full socket", n)
	}
	if n := put(-1, []byte("hello")); n != 0 {
		t.Errorf("%d bytes were written to nothing", n)
	}
}

// TestSendGoesOnWithWhatWasNotTaken: in order, whoever writes it.
func TestSendGoesOnWithWhatWasNotTaken(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	c := s.context.(*conn)
	var taken []byte
	room := 4
	r.loop.put = func(_ int, b []byte) int {
		n := min(room, len(b))
		taken = append(taken, b[:n]...)
		return n
	}
	r.loop.send(c, []byte("abc"))
	if string(taken) != "abc" || len(s.out) != 0 {
		t.Errorf("put %q and wrote %q", taken, s.out)
	}
	r.loop.send(c, []byte("defghij"))
	if string(taken) != "abcdefg" || string(s.out) != "hij" {
		t.Errorf("put %q and wrote %q", taken, s.out)
	}
	// While something waits, nothing overtakes it.
	s.room = 0
	r.loop.send(c, []byte("klmnop"))
	room = 100
	before := bytes.Clone(taken)
	r.loop.send(c, []byte("q"))
	if !bytes.Equal(taken, before) {
		t.Errorf("put %q past what waits", taken[len(before):])
	}
}

// TestAFaultAmidAFlush is of the one socket: its connection is closed, and the others get what is theirs, then and later.
func TestAFaultAmidAFlush(t *testing.T) {
	r := newRig(t, nil)
	var members []*fakeSocket
	for range 3 {
		members = append(members, r.open(true, proto.Binary))
		r.join(members[len(members)-1], "r", 0)
	}
	broken := members[1]
	broken.wrote = func([]byte) { panic("a fault") }
	r.deliver("r", 1)
	r.work()
	r.deliver("r", 2)
	r.work()
	for _, s := range []*fakeSocket{members[0], members[2]} {
		if s.closed {
			t.Error("another one is closed")
		}
		r.mustGet(s, upTo(1, 2))
	}
	if code := broken.context.(*conn).closed; !broken.closed || code != proto.CloseInternal.Code || r.loop.counted.Panics.Load() != 1 {
		t.Errorf("closed: %v with %d, faults: %d", broken.closed, code, r.loop.counted.Panics.Load())
	}
}
