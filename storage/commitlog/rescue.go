package commitlog

import (
	"sync"

	"rookery/storage"
)

// keptBridges bounds what is remembered of damage: 10,000 places of 40 bytes.
const keptBridges = 10_000

// place is a record of a room.
type place struct {
	at  position
	seq uint64
}

// bridges lead over damage: a record whose header is damaged hides where the one before it
// stands, so that one is searched for, backwards through the segments, and remembered. Safe from any
// goroutine; one search goes on at a time, since each reads whole segments.
type bridges struct {
	searching sync.Mutex // held while segments are read; mu is locked under it

	mu sync.Mutex

	// Guarded by mu.
	known map[position]place
}

func newBridges() *bridges { return &bridges{known: map[position]place{}} }

func (b *bridges) find(damaged position) (place, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.known[damaged]
	return p, ok
}

func (b *bridges) add(damaged position, p place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) >= keptBridges {
		clear(b.known)
	}
	b.known[damaged] = p
}

// below gives the newest whole record of the room under the damaged one, seq 0 if there is none.
func (r *reader) below(damaged place) (place, error) {
	b := r.log.bridges
	if p, ok := b.find(damaged.at); ok {
		return p, nil
	}
	b.searching.Lock()
	defer b.searching.Unlock()
	if p, ok := b.find(damaged.at); ok {
		return p, nil
	}
	p, err := r.search(damaged)
	if err == nil {
		b.add(damaged.at, p)
	}
	return p, err
}

// search reads the segments from the damaged place backwards, down to where the room begins.
func (r *reader) search(damaged place) (found place, err error) {
	segments := r.snapshot.segments
	s := scanner{seal: r.log.seal, files: r.log.files}
	for i := len(segments) - 1; i >= 0 && found.seq == 0; i-- {
		g := segments[i]
		if g.base > damaged.at {
			continue
		}
		if r.state.firstAt != 0 && g.rangeEnd() <= r.state.firstAt {
			break
		}
		err := s.scanAll(g, 0, func(h recordHeader, record storage.Record, at position) error {
			if at >= damaged.at {
				return errStop
			}
			if h.kind == kindMessage && record.Seq < damaged.seq && record.Room == r.name {
				found = place{at, record.Seq}
			}
			return nil
		}, func(int64, error) {})
		if err != nil && err != errStop {
			return place{}, err
		}
	}
	return found, nil
}
