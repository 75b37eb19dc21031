package changes

import (
	"errors"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"rookery/storage"
	"rookery/storage/mapped"
)

const (
	// lookEvery is how often the log is looked at when nobody waits.
	lookEvery = 100 * time.Millisecond
	// tryEvery is the rest after a failure.
	tryEvery = time.Second
	// patience is how long Wait waits.
	patience = 5 * time.Second
	// One transaction takes the records of so many bytes of the log, or so many that say something.
	stepBytes   = 8 << 20
	stepRecords = 2000
	// persistBytes is how much of the log without anything to say may have to be read again after a crash.
	persistBytes = 64 << 20
)

// Wait returns when everything that was committed before the call is in the index, or ErrBehind after five seconds.
func (x *Index) Wait() error {
	position := x.config.Log.End()
	if x.applied.Load() >= position && !x.damaged.Load() {
		return nil
	}
	w := waiter{position, make(chan struct{})}
	x.waitMu.Lock()
	x.waiters = append(x.waiters, w)
	x.waitMu.Unlock()
	x.ring()
	if x.applied.Load() >= position && !x.damaged.Load() {
		x.wake() // it came there before the waiter was on the list
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.done:
		return nil
	case <-timer.C:
	case <-x.ended:
	}
	x.waitMu.Lock()
	x.waiters = slices.DeleteFunc(x.waiters, func(other waiter) bool { return other.done == w.done })
	x.waitMu.Unlock()
	return ErrBehind
}

// wake lets go of who waits for what is applied.
func (x *Index) wake() {
	applied := x.applied.Load()
	x.waitMu.Lock()
	defer x.waitMu.Unlock()
	x.waiters = slices.DeleteFunc(x.waiters, func(w waiter) bool {
		if w.position > applied {
			return false
		}
		close(w.done)
		return true
	})
}

// followLoop is started by Open and ended by Close.
func (x *Index) followLoop() {
	defer close(x.ended)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var rest <-chan time.Time
	for {
		select {
		case <-x.stop:
			return
		case <-x.wanted:
		case <-ticker.C:
		case <-rest:
			rest = nil
		}
		if rest != nil {
			continue
		}
		if err := x.catchUp(); err != nil && !errors.Is(err, errStopped) {
			x.failed(err)
			rest = time.After(tryEvery)
			continue
		}
		x.failing = false
	}
}

// failed says once what can't be written.
func (x *Index) failed(err error) {
	if !x.failing {
		x.failing = true
		x.config.Logger.Error("index of changes can't be written; history waits for it, and it is tried again", "error", err)
	}
}

var errStopped = errors.New("stopped")

// catchUp applies what the log has. Damage that it meets costs one beginning from nothing.
func (x *Index) catchUp() error {
	err := x.catchUpOnce()
	if x.damaged.Load() && err != nil && !errors.Is(err, errStopped) {
		err = x.catchUpOnce()
	}
	return err
}

func (x *Index) catchUpOnce() error {
	if x.damaged.Load() {
		if err := x.remake(); err != nil {
			return err
		}
	}
	for x.tail.Next() < x.config.Log.End() {
		select {
		case <-x.stop:
			return errStopped
		default:
		}
		if err := x.step(); err != nil {
			if errors.Is(err, errState) || errors.Is(err, mapped.ErrDamaged) {
				x.damage(err)
			}
			x.tail = x.config.Log.NewTail(x.applied.Load())
			return err
		}
	}
	return nil
}

// remake begins again with nothing.
func (x *Index) remake() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tree != nil {
		_ = mapped.Guarded(x.tree.Close) // of a file that is thrown away
		x.tree = nil
	}
	if err := x.empty(); err != nil {
		return err
	}
	x.rebuilt.Add(1)
	x.damaged.Store(false)
	return nil
}

// step applies a part of the log in one transaction, or in none if nothing in it says anything.
func (x *Index) step() (err error) {
	var tx *bolt.Tx
	applied := 0
	return mapped.Guarded(func() error {
		defer func() {
			if tx != nil {
				_ = tx.Rollback() // after a commit it does nothing
			}
		}()
		from := x.tail.Next()
		var wrong error
		err := x.tail.Read(func(at int64, r storage.Record) bool {
			f, says := x.facts(r)
			if !says {
				return at-from < stepBytes
			}
			if tx == nil {
				if tx, wrong = x.tree.Begin(true); wrong != nil {
					return false
				}
			}
			if wrong = apply(tx, r, f); wrong != nil {
				return false
			}
			applied++
			return applied < stepRecords && at-from < stepBytes
		}, func(damage *storage.CorruptionError) {
			x.config.Logger.Warn("index of changes lacks what the log has lost", "path", damage.Path, "offset", damage.Offset)
		})
		if err = errors.Join(err, wrong); err != nil {
			return err
		}
		return x.finish(tx, applied)
	})
}

// finish commits what a step has applied and lets go of who waits for it.
func (x *Index) finish(tx *bolt.Tx, applied int) (err error) {
	next := x.tail.Next()
	if tx == nil && next-x.persisted < persistBytes {
		x.applied.Store(next)
		x.wake()
		return nil
	}
	if tx == nil {
		if tx, err = x.tree.Begin(true); err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	}
	if x.swept, err = x.sweep(tx, x.swept); err != nil {
		return err
	}
	if err := x.putMeta(tx, next); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	x.persisted = next
	x.changes.Add(int64(applied))
	x.applied.Store(next)
	x.wake()
	return nil
}

// facts gives what a record says; the system's own rooms say nothing about messages.
func (x *Index) facts(r storage.Record) (Facts, bool) {
	if strings.HasPrefix(r.Room, "\x01") {
		return Facts{}, false
	}
	return x.config.Read(r.Body)
}
