// Package revocation knows which tokens hold no longer before they expire: single ones by their id (jti), or all that were
// issued to a user up to a moment. A token with a later iat is good again, so that a user who was locked out gets in with a new one.
//
// The Set is in memory, asked at every connect, and is what its Store holds: a change is stored first, then in force for
// who connects, then told to the loops (Config.Tell) so that live connections end. In this order no connection slips
// through: one that was let in before the second step is in its loop's table when the third arrives.
//
// # Bounds
//
// A revocation is needed until the last token that it is about would have expired, Entry.Until. Those that are over are dropped
// once an hour, by the Set's goroutine. At most 100,000 are kept; beyond that Add fails with ErrFull, and revoking a
// user stands in for many tokens.
package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Max is how many revocations are kept.
const Max = 100_000

const (
	sweepEvery = time.Hour
	// sweepBatch bounds what is dropped from the store at once.
	sweepBatch = 1000
	// sweepTimeout is how long the store may take for it.
	sweepTimeout = time.Minute
)

// ErrFull: too many revocations are kept.
var ErrFull = fmt.Errorf("%d revocations are kept, no more fit: revoke a user instead of single tokens, or wait until some are over", Max)

// Key says what is revoked: a token by its id, or a user. Exactly one is set.
type Key struct{ Token, User string }

// Entry is a revocation.
type Entry struct {
	Key
	At    time.Time // of a user: tokens that were issued up to this second
	Until time.Time // from then on nothing is left to revoke
}

// Store keeps revocations over a restart. It is called by one goroutine at a time, and may wait.
type Store interface {
	Revocations(fn func(Entry) bool) error
	Revoke(ctx context.Context, e Entry) error
	Restore(ctx context.Context, keys ...Key) error
}

// Config is what a Set needs. All of it is required.
type Config struct {
	Store Store
	// Tell has the live connections of a revoked token or user closed.
	Tell func(Entry)
	Log  *slog.Logger
}

// Set is the revocations in force. Its methods are safe for concurrent use.
type Set struct {
	// Set at construction.
	cfg     Config
	cancel  context.CancelFunc
	stopped chan struct{}
	turn    chan struct{} // holds the right to change: a lock over the store, which who waits can give up on

	mu sync.RWMutex // held for a map access only
	// Guarded by mu.
	entries map[Key]Entry
}

// Open reads the store and starts to drop what is over. Whoever opens a Set closes it, before its store.
func Open(cfg Config) (*Set, error) {
	s := &Set{cfg: cfg, stopped: make(chan struct{}), turn: make(chan struct{}, 1), entries: make(map[Key]Entry)}
	if err := cfg.Store.Revocations(func(e Entry) bool {
		s.entries[e.Key] = e
		return true
	}); err != nil {
		return nil, fmt.Errorf("read the revocations: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.stopped)
		s.sweepLoop(ctx)
	}()
	return s, nil
}

// Close ends the goroutine.
func (s *Set) Close() {
	s.cancel()
	<-s.stopped
}

// Revoked reports whether a token is revoked; its id may be empty, and the zero time is a token that does not say when it was
// issued. It waits for nothing but other map accesses.
func (s *Set) Revoked(tokenID, user string, issued time.Time) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.entries) == 0 {
		return false
	}
	if tokenID != "" {
		if _, found := s.entries[Key{Token: tokenID}]; found {
			return true
		}
	}
	e, found := s.entries[Key{User: user}]
	// Times of tokens are whole seconds: one of the same second may be from before.
	return found && (issued.IsZero() || issued.Unix() <= e.At.Unix())
}

// Add puts a revocation in force, also on live connections, and returns when it is stored. If the store does not answer before the context is
// done, nobody knows whether it has it: then it is in force until the process ends, and the error says so.
func (s *Set) Add(ctx context.Context, e Entry) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	s.mu.RLock()
	_, known := s.entries[e.Key]
	full := !known && len(s.entries) >= Max
	s.mu.RUnlock()
	if full {
		return ErrFull
	}
	err := s.cfg.Store.Revoke(ctx, e)
	if err != nil && ctx.Err() == nil {
		return err
	}
	s.mu.Lock()
	s.entries[e.Key] = e
	s.mu.Unlock()
	s.cfg.Tell(e)
	if err != nil {
		return fmt.Errorf("the revocation is in force, but may not be stored: repeat it, or a restart may forget it: %w", err)
	}
	return nil
}

// Remove takes a revocation back and reports whether there was one.
func (s *Set) Remove(ctx context.Context, key Key) (bool, error) {
	if err := s.take(ctx); err != nil {
		return false, err
	}
	defer s.give()
	s.mu.RLock()
	_, known := s.entries[key]
	s.mu.RUnlock()
	if !known {
		return false, nil
	}
	return true, s.drop(ctx, key)
}

// List gives all revocations, in no order.
func (s *Set) List() []Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]Entry, 0, len(s.entries))
	for _, e := range s.entries {
		all = append(all, e)
	}
	return all
}

// Len is how many there are.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.entries)
}

func (s *Set) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for other revocations: %w", context.Cause(ctx))
	}
}

func (s *Set) give() { <-s.turn }

// drop takes revocations out of the store and out of force. The turn is the caller's.
func (s *Set) drop(ctx context.Context, keys ...Key) error {
	if err := s.cfg.Store.Restore(ctx, keys...); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		delete(s.entries, key)
	}
	return nil
}

// sweepLoop drops what is over: started by Open, ended by Close.
func (s *Set) sweepLoop(ctx context.Context) {
	every := time.NewTicker(sweepEvery)
	defer every.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("revocations that are over can't be dropped, it is tried again in an hour", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

func (s *Set) sweep(ctx context.Context) error {
	for {
		now := time.Now()
		ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
		n, err := s.sweepSome(ctx, now)
		cancel()
		if err != nil || n < sweepBatch {
			return err
		}
	}
}

func (s *Set) sweepSome(ctx context.Context, now time.Time) (n int, err error) {
	if err := s.take(ctx); err != nil {
		return 0, err
	}
	defer s.give()
	var over []Key
	s.mu.RLock()
	for key, e := range s.entries {
		if len(over) < sweepBatch && !now.Before(e.Until) {
			over = append(over, key)
		}
	}
	s.mu.RUnlock()
	if len(over) == 0 {
		return 0, nil
	}
	return len(over), s.drop(ctx, over...)
}

// Check says why a key can't be one, or nil.
func (k Key) Check(validName func(string) bool) error {
	switch {
	case (k.Token == "") == (k.User == ""):
		return errors.New("name either a token by its id or a user")
	case !validName(k.Token + k.User):
		return errors.New("an id of a token and a user are 1 to 128 bytes of text without control characters; a token with another id is revoked with its user")
	}
	return nil
}
