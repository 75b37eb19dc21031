package client

import (
	"context"
	"iter"
	"sync"
)

// updates is what has changed and the application has not taken: what it has not looked at is put together with what comes, so it is
// bounded by what can change.
type updates[T any] struct {
	// Set at construction.
	ready chan struct{} // there is something to take, or the end

	// Guarded by mu.
	mu     sync.Mutex
	next   T
	some   bool
	silent bool // the application has left
	ended  bool
	err    error
}

func newUpdates[T any]() *updates[T] { return &updates[T]{ready: make(chan struct{}, 1)} }

// all gives the application what changes, until the end or that of ctx.
func (u *updates[T]) all(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for {
			next, some, ended, err := u.take()
			switch {
			case some:
				if !yield(next, nil) {
					return
				}
			case ended:
				if err != nil {
					yield(none, err)
				}
				return
			default:
				select {
				case <-u.ready:
				case <-ctx.Done():
					yield(none, ctx.Err())
					return
				}
			}
		}
	}
}

// change is what the loop adds.
func (u *updates[T]) change(add func(*T)) {
	u.mu.Lock()
	if !u.silent {
		add(&u.next)
		u.some = true
	}
	u.mu.Unlock()
	u.ring()
}

// forget is for what is of no use any more: the application has left, or what it is about has begun anew.
func (u *updates[T]) forget(silent bool) {
	var none T
	u.mu.Lock()
	u.next, u.some = none, false
	u.silent = u.silent || silent
	u.mu.Unlock()
}

func (u *updates[T]) take() (next T, some, ended bool, err error) {
	var none T
	u.mu.Lock()
	defer u.mu.Unlock()
	next, some, ended, err = u.next, u.some, u.ended, u.err
	u.next, u.some = none, false
	return next, some, ended, err
}

func (u *updates[T]) end(err error) {
	u.mu.Lock()
	u.ended, u.err = true, err
	u.mu.Unlock()
	u.ring()
}

func (u *updates[T]) ring() {
	select {
	case u.ready <- struct{}{}:
	default:
	}
}
