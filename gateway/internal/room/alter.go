package room

import (
	"maps"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// A change is checked beside the log before it is ordered (check.go), and other changes to the same message may be ordered
// meanwhile: it may have been deleted, or have got the very same reaction. So the check says up to which number of the room
// it has seen everything, and the shard orders a change only if no change to its target came behind that.
// Else it is checked again: at once, or when the one that came in between has landed. So what was acknowledged counts, and
// what readers make of the log never differs from what senders were told.

// alteration is the newest change that was ordered for a message.
type alteration struct {
	target, seq uint64
	flying      bool
	parked      []handoff.Command // to be checked again when it has landed
}

const (
	// maxParked bounds the changes that wait for another one of the same message.
	maxParked = 64
	// maxAlterations is when those that every check has seen are forgotten.
	maxAlterations = 64
)

// mayOrder reports whether a change is to be ordered now. If not it was refused, or will be checked again.
func (s *shard) mayOrder(r *room, c *handoff.Command) bool {
	from := sender{c.From, c.ID}
	if c.Change.Text != "" {
		s.refuse(from, c.Change.Code, c.Change.Text)
		return false
	}
	if len(r.alterations) > maxAlterations {
		// A room's changes come in the order of their checks, so the next one has seen at least as much.
		maps.DeleteFunc(r.alterations, func(_ uint64, a *alteration) bool { return !a.flying && a.seq <= c.Change.Checked })
	}
	a := r.alterations[c.Change.Target]
	switch {
	case c.Change.Checked < r.seen, a != nil && a.seq > c.Change.Checked && !a.flying:
		s.checkers.again(*c)
	case a != nil && a.seq > c.Change.Checked && len(a.parked) == maxParked:
		s.refusedLoad.Add(1)
		s.refuse(from, proto.ErrOverloaded, "Too many changes of this message wait for the disk; send again later.")
	case a != nil && a.seq > c.Change.Checked:
		a.parked = append(a.parked, *c)
	default:
		return true
	}
	return false
}

// ordered notes that a change has got its number.
func (r *room) ordered(target, seq uint64) *alteration {
	if r.alterations == nil {
		r.alterations = make(map[uint64]*alteration)
	}
	a := &alteration{target: target, seq: seq, flying: true}
	if before := r.alterations[target]; before != nil {
		// Landed in the log, and its check saw it, before the shard was told: it may still have some that wait.
		a.parked, before.parked = before.parked, nil
	}
	r.alterations[target] = a
	return a
}

// landed ends a flight for those who wait for it; one that failed never was.
func (s *shard) landed(f *flight, failed bool) {
	a := f.alters
	if a == nil {
		return
	}
	a.flying = false
	if failed && f.room.alterations[a.target] == a {
		delete(f.room.alterations, a.target)
	}
	for _, c := range a.parked {
		s.checkers.again(c)
	}
	a.parked = nil
}
