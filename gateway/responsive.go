package gateway

import (
	"errors"
	"fmt"
	"time"
)

// Responsive says whether what everything else waits for has answered within a time: nil, or which of it has not. Service managers ask
// it for their watchdogs. A disk that fails is answered for, since the log goes on by itself when it is mended; one that does not come back
// from a call is not. Safe for concurrent use.
func (s *Server) Responsive(within time.Duration) error {
	s = s.current()
	var errs []error
	if silent := s.engine.Silent(); silent > within {
		errs = append(errs, fmt.Errorf("an event loop has not answered for %v", silent.Round(time.Second)))
	}
	if silent := s.store.Silent(); silent > within {
		errs = append(errs, fmt.Errorf("the log's committer has been at one write or sync for %v", silent.Round(time.Second)))
	}
	return errors.Join(errs...)
}
