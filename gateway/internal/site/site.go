// Package site answers those requests on the public listener that no event loop can, because their answers wait for
// somebody: another server, the disk. A loop passes such a request on (loop.Site), a goroutine has an ordinary
// [http.Handler] answer it, and the answer goes back through the loop's mailbox, as bytes that are ready to be written.
//
// # Bounds
//
// There are at most Config.Most requests, with a goroutine each; the loop answers the next with 503. Each has Config.Timeout. Bodies
// are not read, so a request is no larger than its head. A handler that panics is logged and answered with 500.
package site

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"rookery/gateway/internal/handoff"
)

// Config is what a Site needs. All of it is required.
type Config struct {
	Handler http.Handler
	Paths   []string // that the handler answers
	Inboxes []*handoff.Mailbox[handoff.Event]
	Most    int
	Timeout time.Duration
	Log     *slog.Logger
}

// Site is the goroutines. Its methods are safe for concurrent use.
type Site struct {
	// Set at construction.
	cfg    Config
	paths  map[string]struct{}
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	places chan struct{} // one for each request that is being answered

	mu sync.Mutex // guards all below
	// closed: no more are taken.
	closed  bool
	running sync.WaitGroup
}

// New makes a Site. Whoever makes one closes it, before the mailboxes' receivers end.
func New(cfg Config) *Site {
	s := &Site{cfg: cfg, paths: make(map[string]struct{}), places: make(chan struct{}, cfg.Most)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, path := range cfg.Paths {
		s.paths[path] = struct{}{}
	}
	return s
}

// Serves says whether a path is the handler's.
func (s *Site) Serves(path string) bool {
	_, found := s.paths[path]
	return found
}

// Ask has a request answered, or reports false when there are as many as may be. It does not wait.
func (s *Site) Ask(to handoff.Handle, r *http.Request) bool {
	select {
	case s.places <- struct{}{}:
	default:
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		<-s.places
		return false
	}
	s.running.Go(func() {
		defer func() { <-s.places }()
		answer := s.answer(r)
		s.cfg.Inboxes[to.Loop].PutAlways(handoff.Event{Kind: handoff.Responded, To: to, Frames: answer, Size: len(answer)}, len(answer))
	})
	return true
}

// Close gives up on what is being answered and waits for the goroutines. What they still say reaches nobody if the loops have
// ended.
func (s *Site) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
}

func (s *Site) answer(r *http.Request) (answer []byte) {
	defer func() {
		if fault := recover(); fault != nil {
			s.cfg.Log.Error("BUG: a request made the server panic", "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
			failed := newResponse()
			http.Error(failed, "the server has a fault", http.StatusInternalServerError)
			answer = failed.encode(r)
		}
	}()
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	defer cancel()
	r.Body = http.NoBody
	w := newResponse()
	s.cfg.Handler.ServeHTTP(w, r.WithContext(ctx))
	return w.encode(r)
}

// response keeps what a handler writes, an [http.ResponseWriter].
type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newResponse() *response { return &response{header: make(http.Header)} }

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *response) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// encode makes bytes of it, the last on its connection.
func (w *response) encode(r *http.Request) []byte {
	w.WriteHeader(http.StatusOK)
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
	// Header.Write makes spaces of line ends, so that no value becomes a field of its own.
	w.header.Del("Connection")
	w.header.Del("Content-Length")
	_ = w.header.Write(&out)
	if w.status != http.StatusNoContent {
		fmt.Fprintf(&out, "Content-Length: %d\r\n", w.body.Len())
	}
	out.WriteString("Connection: close\r\n\r\n")
	if r.Method != http.MethodHead && w.status != http.StatusNoContent {
		out.Write(w.body.Bytes())
	}
	return out.Bytes()
}
