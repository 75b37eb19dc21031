package tlslisten

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"rookery/internal/records"
)

const (
	// MaxHandshakes bounds the connections that are not with a loop yet. Each holds a descriptor, for a moment two, a goroutine and some
	// 20 KiB; one that sends a handshake as long as package records lets it holds 64 KiB of that more.
	MaxHandshakes = 512
	// maxOfAddress bounds those of one address, so that nobody alone keeps all others waiting; but for a trusted proxy.
	maxOfAddress = 128
	// silentFor is how long a peer may say nothing before it makes room for a newcomer when all places are taken. One that wants a handshake
	// begins at once; what is lost on the way is sent again after some 200 ms.
	silentFor = 250 * time.Millisecond
)

// Config says with what handshakes are made and where connections go. All but Challenge must be set.
type Config struct {
	// Listener gives no error but that it is closed: one of package accept.
	Listener net.Listener
	// Certificate chooses the one for a peer, or gives ErrNoCertificate.
	Certificate func(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// Challenge is the certificate for an authority that looks whether a name is ours (RFC 8737), nil for everybody else.
	Challenge func(hello *tls.ClientHelloInfo) *tls.Certificate
	// MinVersion is tls.VersionTLS12 or tls.VersionTLS13.
	MinVersion uint16
	// Timeout is from accept to the end of the handshake.
	Timeout time.Duration
	// Admit takes a connection from the rate of its address, or says that it has none left.
	Admit func(from netip.Addr) bool
	// Trusted says whether an address is a proxy's, which speaks for many and has no bound of its own.
	Trusted func(from netip.Addr) bool
	// Kernel has connections whose keys allow it enter with their records in the kernel, without a Stream.
	Kernel bool
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

	closed atomic.Bool // set with mu, so that nobody begins behind Close

	mu    sync.Mutex // guards all below
	conns map[*turn]netip.Addr
	of    map[netip.Addr]int // those of conns
}

// Counters are what the metrics read.
type Counters struct {
	UnderWay   atomic.Int64 // now
	Done       atomic.Int64
	Resumed    atomic.Int64 // of Done, those with a ticket
	Kernel     atomic.Int64 // of Done, those whose records are the kernel's
	Challenges atomic.Int64 // answered; such a connection ends with its handshake
	Failed     [len(failureNames)]atomic.Int64
}

// failure is why a connection did not come to a loop.
type failure uint8

const (
	failedFull        failure = iota // as many as may were under way
	failedAddress                    // of its address
	failedRate                       // its address opens connections too fast
	failedSilent                     // it said nothing and made room for another
	failedTimeout                    // not done in time
	failedHTTP                       // HTTP without TLS
	failedGarbage                    // no TLS
	failedUnsupported                // no version, suite or protocol in common
	failedRefused                    // the peer did not want to go on: mostly it does not trust the certificate
	failedLeft                       // the peer went away
	failedKernel                     // the kernel took half of its keys
	failedEnter                      // no loop took it
	failedCertificate                // there is no certificate yet
	failedPanic                      // a bug
)

var failureNames = [...]string{"full", "address", "rate", "silent", "timeout", "http", "garbage", "unsupported", "refused", "left", "kernel", "enter", "no_certificate", "panic"}

// FailureNames gives the reasons by index in Counters.Failed.
func FailureNames() []string { return failureNames[:] }

// Serve begins to accept. Close ends it.
func Serve(cfg Config) *Listener {
	// Go's scheduler may have one more than the machine: that computes nothing more.
	processors := min(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	l := &Listener{
		cfg:   cfg,
		tls:   newConfig(cfg),
		turns: make(chan struct{}, max(1, processors/2)),
		conns: make(map[*turn]netip.Addr),
		of:    make(map[netip.Addr]int),
	}
	l.running.Go(l.acceptLoop)
	return l
}

// Close ends the listener and the handshakes under way. Connections that are with a loop are not touched.
func (l *Listener) Close() {
	l.cfg.Listener.Close()
	l.mu.Lock()
	l.closed.Store(true)
	for t := range l.conns {
		t.Close()
	}
	l.mu.Unlock()
	l.running.Wait()
}

// acceptLoop is started by Serve and ended by Close.
func (l *Listener) acceptLoop() {
	for {
		conn, err := l.cfg.Listener.Accept()
		if err != nil {
			return
		}
		if l.closed.Load() {
			conn.Close()
			return
		}
		from, t := remoteAddr(conn), &turn{Conn: conn, turns: l.turns, begun: time.Now()}
		if reason, ok := l.begin(t, from); !ok {
			if !l.closed.Load() {
				l.cfg.Counters.Failed[reason].Add(1)
			}
			t.Close()
			continue
		}
		l.running.Go(func() {
			defer l.end(t)
			defer l.survive(t, from)
			l.handshake(t, from)
		})
	}
}

// begin takes a place for a connection, or says why not.
func (l *Listener) begin(t *turn, from netip.Addr) (failure, bool) {
	if !l.cfg.Admit(from) {
		return failedRate, false
	}
	of, trusted := subscriber(from), l.cfg.Trusted(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed.Load():
		return failedFull, false
	case l.of[of] >= maxOfAddress && !trusted:
		return failedAddress, false
	case len(l.conns) >= MaxHandshakes && !l.dropSilent(t.begun):
		return failedFull, false
	}
	l.conns[t] = of
	l.of[of]++
	l.cfg.Counters.UnderWay.Add(1)
	return 0, true
}

// dropSilent makes room: it closes whoever has said nothing for longest, so that peers that only hold places, be it of many addresses,
// keep nobody out. Who has begun stays, and has a line written about it if it does not go on. With l.mu.
func (l *Listener) dropSilent(now time.Time) bool {
	var oldest *turn
	for t := range l.conns {
		if t.read.Load() == 0 && now.Sub(t.begun) >= silentFor && (oldest == nil || t.begun.Before(oldest.begun)) {
			oldest = t
		}
	}
	if oldest == nil {
		return false
	}
	oldest.Close()
	l.cfg.Counters.Failed[failedSilent].Add(1)
	l.forget(oldest)
	return true
}

func (l *Listener) end(t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.conns[t]; ok { // and not dropped
		l.forget(t)
	}
}

// forget gives the place of a connection back. With l.mu.
func (l *Listener) forget(t *turn) {
	of := l.conns[t]
	delete(l.conns, t)
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
