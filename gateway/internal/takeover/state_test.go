package takeover

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/rate"
	"rookery/proto"
)

// full has something everywhere.
func full() Connection {
	return Connection{
		Slot: 7, Generation: 300, Phase: 4, Codec: proto.JSON, Stream: true, Kernel: true, Probed: true, Away: true, Watching: true, Closed: 4001,
		Heard: 12_300, Took: 100, Due: 5000, Socket: netip.MustParseAddr("192.0.2.1"), Origin: netip.MustParseAddr("2001:db8::1"), Inbound: []byte("half a mess"), Outbound: []byte("half an answ"),
		Identity: &identity.Identity{User: "alice", Expires: 1 << 41, TokenID: 1 << 63, Issued: 1 << 31, Rights: &identity.Rights{
			Join: []string{"a*", "b"}, Publish: []string{}, Create: []string{"*"}, Moderate: []string{"c"}, Rates: &rate.Claims{1, 2.5},
		}},
		Rooms: []Room{
			{Name: "hall", Position: 1 << 40, Watching: true, Typing: true},
			{Name: "group:birds", Member: &handoff.Membership{
				User: "alice", Role: handoff.RoleOwner, MutedUntil: handoff.ForEver, Peer: "bob", Kind: handoff.Group, Title: "Birds", Speak: handoff.RoleGuest, SlowMS: 1000,
			}},
		},
	}
}

func TestStateThereAndBack(t *testing.T) {
	bare := Connection{Inbound: []byte{}, Outbound: []byte{}, Rooms: []Room{}}
	plain := Connection{Inbound: []byte{}, Outbound: []byte{}, Rooms: []Room{}, Identity: &identity.Identity{User: "bob"}}
	for _, want := range []Connection{bare, plain, full()} {
		var got Connection
		if err := got.Decode(want.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

// What is cut off or changed is an error or another state, and never a panic.
func TestBadState(t *testing.T) {
	c := full()
	good := c.Append(nil)
	for n := range good {
		if err := new(Connection).Decode(good[:n]); err == nil {
			t.Errorf("%d bytes of %d are a state", n, len(good))
		}
		for _, b := range []byte{0, 0x7f, 0xff} {
			bad := append([]byte(nil), good...)
			bad[n] = b
			_ = new(Connection).Decode(bad)
		}
	}
	if err := new(Connection).Decode(append(good, 0)); err == nil {
		t.Error("a byte too many is no error")
	}
}

func pair(t *testing.T) (a, b *Channel) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*Channel
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		socket, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = NewChannel(socket.(*net.UnixConn))
		ends[i].Deadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { ends[i].Close() })
	}
	return ends[0], ends[1]
}

// TestAsManyAsThereAre: the limit is of a batch. A slow process takes longer for all of them than it may for one, and one that takes no more is given up.
func TestAsManyAsThereAre(t *testing.T) {
	const batches, limit = 12, time.Second
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sent := &Bundle{Common: Common{Generations: []uint32{0}}, Loops: make([][]Packed, 1)}
	for range batches * MaxDescriptors {
		sent.Loops[0] = append(sent.Loops[0], Packed{int(file.Fd()), nil})
	}
	for taken, want := range map[int]error{batches: nil, 2: os.ErrDeadlineExceeded} {
		from, to := pair(t)
		failed := make(chan error, 1)
		go func() { failed <- from.SendBundle(sent, limit) }()
		if _, err := to.Await(Shared); err != nil {
			t.Fatal(err)
		}
		for range taken {
			m, err := to.Await(Connections)
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
			<-time.After(limit / 8)
			if err := to.Send(Received, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-failed; !errors.Is(err, want) {
			t.Errorf("of %d batches %d were taken: %v", batches, taken, err)
		}
	}
}

// TestWhoGivesAndStops: the limit is of a message here, too. A process that takes its time with each is waited for, one that says nothing more is not, and
// what it has given until then is closed.
func TestWhoGivesAndStops(t *testing.T) {
	const batches, limit = 12, 600 * time.Millisecond
	for given, want := range map[int]error{batches: nil, 2: os.ErrDeadlineExceeded, 0: os.ErrDeadlineExceeded} {
		from, to := pair(t)
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(ends[0]), "pipe")
		defer file.Close()
		go func() {
			if given == 0 {
				unix.Close(ends[1])
				return
			}
			_ = from.SendJSON(Shared, Common{Generations: []uint32{0}, Open: []uint32{0}})
			for range given {
				<-time.After(limit / 8)
				_ = from.Send(Connections, text([]byte{0}, (&Connection{}).Append(nil)), ends[1])
			}
			unix.Close(ends[1])
			if given == batches {
				_ = from.Send(Everything, nil)
			}
		}()
		got, err := to.ReceiveBundle(limit)
		if !errors.Is(err, want) || err == nil && got.Len() != batches {
			t.Fatalf("of %d batches %d came: %v", batches, given, err)
		}
		if err == nil {
			got.Close()
		}
		if _, err := file.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("of %d batches %d came: their descriptors are open, %v", batches, given, err)
		}
	}
}

