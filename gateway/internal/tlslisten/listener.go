package tlslisten

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/records"
)

const (
	// MaxHandshakes bounds the connections that are not with a loop yet. Each holds a descriptor, for a moment two, some 20 KiB and a goroutine.
	MaxHandshakes = 512
	// maxOfAddress bounds those of one address, so that nobody alone keeps all others waiting.
	maxOfAddress = 128
)

// Config says with what handshakes are made and where connections go. All must be set.
type Config struct {
	Listener     net.Listener
	Certificates *Certificates
	// MinVersion is tls.VersionTLS12 or tls.VersionTLS13.
	MinVersion uint16
	// Timeout is from accept to the end of the handshake.
	Timeout time.Duration
	// MayOpen says whether the rate of an address allows another connection.
	MayOpen func(from netip.Addr) bool
	// Enter takes a connection, closes it when it can't, and may wait for its loop.
	Enter func(c net.Conn, from netip.Addr, s *records.Stream) error
	// Denied is told of peers that do what no client does; slow: it began and did not go on.
	Denied   func(from netip.Addr, slow bool, err error)
	Counters *Counters
	Log      *slog.Logger
}

// Listener makes handshakes until Close. Its methods are safe for concurrent use.
type Listener struct {
	// Set at construction.
	cfg     Config
	tls     *tls.Config
	turns   chan struct{} // a token for each that computes
	running sync.WaitGroup

	closed atomic.Bool

	mu    sync.Mutex // guards all below
	conns map[net.Conn]netip.Addr
	of    map[netip.Addr]int // those of conns
}

// Counters are what the metrics read.
type Counters struct {
	UnderWay atomic.Int64 // now
	Done     atomic.Int64
	Resumed  atomic.Int64 // of Done, those with a ticket
	Failed   [len(failureNames)]atomic.Int64
}

// failure is why a connection did not come to a loop.
type failure uint8

const (
	failedFull        failure = iota // as many as may were under way
	failedAddress                    // of its address
	failedRate                       // its address opens connections too fast
	failedTimeout                    // not done in time
	failedHTTP                       // HTTP without TLS
	failedGarbage                    // no TLS
	failedUnsupported                // no version, suite or protocol in common
	failedRefused                    // the peer did not want to go on: mostly it does not trust the certificate
	failedLeft                       // the peer went away
	failedEnter                      // no loop took it
)

var failureNames = [...]string{"full", "address", "rate", "timeout", "http", "garbage", "unsupported", "refused", "left", "enter"}

// FailureNames gives the reasons by index in Counters.Failed.
func FailureNames() []string { return failureNames[:] }

// Serve begins to accept. Close ends it.
func Serve(cfg Config) *Listener {
	l := &Listener{
		cfg:   cfg,
		tls:   newConfig(cfg),
		turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		conns: make(map[net.Conn]netip.Addr),
		of:    make(map[netip.Addr]int),
	}
	l.running.Go(l.acceptLoop)
	return l
}

// Close ends the listener and the handshakes under way. Connections that are with a loop are not touched.
func (l *Listener) Close() {
	l.closed.Store(true)
	l.cfg.Listener.Close()
	l.mu.Lock()
	for conn := range l.conns {
		conn.Close()
	}
	l.mu.Unlock()
	l.running.Wait()
}

// acceptLoop is started by Serve and ended by Close.
func (l *Listener) acceptLoop() {
	for {
		conn, err := l.cfg.Listener.Accept()
		switch {
		case l.closed.Load() || errors.Is(err, net.ErrClosed):
			if err == nil {
				conn.Close()
			}
			return
		case err != nil:
			// A peer that was gone before it was accepted, or a kernel without memory: the next may go well.
			l.cfg.Log.Error("a connection for TLS can't be accepted", "err", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		from := remoteAddr(conn)
		if reason, ok := l.begin(conn, from); !ok {
			l.cfg.Counters.Failed[reason].Add(1)
			conn.Close()
			continue
		}
		l.running.Go(func() {
			defer l.end(conn)
			l.handshake(conn, from)
		})
	}
}

// begin takes a place for a connection, or says why not.
func (l *Listener) begin(conn net.Conn, from netip.Addr) (failure, bool) {
	if !l.cfg.MayOpen(from) {
		return failedRate, false
	}
	of := subscriber(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.conns) >= MaxHandshakes:
		return failedFull, false
	case l.of[of] >= maxOfAddress:
		return failedAddress, false
	}
	l.conns[conn] = of
	l.of[of]++
	l.cfg.Counters.UnderWay.Add(1)
	return 0, true
}

func (l *Listener) end(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.conns[conn]
	delete(l.conns, conn)
	l.cfg.Counters.UnderWay.Add(-1)
	if l.of[of]--; l.of[of] == 0 {
		delete(l.of, of)
	}
}

func remoteAddr(conn net.Conn) netip.Addr {
	a, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	from, _ := netip.AddrFromSlice(a.IP)
	return from.Unmap()
}

// subscriber is what one subscriber is given: an address, of IPv6 a /64.
func subscriber(from netip.Addr) netip.Addr {
	if from.Is6() {
		prefix, _ := from.Prefix(64)
		return prefix.Addr()
	}
	return from
}
