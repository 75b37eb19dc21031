// Bare is a server that does nothing but read and write: what it is sent for a room it sends on to those who joined it, from the event
// loop of who sent it. It keeps nothing, checks nobody and remembers nothing, and does not take care of who is slow. So what it needs
// for a delivery is what any server with these event loops needs, and the gateway is measured beside it.
//
// Its texts are those of the plan in host_bare.go. It prints its address and ends with its standard input.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"rookery/internal/porttest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run() error {
	port, err := porttest.Take() // gnet can't say which it would take
	if err != nil {
		return err
	}
	address := "127.0.0.1:" + port
	go func() { // ends the program
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	s := &server{address: address, rooms: map[string]*room{}}
	return gnet.Run(s, "tcp://"+address, gnet.WithMulticore(true), gnet.WithReusePort(true), gnet.WithTCPNoDelay(gnet.TCPNoDelay),
		gnet.WithLogger(quiet{}))
}

// quiet takes what gnet logs, which would stand before the address.
type quiet struct{}

func (quiet) Debugf(string, ...any) {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

type server struct {
	gnet.BuiltinEventEngine
	address string

	mu    sync.Mutex // guards rooms, and the members of each while they come
	rooms map[string]*room
}

// room is those who joined, by their descriptors.
type room struct{ members []int }

// member is what a connection has. It joins one room.
type member struct {
	upgraded bool
	room     *room
}

func (s *server) OnBoot(gnet.Engine) gnet.Action {
	fmt.Println(s.address)
	return gnet.None
}

func (s *server) OnOpen(g gnet.Conn) ([]byte, gnet.Action) {
	g.SetContext(&member{})
	return nil, gnet.None
}

func (s *server) OnTraffic(g gnet.Conn) gnet.Action {
	m := g.Context().(*member)
	for {
		b, _ := g.Peek(-1)
		n, err := s.take(g.Fd(), m, b)
		if err != nil {
			return gnet.Close
		}
		if n == 0 {
			return gnet.None
		}
		g.Discard(n)
	}
}

// take works off the first thing that a connection sent, and gives its length, 0 if it is not whole.
func (s *server) take(fd int, m *member, b []byte) (n int, err error) {
	if !m.upgraded {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			return 0, nil
		}
		n = end + 4
		var answer bytes.Buffer
		if _, err := ws.Upgrade(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(b[:n]), &answer}); err != nil {
			return 0, err
		}
		m.upgraded = true
		return n, put(fd, answer.Bytes())
	}
	in := bytes.NewReader(b)
	h, err := ws.ReadHeader(in)
	if begin := len(b) - in.Len(); err != nil || int64(in.Len()) < h.Length {
		return 0, nil
	} else if n = begin + int(h.Length); h.OpCode == ws.OpText {
		text := b[begin:n]
		ws.Cipher(text, h.Mask, 0)
		return n, s.hear(fd, m, text)
	}
	return n, nil
}

func (s *server) hear(fd int, m *member, text []byte) error {
	name, joins := strings.CutPrefix(string(text[:min(len(text), 200)]), `{"join":"`)
	if !joins {
		frame := slices.Concat(head(len(text)), text)
		for _, to := range m.room.members {
			if err := put(to, frame); err != nil {
				return err
			}
		}
		return nil
	}
	name, _, _ = strings.Cut(name, `"`)
	s.mu.Lock()
	if s.rooms[name] == nil {
		s.rooms[name] = &room{}
	}
	m.room = s.rooms[name]
	m.room.members = append(m.room.members, fd)
	s.mu.Unlock()
	answer := bytes.Replace(text, []byte("join"), []byte("joined"), 1)
	return put(fd, slices.Concat(head(len(answer)), answer))
}

// head is that of a text frame.
func head(length int) []byte {
	var b bytes.Buffer
	_ = ws.WriteHeader(&b, ws.Header{Fin: true, OpCode: ws.OpText, Length: int64(length)}) // a buffer takes all
	return b.Bytes()
}

// put writes as the gateway does, without telling the runtime.
func put(fd int, b []byte) error {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 || int(n) < len(b) {
		return fmt.Errorf("a socket took %d of %d bytes: %w", n, len(b), errno)
	}
	return nil
}
