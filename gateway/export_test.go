package gateway

import "rookery/storage/vfs"

// SetFS puts the log of a test's gateway on another file system.
func (c *Config) SetFS(fs vfs.FS) { c.fs = fs }

// CloseStore ends the log of a gateway whose Run could not wait for it.
func (s *Server) CloseStore() error { return s.store.Close() }
