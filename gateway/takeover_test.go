package gateway_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"weak"

	"github.com/gobwas/ws"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/gateway/internal/takeover"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// bytesOf is a publish as it goes over the peer's wire.
func (p *peer) bytesOf(room, key, text string) (b []byte, id uint64) {
	p.nextID++
	b = proto.AppendClientFrame(nil, p.wire.codec, &v1.ClientFrame{Id: p.nextID, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
		Room: room, Key: key, Content: &v1.Publish_Text{Text: text},
	}}})
	if p.wire.stream {
		return b, p.nextID
	}
	op := ws.OpBinary
	if p.wire.codec == proto.JSON {
		op = ws.OpText
	}
	var message bytes.Buffer
	_ = ws.WriteFrame(&message, ws.MaskFrame(ws.NewFrame(op, true, b))) // a buffer takes all
	return message.Bytes(), p.nextID
}

func (p *peer) sendRaw(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// session is its name, as the server says it now.
func (p *peer) session(user string) string {
	p.t.Helper()
	return p.answer(p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: user}}})).GetConnected().GetSession()
}

// TestTakeoverKeepsSessions: half a message, what a session has joined, who is what in a room, who is there and how fast one may speak
// go on as they were, and nobody is told anything.
func TestTakeoverKeepsSessions(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			first := gatewaytest.Start(t, func(c *gateway.Config) {
				c.Rooms.Members = []string{"group:* group", "channel:* open"}
				c.Rooms.PresenceGrace = 0
				// Takeovers of other tests may come first.
				c.Limits.HandshakeTimeout, c.Limits.FrameTimeout = time.Minute, time.Minute
			})
			alice, bob, carol := login(t, first.Addr(), w, "alice"), login(t, first.Addr(), w, "bob"), login(t, first.Addr(), w, "carol")
			name := alice.session("alice")
			for _, p := range []*peer{alice, bob, carol} {
				p.enter("hall")
			}
			for n := range uint64(3) {
				bob.answer(bob.publish("hall", "", "before"))
				if m := alice.must().GetMessage(); m.GetSeq() != n+1 {
					t.Fatalf("before came %v", m)
				}
			}
			seen := alice.presence("hall", true)
			alice.create(&v1.Create{Room: "group:birds", Title: "Birds"})
			alice.change("group:birds", "invite", "bob")
			alice.create(&v1.Create{Room: "channel:slow", SlowModeMs: 3_600_000})
			alice.enter("group:birds")
			bob.answer(bob.join("group:birds", nil, ""))
			bob.answer(bob.join("channel:slow", nil, ""))
			if f := bob.answer(bob.publish("channel:slow", "", "once")); f.GetPublished() == nil {
				t.Fatalf("the first slow message was answered with %v", f)
			}
			alice.change("group:birds", "mute", "bob")
			half, id := bob.bytesOf("hall", "half", "half a message")
			bob.sendRaw(half[:len(half)/2])
			opened := open(t, first.Addr(), w) // and has said nothing

			second := gatewaytest.TakeOver(first)
			if got := alice.session("alice"); got != name {
				t.Errorf("the session was %s and is %s", name, got)
			}
			bob.sendRaw(half[len(half)/2:])
			if f := bob.answer(id); f.GetPublished().GetSeq() != 4 {
				t.Fatalf("half a message was answered with %v", f)
			}
			if m := alice.must().GetMessage(); m.GetSeq() != 4 || m.GetText() != "half a message" {
				t.Fatalf("after the takeover came %v", m)
			}
			bob.wantError(bob.answer(bob.publish("group:birds", "", "x")), proto.ErrMuted)
			bob.wantError(bob.answer(bob.publish("channel:slow", "", "twice")), proto.ErrSlowMode)
			alice.answer(alice.publish("group:birds", "", "bob hears this"))
			bob.until(func(f *v1.ServerFrame) bool { return f.GetMessage().GetText() == "bob hears this" })
			alice.until(func(f *v1.ServerFrame) bool { return f.GetMessage().GetText() == "bob hears this" })
			carol.conn.Close()
			alice.sees(seen, map[string]string{"alice": "online", "bob": "online"})
			opened.request(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "dave"}}})
			if f := opened.must(); f.GetConnected().GetUser() != "dave" {
				t.Errorf("who had only opened a connection was answered with %v", f)
			}
			if n := metric(t, second, "rookery_connections"); n != 3 {
				t.Errorf("%v connections are counted", n)
			}
		})
	}
}

// TestTakeoverAgainAndAgain: each takes over from the one before, with three loops.
func TestTakeoverAgainAndAgain(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Loops = 3 })
	var peers []*peer
	for i := range 30 {
		p := login(t, srv.Addr(), wires[i%3], fmt.Sprintf("user-%d", i))
		p.enter("hall")
		peers = append(peers, p)
	}
	for round := range uint64(3) {
		srv = gatewaytest.TakeOver(srv)
		peers[0].publish("hall", "", "x")
		for i, p := range peers {
			if m := p.until(func(f *v1.ServerFrame) bool { return f.GetMessage() != nil }).GetMessage(); m.Seq != round+1 {
				t.Fatalf("round %d: peer %d was given %v", round, i, m)
			}
		}
	}
}

