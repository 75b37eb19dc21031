package tlslisten

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// checkEvery is how often the files of certificates are looked at.
const checkEvery = 10 * time.Second

// Pair names the files of a certificate: its chain and its key, both PEM.
type Pair struct{ Certificate, Key string }

// Certificates are those that are shown to peers, by the name that they ask for. Its methods are safe for concurrent use.
type Certificates struct {
	// Set at construction.
	pairs []Pair
	log   *slog.Logger
	stop  chan struct{}
	ended sync.WaitGroup

	current  atomic.Pointer[[]tls.Certificate] // replaced as a whole
	failures atomic.Int64

	mu     sync.Mutex // guards what is below, and lets one reload at a time
	seen   []fileState
	failed bool // what was seen could not be used
}

// fileState is what says that a file has changed. A link is followed, so that one that leads elsewhere is noticed too.
type fileState struct {
	modified time.Time
	size     int64
	info     os.FileInfo
}

// ErrNoCertificate: there is none for anybody yet.
var ErrNoCertificate = errors.New("there is no certificate yet")

// LoadCertificates reads the pairs, of which there may be none, and reads them again when their files change, until Close.
func LoadCertificates(pairs []Pair, log *slog.Logger) (*Certificates, error) {
	c, err := read(pairs, log)
	if err != nil {
		return nil, err
	}
	c.ended.Go(func() {
		t := time.NewTicker(checkEvery)
		defer t.Stop()
		c.watchLoop(t.C)
	})
	return c, nil
}

func read(pairs []Pair, log *slog.Logger) (*Certificates, error) {
	c := &Certificates{pairs: pairs, log: log, stop: make(chan struct{})}
	c.seen = c.look()
	loaded, err := load(pairs)
	if err != nil {
		return nil, err
	}
	c.use(loaded)
	return c, nil
}

// Check says why pairs can't be used, nil if they can.
func Check(pairs []Pair) error {
	_, err := load(pairs)
	return err
}

func load(pairs []Pair) ([]tls.Certificate, error) {
	loaded := make([]tls.Certificate, len(pairs))
	for i, pair := range pairs {
		var err error
		if loaded[i], err = tls.LoadX509KeyPair(pair.Certificate, pair.Key); err != nil {
			return nil, fmt.Errorf("certificate %s with key %s: %w", pair.Certificate, pair.Key, err)
		}
	}
	return loaded, nil
}

// Close ends the watch over the files.
func (c *Certificates) Close() {
	close(c.stop)
	c.ended.Wait()
}

// watchLoop is started by LoadCertificates and ended by Close. It asks the files and not inotify, which tells nothing of a link that
// leads elsewhere several folders on, as those of certbot and Kubernetes do.
func (c *Certificates) watchLoop(ticks <-chan time.Time) {
	for {
		select {
		case <-c.stop:
			return
		case <-ticks:
			c.Reload()
		}
	}
}

// Reload reads files that have changed. If they can't be used, the certificates stay what they are, a log line says why, once, and it is
// tried again each time: chain and key are two files, and between the writes of both they do not fit; and that a file may be read now
// changes nothing of what is looked at.
func (c *Certificates) Reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.look()
	unchanged := same(now, c.seen)
	if unchanged && !c.failed {
		return
	}
	c.seen = now
	loaded, err := load(c.pairs)
	told := unchanged && c.failed
	if c.failed = err != nil; c.failed {
		if told {
			return
		}
		c.failures.Add(1)
		c.log.Error("changed certificates can't be used, the old ones stay in force", "err", err)
		return
	}
	c.use(loaded)
	c.log.Info("certificates read again", "expire", c.Expires())
}

func (c *Certificates) use(loaded []tls.Certificate) {
	c.current.Store(&loaded)
	for i, cert := range loaded {
		if time.Now().After(cert.Leaf.NotAfter) {
			c.log.Warn("a certificate has expired", "file", c.pairs[i].Certificate, "expired", cert.Leaf.NotAfter)
		}
	}
}

// Expires is when the first of the certificates does; zero: there is none.
func (c *Certificates) Expires() time.Time {
	var first time.Time
	for _, cert := range *c.current.Load() {
		if first.IsZero() || cert.Leaf.NotAfter.Before(first) {
			first = cert.Leaf.NotAfter
		}
	}
	return first
}

// Failures is how often changed certificates could not be used.
func (c *Certificates) Failures() int64 { return c.failures.Load() }

// Get chooses the certificate for a peer: the first that fits the name it asks for and what it can do, else the first.
func (c *Certificates) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	current := *c.current.Load()
	if len(current) == 0 {
		return nil, ErrNoCertificate
	}
	if len(current) > 1 {
		if fitting := c.Fitting(hello); fitting != nil {
			return fitting, nil
		}
	}
	return &current[0], nil
}

// Fitting is the first certificate that fits the name a peer asks for and what it can do, nil if none does.
func (c *Certificates) Fitting(hello *tls.ClientHelloInfo) *tls.Certificate {
	current := *c.current.Load()
	for i := range current {
		if hello.SupportsCertificate(&current[i]) == nil {
			return &current[i]
		}
	}
	return nil
}

func (c *Certificates) look() (states []fileState) {
	for _, pair := range c.pairs {
		for _, name := range []string{pair.Certificate, pair.Key} {
			var s fileState
			if info, err := os.Stat(name); err == nil {
				s = fileState{info.ModTime(), info.Size(), info}
			}
			states = append(states, s)
		}
	}
	return states
}

func same(a, b []fileState) bool {
	for i := range a {
		if !a[i].modified.Equal(b[i].modified) || a[i].size != b[i].size || (a[i].info == nil) != (b[i].info == nil) ||
			a[i].info != nil && !os.SameFile(a[i].info, b[i].info) {
			return false
		}
	}
	return true
}
