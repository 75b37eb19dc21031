package crowd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
	"rookery/bench/plan"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// BenchmarkDelivery is what a delivery costs the load generator: the CPU time of its thread, from epoll to the histogram, against
// that of a bare loop of epoll_wait and read on as many sockets that get the same bytes. Rounds take turns, one frame a
// delivery, each written by itself, so that a read is of one frame unless the reader falls behind. One op is a delivery.
func BenchmarkDelivery(b *testing.B) {
	const connections, messages = 200, 50
	frame := deliveryFrame()
	crowdSide := newFloorServer(b, connections, true)
	bareSide := newFloorServer(b, connections, false)
	load := startCrowd(b, crowdSide.address, connections)
	bare := startBare(b, bareSide.address, connections)
	crowdSide.await(b)
	bareSide.await(b)
	seq := uint64(0)
	var crowdTime, bareTime time.Duration
	deliveries := 0
	for b.Loop() {
		first := seq
		crowdTime += load.cpu(func() {
			for range messages {
				seq++
				crowdSide.send(b, frame(seq))
			}
			load.await(b, int64(connections)*int64(seq))
		})
		bareTime += bare.cpu(func() {
			for n := first; n < seq; n++ {
				bareSide.send(b, frame(n+1))
			}
			bare.await(b, int64(connections)*int64(seq)*int64(len(frame(1))))
		})
		deliveries += connections * messages
	}
	b.ReportMetric(float64(crowdTime.Nanoseconds())/float64(deliveries), "cpu-ns/delivery")
	b.ReportMetric(float64(bareTime.Nanoseconds())/float64(deliveries), "bare-cpu-ns/delivery")
	b.ReportMetric(float64(crowdTime)/float64(bareTime), "x-bare")
	b.ReportMetric(0, "ns/op") // says nothing: it is mostly the writer's time
}

const floorRun = 7

// deliveryFrame gives the WebSocket message that delivers a number, always of the same length.
func deliveryFrame() func(seq uint64) []byte {
	finder := ledger.NewFinder(floorRun)
	return func(seq uint64) []byte {
		body := finder.Append(nil, ledger.Stamp{User: 1, Seq: uint32(seq), Due: engine.Now()}, 128)
		content := proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: string(body)}})
		payload := proto.AppendMessage(nil, proto.Binary, proto.Header{Room: "floor-0", Seq: 1<<40 + seq, At: 1 << 40, From: "floor-1"}, content)
		message, err := ws.CompileFrame(ws.NewBinaryFrame(payload))
		if err != nil {
			panic(err)
		}
		return message
	}
}

// floorServer writes frames to all of its connections, one after the other.
type floorServer struct {
	address netip.AddrPort
	ready   chan net.Conn
	conns   []net.Conn
	want    int
}

func newFloorServer(b *testing.B, connections int, speaks bool) *floorServer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &floorServer{address: listener.Addr().(*net.TCPAddr).AddrPort(), ready: make(chan net.Conn, connections), want: connections}
	b.Cleanup(func() {
		listener.Close()
		for _, c := range s.conns {
			c.Close()
		}
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				if speaks && welcome(conn) != nil {
					conn.Close()
					return
				}
				s.ready <- conn
			}()
		}
	}()
	return s
}

// welcome answers the handshake, the login and the join of one room.
func welcome(conn net.Conn) error {
	upgrader := ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == proto.SubprotocolBinary }}
	if _, err := upgrader.Upgrade(conn); err != nil {
		return err
	}
	for range 2 {
		h, err := ws.ReadHeader(conn)
		if err != nil {
			return err
		}
		payload := make([]byte, min(h.Length, 1000))
		if _, err := io.ReadFull(conn, payload); err != nil {
			return err
		}
		ws.Cipher(payload, h.Mask, 0)
		frame, _, err := proto.Next(proto.Binary, payload)
		if err != nil {
			return err
		}
		var asked v1.ClientFrame
		if err := proto.DecodeClientFrame(&asked, proto.Binary, frame); err != nil {
			return err
		}
		answer := &v1.ServerFrame{Id: asked.Id, Op: &v1.ServerFrame_Connected{Connected: &v1.Connected{}}}
		if asked.GetJoin() != nil {
			answer.Op = &v1.ServerFrame_Joined{Joined: &v1.Joined{Room: asked.GetJoin().Room, Head: 1 << 40}}
		}
		if err := ws.WriteFrame(conn, ws.NewBinaryFrame(proto.AppendServerFrame(nil, proto.Binary, answer))); err != nil {
			return err
		}
	}
	return nil
}

func (s *floorServer) await(b *testing.B) {
	for len(s.conns) < s.want {
		select {
		case c := <-s.ready:
			s.conns = append(s.conns, c)
		case <-time.After(20 * time.Second):
			b.Fatalf("%d of %d connections came", len(s.conns), s.want)
		}
	}
}

