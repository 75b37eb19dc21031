package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"rookery/storage/commitlog"
	"rookery/storage/ship"
)

// lastShipping is how long the end of the process waits for the last state to be shipped. What is not
// shipped then is shipped by the next start.
const lastShipping = 5 * time.Second

// newShipper gives what keeps a copy of the log elsewhere, nil if the setting ship.to is empty. Run starts
// it and ends it before the log is closed.
func newShipper(cfg Config, store *commitlog.Log, logger *slog.Logger) (*ship.Shipper, error) {
	if cfg.Ship.To == "" {
		return nil, nil
	}
	location, err := ship.ParseLocation(cfg.Ship.To)
	var target ship.Target
	if err == nil {
		target, err = location.Open(ship.S3Config{Endpoint: cfg.Ship.S3Endpoint, Region: cfg.Ship.S3Region})
	}
	if err != nil {
		return nil, fmt.Errorf("ship the log to %s (setting ship.to): %w", cfg.Ship.To, err)
	}
	return ship.New(ship.Config{
		Log:    store,
		LogID:  store.LogID(),
		Epoch:  store.Epoch(),
		Target: target,
		Every:  cfg.Ship.Every,
		Logger: logger.With("to", location.String()),
	}), nil
}

// stopShipping ships what was committed last, if that can be done in time.
func (s *Server) stopShipping(last time.Duration) {
	if s.shipper == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(last, s.cfg.Drain.Timeout))
	defer cancel()
	if err := s.shipper.Stop(ctx); err != nil {
		s.log.Warn("the process ends before the log is shipped to its end; the next start goes on", "error", err)
	}
}