// talk has a peer publish in a room that it has joined alone, some messages ahead of the answers, until the end is asked for. That gives how many
// messages were told to it, each once and in order, or what was wrong.
func (p *peer) talk(room string) (end func() (int, error)) {
	const ahead = 16
	places, stop := make(chan struct{}, ahead), make(chan struct{})
	sent, heard := make(chan int, 1), make(chan error, 1)
	go func() {
		for n, last := 1, false; !last; n++ {
			select {
			case <-stop:
				last = true
				sent <- n // before it is sent: who hears it knows
			case places <- struct{}{}:
			}
			p.nextID++
			if p.send(&v1.ClientFrame{Id: p.nextID, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
				Room: room, Content: &v1.Publish_Text{Text: fmt.Sprint(n)},
			}}}) != nil {
				return // who reads hears it
			}
		}
	}()
	told, published := 0, 0
	total := -1 // until it is known
	go func() {
		for total < 0 || told < total || published < total {
			select {
			case total = <-sent:
				continue
			default:
			}
			f, err := p.next()
			m := f.GetMessage()
			switch {
			case err != nil:
			case m != nil && m.Seq == uint64(told+1) && m.GetText() == fmt.Sprint(told+1):
				told++
				select {
				case <-places:
				default: // the last one took none
				}
			case f.GetPublished() != nil && f.GetPublished().Seq == uint64(published+1):
				published++
			default:
				err = fmt.Errorf("behind message %d and %d answers came %v", told, published, f)
			}
			if err != nil {
				heard <- err
				return
			}
		}
		heard <- nil
	}()
	return func() (int, error) {
		close(stop)
		err := <-heard
		return told, err
	}
}

const heirVariable = "ROOKERY_TEST_HEIR"

// heirSteps are after which word of the other side a process fails that was to take over. Behind everything it holds the log.
var heirSteps = []string{"connected", "old version", "other address", "welcome", "prepared", "shared", "batch", "everything", "log", "nonsense"}

// failAsHeir is a process that takes over as far as a step.
func failAsHeir(step string) {
	die := func() { syscall.Kill(os.Getpid(), syscall.SIGKILL) }
	defer die()
	var socket net.Conn
	for end := time.Now().Add(waitLimit); socket == nil && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		socket, _ = net.Dial("unix", "takeover.sock") // it is there when the one before is dealt with
	}
	c := takeover.NewChannel(socket.(*net.UnixConn))
	hello := map[string]any{"Version": takeover.Version, "Listen": "127.0.0.1:0", "Admin": "127.0.0.1:0"}
	switch step {
	case "connected":
		return
	case "old version":
		hello["Version"] = takeover.Version - 1
	case "other address":
		hello["Listen"] = "127.0.0.1:1"
	}
	_ = c.SendJSON(takeover.Hello, hello)
	if _, err := c.Await(takeover.Welcome); err != nil || step == "welcome" {
		return
	}
	_ = c.Send(takeover.Prepared, nil)
	if step == "prepared" {
		return
	}
	if step == "shared" || step == "batch" {
		for range 2 {
			if m, err := c.Receive(); err != nil || m.Kind == takeover.Shared && step == "shared" {
				return
			}
		}
		return
	}
	if _, err := c.ReceiveBundle(waitLimit); err != nil || step == "everything" {
		return
	}
	lock, err := os.OpenFile("LOCK", os.O_RDWR, 0)
	if err != nil || syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return
	}
	if step == "log" {
		return
	}
	_ = c.Send(takeover.Late, nil)
	time.Sleep(time.Hour) // it would hold the log for ever
}

