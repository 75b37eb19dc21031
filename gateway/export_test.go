package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"rookery/gateway/internal/takeover"
	"rookery/storage/vfs"
)

// SetFS puts the log of a test's gateway on another file system.
func (c *Config) SetFS(fs vfs.FS) { c.fs = fs }

// CloseStore ends the log of a gateway whose Run could not wait for it.
func (s *Server) CloseStore() error {
	s.seen.Close()
	return errors.Join(s.changes.Close(), s.store.Close())
}

// NewHeir makes a server that takes over from nobody, and whose event loops can't take connections in.
func NewHeir(cfg Config, logger *slog.Logger, failure error) (*Server, error) {
	nobody := &inheritance{address: cfg.Listen, bundle: &takeover.Bundle{}, served: func(context.Context, *Server) {}}
	s, err := newServer(cfg, logger, nobody)
	if err == nil {
		s.land = func() error { return failure }
	}
	return s, err
}

// Successor is the server that went on after a takeover that failed, nil if there is none.
func (s *Server) Successor() *Server { return s.successor.Load() }

// Ushered gives the listeners that the usher of a server that serves accepts from, and how many loops it has.
func (s *Server) Ushered() (listeners []int, loops int) {
	<-s.serving
	return s.usher.listeners(), s.loops
}

// SetBodyTime is for before Run.
func (s *Server) SetBodyTime(d time.Duration) { s.bodyTime = d }
