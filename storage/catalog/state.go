package catalog

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tidwall/buntdb"

	"rookery/storage"
)

// pageEntries is how many entries a reader takes out of one read transaction.
const pageEntries = 256

// state is what a run of records adds up to. One goroutine changes it, any may read.
type state struct {
	db *buntdb.DB

	// Written by the one that changes the state, read from any goroutine. Second keys don't count.
	entries atomic.Int64
	bytes   atomic.Int64 // of keys and values
}

func newState() *state {
	db, err := buntdb.Open(":memory:")
	if err != nil {
		panic("BUG: buntdb refuses to be in memory: " + err.Error())
	}
	return &state{db: db}
}

// close lets go of the memory; whoever reads afterwards gets storage.ErrClosed. buntdb's housekeeper
// notices within a second and ends.
func (s *state) close() {
	if err := s.db.Close(); err != nil && !errors.Is(err, buntdb.ErrDatabaseClosed) {
		panic("BUG: close of a catalog in memory: " + err.Error())
	}
}

// apply makes changes in one transaction.
func (s *state) apply(changes []entry) {
	err := s.db.Update(func(tx *buntdb.Tx) error {
		for _, e := range changes {
			if err := s.set(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		panic("BUG: change of a catalog in memory: " + err.Error())
	}
}

func (s *state) set(tx *buntdb.Tx, e entry) error {
	second := mirror(e.Key)
	if e.Value == "" {
		old, err := tx.Delete(e.Key)
		if errors.Is(err, buntdb.ErrNotFound) {
			return nil
		}
		if err == nil && second != "" {
			_, err = tx.Delete(second)
		}
		s.entries.Add(-1)
		s.bytes.Add(-int64(len(e.Key) + len(old)))
		return err
	}
	old, replaced, err := tx.Set(e.Key, string(e.Value), nil)
	if err == nil && second != "" && !replaced {
		_, _, err = tx.Set(second, "", nil)
	}
	if replaced {
		s.bytes.Add(int64(len(e.Value) - len(old)))
		return err
	}
	s.entries.Add(1)
	s.bytes.Add(int64(len(e.Key) + len(e.Value)))
	return err
}

// get gives the value of a key, "" if there is none.
func (s *state) get(key string) (value string, err error) {
	err = s.view(func(tx *buntdb.Tx) (err error) {
		value, err = tx.Get(key)
		return ignoreNotFound(err)
	})
	return value, err
}

// page gives the entries from first on and before end, in order: at most so many, and of the cost
// no more than so much, but always one.
func (s *state) page(first, end string, entries, cost int) (page []entry, err error) {
	err = s.view(func(tx *buntdb.Tx) error {
		return tx.AscendRange("", first, end, func(key, value string) bool {
			e := entry{Key: key, Value: text(value)}
			if cost -= e.cost(); len(page) > 0 && (cost < 0 || len(page) == entries) {
				return false
			}
			page = append(page, e)
			return true
		})
	})
	return page, err
}

// scan calls fn for the entries from first on and before end. No lock is held while fn runs, so what
// changes meanwhile may be seen or not.
func (s *state) scan(first, end string, fn func(key, value string) bool) error {
	for {
		page, err := s.page(first, end, pageEntries, 1<<20)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			if !fn(e.Key, string(e.Value)) {
				return nil
			}
		}
		first = after(page)
	}
}

// count gives how many keys begin with a prefix that ends in a separator.
func (s *state) count(prefix string) (n int, err error) {
	err = s.scan(prefix, endOf(prefix), func(string, string) bool {
		n++
		return true
	})
	return n, err
}

// after gives the first key that may come behind a page.
func after(page []entry) string { return page[len(page)-1].Key + "\x00" }

func (s *state) view(fn func(tx *buntdb.Tx) error) error {
	err := s.db.View(fn)
	if errors.Is(err, buntdb.ErrDatabaseClosed) {
		return fmt.Errorf("read the catalog: %w", storage.ErrClosed)
	}
	return err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, buntdb.ErrNotFound) {
		return nil
	}
	return err
}