// TestHeirsThatFail: at whatever step the other process fails, nobody notices anything.
func TestHeirsThatFail(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Admin, c.Listen = "127.0.0.1:0", "127.0.0.1:0" })
	var peers []*peer
	for i, w := range wires {
		p := login(t, srv.Addr(), w, fmt.Sprintf("user-%d", i))
		p.enter("hall")
		peers = append(peers, p)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var ends []func() (int, error)
	for i, w := range wires {
		p := login(t, srv.Addr(), w, fmt.Sprintf("talker-%d", i))
		p.enter(fmt.Sprintf("talk-%d", i))
		ends = append(ends, p.talk(fmt.Sprintf("talk-%d", i)))
	}
	last := uint64(0)
	for _, step := range heirSteps {
		halves := make([][]byte, len(peers))
		ids := make([]uint64, len(peers))
		for i, p := range peers {
			halves[i], ids[i] = p.bytesOf("hall", "", step)
			p.sendRaw(halves[i][:len(halves[i])/2])
		}
		heir := exec.Command(program)
		heir.Dir, heir.Env, heir.Stderr = srv.Data(), append(os.Environ(), heirVariable+"="+step), os.Stderr
		if err := heir.Run(); err == nil {
			t.Fatalf("%s: the other process ended well", step)
		}
		for i, p := range peers {
			p.sendRaw(halves[i][len(halves[i])/2:])
			last++
			for _, reader := range peers {
				f := reader.until(func(f *v1.ServerFrame) bool { return f.GetMessage() != nil })
				if m := f.GetMessage(); m.Seq != last || m.GetText() != step {
					t.Fatalf("%s: message %d came as %v", step, last, m)
				}
			}
		}
		guest := login(t, srv.Addr(), wires[0], "guest")
		guest.conn.Close()
		metric(t, srv, "rookery_connections") // the admin listener answers
	}
	// The loops that were left behind answer no watchdog, and are not asked.
	eventually(t, "the server that went on answers", func() bool { return srv.Responsive(500*time.Millisecond) == nil })
	// And one that does not.
	gatewaytest.TakeOver(srv)
	peers[0].publish("hall", "", "to the end")
	for _, p := range peers {
		if m := p.until(func(f *v1.ServerFrame) bool { return f.GetMessage() != nil }).GetMessage(); m.Seq != last+1 {
			t.Fatalf("after the takeover came %v", m)
		}
	}
	for i, end := range ends {
		if n, err := end(); err != nil || n == 0 {
			t.Errorf("talker %d, whom nobody waited for: %d messages, %v", i, n, err)
		}
	}
}

// TestPeersLeaveDuringATakeover: a socket that is reset on its way from one process to the other ends, and holds up nobody else.
func TestPeersLeaveDuringATakeover(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	stays := login(t, srv.Addr(), wires[0], "stays")
	stays.enter("hall")
	for round := range 3 {
		var leaving []*peer
		for i := range 60 {
			p := login(t, srv.Addr(), wires[i%len(wires)], fmt.Sprintf("leaves-%d-%d", round, i))
			p.enter("hall")
			leaving = append(leaving, p)
		}
		from := srv
		left := make(chan struct{})
		go func() {
			defer close(left)
			eventually(t, "it is handed over", func() bool { return from.Logged("handing over") })
			for _, p := range leaving {
				time.Sleep(time.Millisecond) // the takeover is under way meanwhile
				p.conn.(*net.TCPConn).SetLinger(0)
				p.conn.Close()
			}
		}()
		srv = gatewaytest.TakeOver(srv)
		<-left
		stays.answer(stays.publish("hall", "", fmt.Sprint("round ", round)))
		eventually(t, "those that left are gone", func() bool { return metric(t, srv, "rookery_connections") == 1 })
	}
}

// TestFailedTakeoversLeaveNothingBehind: of the servers that went on, one after the other, after takeovers that failed, the last is held alone.
func TestFailedTakeoversLeaveNothingBehind(t *testing.T) {
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	cfg.Drain.Window = 0
	first, cancel, ended := runs(t, cfg)
	alice := login(t, first.Addr(), wires[2], "alice")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var went []weak.Pointer[gateway.Server]
	for range 3 {
		heir := exec.Command(program)
		heir.Dir, heir.Env, heir.Stderr = cfg.Data, append(os.Environ(), heirVariable+"=everything"), os.Stderr
		if err := heir.Run(); err == nil {
			t.Fatal("the other process ended well")
		}
		alice.answer(alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}}))
		went = append(went, weak.Make(first.Successor()))
	}
	eventually(t, "those in between are forgotten", func() bool {
		runtime.GC()
		return went[0].Value() == nil && went[1].Value() == nil
	})
	if went[2].Value() == nil {
		t.Error("so is the one that serves")
	}
	alice.conn.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestAnHeirThatCanNotTakeThemInEnds: its event loops run already, and would go on to accept connections for a process that serves nobody.
func TestAnHeirThatCanNotTakeThemInEnds(t *testing.T) {
	t.Parallel()
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "", t.TempDir()
	failure := errors.New("no loop begins")
	srv, err := gateway.NewHeir(cfg, slog.New(slog.DiscardHandler), failure)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(t.Context()) }()
	select {
	case err := <-ended:
		if !errors.Is(err, failure) {
			t.Errorf("it ended with %v, want %v", err, failure)
		}
	case <-time.After(waitLimit):
		t.Fatalf("it did not end within %v", waitLimit)
	}
}

// TestAnEndDoesNotWaitForAnHeir: a process has begun to take over and says nothing more. It has 30 s for that, and the end of the server has not.
func TestAnEndDoesNotWaitForAnHeir(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "", dir
	_, cancel, ended := runs(t, cfg)
	var socket net.Conn
	eventually(t, "the server hears who takes over", func() bool {
		socket, err = net.Dial("unix", filepath.Join(dir, "takeover.sock"))
		return err == nil
	})
	defer socket.Close()
	c := takeover.NewChannel(socket.(*net.UnixConn))
	if err := c.SendJSON(takeover.Hello, map[string]any{"Version": takeover.Version, "Listen": cfg.Listen}); err != nil {
		t.Fatal(err)
	}
	m, err := c.Await(takeover.Welcome)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits for who takes over")
		<-ended
	}
}
