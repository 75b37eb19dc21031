// Package benchtest is a server for tests of the load tester: it speaks Rookery's protocol, does exactly what
// its Faults say wrong, and tells afterwards how often it did (Truth). A report can then be
// held against what really happened.
//
// It runs in the process of the test, on one port of the loopback address, as the real server does:
// WebSocket at /ws in both codecs, and raw TCP. In the modes Echo and Broadcast it is a plain WebSocket
// server that knows nothing of Rookery, at any path.
//
//	benchtest.go  start, addresses, end
//	faults.go     what goes wrong
//	truth.go      what went wrong
//	gate.go       stalls: a socket that is neither read nor written for a while
//	accept.go     a connection's first bytes
//	conn.go       a connection's messages, in
//	requests.go   the operations of the protocol
//	room.go       members, and the faults of deliveries
//	message.go    a message and its wrong forms
//	outbound.go   what waits for its time, and a connection's messages, out
//
// # Locks
//
// Server.mu guards rooms, members and connections; outbound.mu the queue of one connection, and is taken
// under Server.mu or alone. A delivery is queued for all members under one hold of Server.mu, so all
// receive the messages of a room in one order.
//
// # Not promised
//
// Everything is kept in memory, the newest keepMessages of each room. There are no rights, limits,
// goaway, probes of silent clients or time limits for handshakes. A token is not checked but for being the one that
// Config.Token asks for. Speed neither: each connection has a goroutine that reads and one that
// writes, and all rooms share a lock.
package benchtest

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// Mode is what kind of server it is.
type Mode int

const (
	Rookery   Mode = iota
	Echo           // each message goes back to its sender
	Broadcast      // each message goes to every connection, its sender's too
)

// Config is what else can be chosen. The zero value is a Rookery server that lets everybody in.
type Config struct {
	Mode Mode
	// Token is what every connect has to show. Empty: any token, or a name.
	Token string
	// Queue bounds the bytes that wait for one connection. One with more is reset when it next takes bytes; the real
	// server would go on from its log. 0: 64 MiB.
	Queue int
	// Listen is the address to listen at. Empty: a free port of 127.0.0.1.
	Listen string
}

// Server is a running server. Its methods are safe for concurrent use.
type Server struct {
	// Set at construction.
	config   Config
	faults   Faults
	listener net.Listener
	epoch    string
	tally    *tally
	gate     *gate
	done     chan struct{} // closed by Close
	running  sync.WaitGroup
	once     sync.Once

	mu       sync.Mutex // guards all below, and what room.go says
	conns    map[*conn]struct{}
	rooms    map[string]*room
	accepted int
	closed   bool
}

// Start runs a server until the test ends. Options change its configuration first.
func Start(t testing.TB, faults Faults, options ...func(*Config)) *Server {
	t.Helper()
	s, err := New(faults, options...)
	if err != nil {
		t.Fatalf("start a test server: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// New runs a server until Close. Options change its configuration first.
func New(faults Faults, options ...func(*Config)) (*Server, error) {
	var config Config
	for _, option := range options {
		option(&config)
	}
	if config.Listen == "" {
		config.Listen = "127.0.0.1:0"
	}
	if config.Queue == 0 {
		config.Queue = 64 << 20
	}
	if err := faults.check(config.Mode); err != nil {
		return nil, err
	}
	if faults.SwapWait == 0 {
		faults.SwapWait = time.Second
	}
	listener, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	done := make(chan struct{})
	s := &Server{
		config: config, faults: faults, listener: listener,
		// Unlike that of any server before it: positions in another one's rooms mean nothing here.
		epoch: fmt.Sprintf("%016x", time.Now().UnixNano()),
		tally: &tally{},
		gate:  &gate{stalls: faults.Stalls, done: done},
		done:  done,
		conns: map[*conn]struct{}{},
		rooms: map[string]*room{},
	}
	s.running.Add(1)
	go s.acceptLoop()
	return s, nil
}

// Addr is host:port, for all that the server speaks.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL is the WebSocket address.
func (s *Server) URL() string { return "ws://" + s.Addr() + "/ws" }

// TCP is the address for raw TCP.
func (s *Server) TCP() string { return "tcp://" + s.Addr() }

// Close ends all connections without a word, and waits for the end of everything that the server
// started. Truth goes on to answer.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.done)
		_ = s.listener.Close() // it ends the accept loop whatever it says
		s.mu.Lock()
		s.closed = true
		conns := make([]*conn, 0, len(s.conns))
		for c := range s.conns {
			conns = append(conns, c)
		}
		s.mu.Unlock()
		for _, c := range conns {
			_ = c.socket.Close() // its own goroutines may have been faster
		}
	})
	s.running.Wait()
}
