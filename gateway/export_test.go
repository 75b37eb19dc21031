package gateway

import (
	"errors"

	"rookery/storage/vfs"
)

// SetFS puts the log of a test's gateway on another file system.
func (c *Config) SetFS(fs vfs.FS) { c.fs = fs }

// CloseStore ends the log of a gateway whose Run could not wait for it.
func (s *Server) CloseStore() error {
	s.seen.Close()
	return errors.Join(s.changes.Close(), s.store.Close())
}

// Successor is the server that went on after a takeover that failed, nil if there is none.
func (s *Server) Successor() *Server { return s.successor.Load() }
