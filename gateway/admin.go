package gateway

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"rookery/gateway/internal/accept"
	"rookery/gateway/internal/operator"
	"rookery/gateway/internal/rate"
)

// adminConnections bounds the descriptors that operators' tools hold: a monitor that leaks
// connections must not take those that the event loops count on. More wait in the kernel.
const adminConnections = 32

// keptConnections is how many may be open for one of them to be kept for a next request. What a backend's pool keeps idle would have health
// checks wait, and those who ask take the server for dead.
const keptConnections = adminConnections / 2

// adminBodyTime is how long a body may take. The end of this time ends the request too, so it is more than an answer takes that has one
// (roomRequestTimeout); the server API has bounds of its own.
const adminBodyTime = 3 * roomRequestTimeout

const (
	// answerTime is how long a piece of an answer may not be taken. A whole one may take as long as it takes: exports, profiles, whoever looks.
	answerTime = 30 * time.Second
	// answerPiece is what counts as progress.
	answerPiece = 64 << 10
)

// adminServer is the listener for operators; its zero value is off.
type adminServer struct{ http *http.Server }

// startAdmin serves until Close. The listener was made by New.
func (s *Server) startAdmin(running *sync.WaitGroup) adminServer {
	if s.admin == nil {
		return adminServer{}
	}
	var open atomic.Int32
	handler := s.adminHandler()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if open.Load() > keptConnections {
				w.Header().Set("Connection", "close")
			}
			handler.ServeHTTP(w, r)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
			}
		},
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: log.New(&adminFaults{log: s.log}, "", 0),
	}
	running.Go(func() {
		if err := server.Serve(s.adminTLS.over(netutil.LimitListener(accept.On(s.admin, s.log, &s.accepts), adminConnections))); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the admin listener ended", "err", err)
		}
	})
	return adminServer{server}
}

// Close ends the listener; a profile that is being taken is given a second.
func (a adminServer) Close() {
	if a.http == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if a.http.Shutdown(ctx) != nil {
		a.http.Close()
	}
}

// leave ends the listener so that another may go on with it: nobody is waited for long.
func (a adminServer) leave() {
	if a.http == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if a.http.Shutdown(ctx) != nil {
		a.http.Close()
	}
}

func (s *Server) adminHandler() http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		newProcessMetrics(func() int { return s.current().engine.Open() }),
		newMetrics(s),
	)
	mux := http.NewServeMux()
	mux.Handle("/v1/", s.api)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.readiness)
	s.handleRooms(mux)
	s.handleRevocations(mux)
	s.handlePush(mux)
	s.handleNotices(mux)
	s.operator.Handle(mux)
	waiting(mux)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // without its cmdline: a flag may be a secret
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return bounded(s.bodyTime, s.audit.Handler(operator.Guard(s.cfg.AdminHosts, mux)))
}

// bounded has a body come within bodyTime, and each piece of an answer be taken within answerTime. Whoever sends a part of a body, or takes nothing, would
// keep its place for ever, at any path: net/http waits for the rest before it answers. The timeouts of the server would end profiles and streams, too.
func bounded(bodyTime time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if r.ContentLength != 0 { // or it is not known
			_ = control.SetReadDeadline(time.Now().Add(bodyTime))
		}
		a := &answer{w, control}
		a.extend() // it is still that of the request before
		next.ServeHTTP(a, r)
		a.extend() // for what net/http has kept back
	})
}

// answer gives each piece its time.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (a *answer) extend() { _ = a.control.SetWriteDeadline(time.Now().Add(answerTime)) }

func (a *answer) Write(b []byte) (n int, err error) {
	for {
		piece := b[:min(len(b), answerPiece)]
		a.extend()
		m, err := a.ResponseWriter.Write(piece)
		n, b = n+m, b[len(piece):]
		if err != nil || len(b) == 0 {
			return n, err
		}
	}
}

// Unwrap is how http.ResponseController finds the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// adminFaults writes down what net/http says of connections. That a handshake of TLS failed is what strangers can have said as often as they like.
type adminFaults struct {
	log  *slog.Logger
	line rate.Line
}

func (f *adminFaults) Write(b []byte) (int, error) {
	text := strings.TrimSuffix(string(b), "\n")
	if strings.Contains(text, "TLS handshake error") {
		f.line.Log(f.log, slog.LevelWarn, text)
	} else {
		f.log.Warn(text)
	}
	return len(b), nil
}

// health says that the process lives. A log that can't be written does not change that:
// restarting would end live traffic and reading, and may not mend the disk.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "ok")
}

// readiness says whether new connections should be sent here.
func (s *Server) readiness(w http.ResponseWriter, _ *http.Request) {
	if reason := s.unready(); reason != "" {
		http.Error(w, reason, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
	if missing := s.secure.missing(); len(missing) > 0 {
		// Who speaks plain is served, and a certificate needs this server to be reached.
		fmt.Fprintln(w, "there is no certificate yet for", strings.Join(missing, ", "))
	}
}

// unready is why new connections should not be sent here, empty if they may.
func (s *Server) unready() string {
	switch {
	case s.state.Load() == starting:
		return "starting"
	case s.state.Load() == leaving:
		return "draining"
	case s.store.Err() != nil:
		return "publishing fails: " + s.store.Err().Error()
	case s.engine.Open() >= s.engine.Capacity():
		return fmt.Sprintf("full: %d connections", s.engine.Open())
	}
	return ""
}