func (s *floorServer) send(b *testing.B, frame []byte) {
	for _, c := range s.conns {
		if _, err := c.Write(frame); err != nil {
			b.Fatal(err)
		}
	}
}

// threadTime is the CPU time of the calling thread.
func threadTime() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// crowdRunner is the load generator on a thread of its own.
type crowdRunner struct {
	crowd *Crowd
	loop  *engine.Loop
}

type noMeter struct{}

func (noMeter) Wake(time.Time)  {}
func (noMeter) Sleep(time.Time) {}

func startCrowd(b *testing.B, address netip.AddrPort, connections int) *crowdRunner {
	p, err := plan.Named("fanout")
	if err != nil {
		b.Fatal(err)
	}
	p.Server.Targets = []string{fmt.Sprintf("ws://%s/", address)}
	p.Clients.Connections, p.Rooms.Prefix, p.Publish.Rate = connections, "floor-", 0
	p.Time.Duration = time.Hour
	r := runCrowd(b, Part{Plan: p, Run: floorRun, Workers: 1, Targets: []netip.AddrPort{address}})
	c := r.crowd
	r.ask(func() { c.Connect(engine.Now()) })
	for online := 0; online < connections; time.Sleep(time.Millisecond) {
		r.ask(func() { online = c.Status().Online })
	}
	r.ask(func() { c.Load(engine.Now()) })
	return r
}

// runCrowd runs a crowd on a thread of its own until the test ends.
func runCrowd(tb testing.TB, part Part) *crowdRunner {
	tb.Helper()
	c, err := New(part)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := engine.New(c.Capacity(), c, noMeter{}, noMeter{})
	if err != nil {
		tb.Fatal(err)
	}
	c.Attach(l)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		l.Run(ctx)
	}()
	tb.Cleanup(func() {
		cancel()
		<-done
	})
	return &crowdRunner{c, l}
}

// ask calls f on the loop.
func (r *crowdRunner) ask(f func()) {
	done := make(chan struct{})
	r.loop.Post(func() {
		f()
		close(done)
	})
	<-done
}

func (r *crowdRunner) cpu(f func()) (took time.Duration) {
	r.ask(func() { took = -threadTime() })
	f()
	r.ask(func() { took += threadTime() })
	return took
}

func (r *crowdRunner) await(b *testing.B, deliveries int64) {
	for got, until := int64(0), time.Now().Add(time.Minute); got < deliveries; time.Sleep(time.Millisecond) {
		r.ask(func() { got = r.crowd.Counts().Delivered })
		if time.Now().After(until) {
			b.Fatalf("%d of %d deliveries came: %v", got, deliveries, r.crowd.Faults())
		}
	}
}

// bareRunner is epoll_wait and read, and nothing else, on a thread of its own.
type bareRunner struct {
	poll int
	ask  chan chan time.Duration
	read chan chan int64
	bell int
}

func startBare(b *testing.B, address netip.AddrPort, connections int) *bareRunner {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_NONBLOCK)
	if err != nil {
		b.Fatal(err)
	}
	fds := []int{bell}
	for range connections {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}); err != nil {
			b.Fatal(err)
		}
		unix.SetNonblock(fd, true)
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			b.Fatal(err)
		}
	}
	r := &bareRunner{poll: poll, bell: bell, ask: make(chan chan time.Duration, 1), read: make(chan chan int64, 1)}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		r.loop(quit)
	}()
	b.Cleanup(func() {
		close(quit)
		r.ring()
		<-done
		for _, fd := range fds {
			unix.Close(fd)
		}
		unix.Close(poll)
	})
	return r
}

func (r *bareRunner) loop(quit chan struct{}) {
	events, buffer := make([]unix.EpollEvent, 512), make([]byte, 128<<10)
	total := int64(0)
	for {
		n, err := unix.EpollWait(r.poll, events, -1)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, event := range events[:max(n, 0)] {
			if int(event.Fd) != r.bell {
				got, _ := unix.Read(int(event.Fd), buffer)
				total += int64(max(got, 0))
				continue
			}
			unix.Read(r.bell, buffer[:8])
			select {
			case answer := <-r.ask:
				answer <- threadTime()
			case answer := <-r.read:
				answer <- total
			case <-quit:
				return
			default:
			}
		}
	}
}

func (r *bareRunner) ring() {
	one := [8]byte{1}
	unix.Write(r.bell, one[:])
}

func (r *bareRunner) threadTime() time.Duration {
	answer := make(chan time.Duration, 1)
	r.ask <- answer
	r.ring()
	return <-answer
}

func (r *bareRunner) cpu(f func()) time.Duration {
	from := r.threadTime()
	f()
	return r.threadTime() - from
}

func (r *bareRunner) await(b *testing.B, bytes int64) {
	for until := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		answer := make(chan int64, 1)
		r.read <- answer
		r.ring()
		if got := <-answer; got >= bytes {
			return
		} else if time.Now().After(until) {
			b.Fatalf("%d of %d bytes came", got, bytes)
		}
	}
}