// TestBundleThereAndBack: more connections than go into the batches that may be ahead, each with its own descriptor.
func TestBundleThereAndBack(t *testing.T) {
	const each = MaxDescriptors*(batchesAhead+2) + 1
	from, to := pair(t)
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sent := &Bundle{Common: Common{Generations: []uint32{5, each}, Slow: []Slow{{Room: "a", User: "b"}}, Watched: []Watched{{Room: "a", Version: 3}}}, Loops: make([][]Packed, 2)}
	for i := range uint32(each) {
		c := Connection{Slot: i, Generation: i + 1}
		sent.Loops[i%2] = append(sent.Loops[i%2], Packed{int(file.Fd()), c.Append(nil)})
	}
	failed := make(chan error, 1)
	go func() {
		err := from.SendBundle(sent, 20*time.Second)
		if err == nil {
			err = from.Send(Everything, nil)
		}
		failed <- err
	}()
	got, err := to.ReceiveBundle(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if got.Len() != each || !reflect.DeepEqual(got.Watched, sent.Watched) || len(got.Slow) != 1 {
		t.Fatalf("%d connections and %v came", got.Len(), got.Common)
	}
	states := 0
	for _, l := range sent.Loops {
		for _, p := range l {
			states += len(p.State)
		}
	}
	// Beside a state there are its length and the number of its loop, a byte each, and the heads of some messages.
	if n := int(from.Sent()); n < states+2*each || n > states+3*each {
		t.Errorf("%d bytes were sent, with states of %d", n, states)
	}
	for _, loops := range []int{2, 3} {
		spread, generations, err := got.Spread(loops)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for i, l := range spread {
			seen := map[uint32]bool{}
			for _, c := range l {
				if seen[c.Slot] || c.Generation > max(generations[i], each) || c.FD == 0 {
					t.Fatalf("%d loops: loop %d has %+v", loops, i, c)
				}
				seen[c.Slot] = true
			}
			n += len(l)
		}
		if n != each {
			t.Errorf("%d loops have %d connections", loops, n)
		}
	}
}

// What is not to come, comes with the wrong descriptors, or says no is an error, and no descriptor stays open.
func TestBadMessages(t *testing.T) {
	send := map[string]func(c *Channel){
		"refusal":      func(c *Channel) { _ = c.Send(Refusal, []byte("no")) },
		"another kind": func(c *Channel) { _ = c.Send(Go, nil) },
		"no JSON":      func(c *Channel) { _ = c.Send(Shared, []byte("{")) },
		"no such loop": func(c *Channel) { _ = c.SendJSON(Shared, Common{}); _ = c.Send(Connections, []byte{9, 1, 0}, 1) },
		"other loops":  func(c *Channel) { _ = c.SendJSON(Shared, Common{Generations: []uint32{1}}) },
		"no state": func(c *Channel) {
			_ = c.SendJSON(Shared, Common{Generations: []uint32{1}, Open: []uint32{1}})
			_ = c.Send(Connections, []byte{0, 1, 0}, 1)
			_ = c.Send(Everything, nil)
		},
		"end":           func(c *Channel) { c.Close() },
		"a half":        func(c *Channel) { _, _ = c.socket.Write([]byte{byte(Shared), 0, 5, 0, 0, 0, 1}); c.Close() },
		"no descriptor": func(c *Channel) { _, _ = c.socket.Write([]byte{byte(Shared), 1, 0, 0, 0, 0}) },
		"too long":      func(c *Channel) { _, _ = c.socket.Write([]byte{byte(Shared), 0, 255, 255, 255, 255}) },
	}
	for name, say := range send {
		t.Run(name, func(t *testing.T) {
			from, to := pair(t)
			say(from)
			if b, err := to.ReceiveBundle(20 * time.Second); err == nil {
				t.Errorf("%v came", b)
			}
		})
	}
}
