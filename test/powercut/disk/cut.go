package disk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Policy says what a cut does to the writes in the cache.
type Policy uint8

const (
	// KeepNone: everything that was not flushed is gone.
	KeepNone Policy = iota
	// KeepAll: everything that was written is there, flushed or not.
	KeepAll
	// KeepPrefix: the writes up to some moment, and a part of the sectors of the next one.
	KeepPrefix
	// KeepScattered: of each unit by itself, the flushed state or any one written since, without
	// regard to the order of the writes.
	KeepScattered
)

func (p Policy) String() string {
	switch p {
	case KeepNone:
		return "none"
	case KeepAll:
		return "all"
	case KeepPrefix:
		return "prefix"
	case KeepScattered:
		return "scattered"
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// RandomPolicy picks one: mostly those that tear.
func RandomPolicy(random *rand.Rand) Policy {
	return []Policy{KeepNone, KeepAll, KeepPrefix, KeepScattered, KeepScattered}[random.IntN(5)]
}

// Cut is what a power cut found.
type Cut struct {
	Policy  Policy
	Writes  int // that were in the cache
	Sectors int // different ones of them
	Changed int // sectors that differ from what was last written there
}

// armed is a cut that waits for its moment.
type armed struct {
	writes int // still to come
	policy Policy
	random *rand.Rand
	done   chan Cut
}

// Arm cuts as soon as so many more writes have come that are not written through, before the last of
// them is answered. A moment that somebody picks by the clock hardly ever has anything in the
// cache, since programs that want their bytes to last flush at once. The channel gets the cut.
func (d *Disk) Arm(writes int, policy Policy, random *rand.Rand) <-chan Cut {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = &armed{writes: writes, policy: policy, random: random, done: make(chan Cut, 1)}
	return d.armed.done
}

func (d *Disk) countDownLocked() error {
	if d.armed == nil {
		return nil
	}
	if d.armed.writes--; d.armed.writes > 0 {
		return nil
	}
	a := d.armed
	a.done <- d.cutLocked(a.policy, a.random)
	return errNoPower
}

// Cut takes the power away: nothing is answered from here on, and the cache is gone but for what the
// policy keeps. The same state and random numbers leave the same disk. If an armed cut was first, this
// one finds nothing left to do.
func (d *Disk) Cut(policy Policy, random *rand.Rand) Cut {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cutLocked(policy, random)
}

func (d *Disk) cutLocked(policy Policy, random *rand.Rand) Cut {
	d.power, d.armed = false, nil
	cut := Cut{Policy: policy, Writes: len(d.cache)}
	touched := map[int64][]int{} // unit: the cached writes of it, in order
	for i, w := range d.cache {
		for at := w.offset - w.offset%d.unit; at < w.offset+int64(len(w.data)); at += d.unit {
			touched[at] = append(touched[at], i)
		}
	}
	units := make([]int64, 0, len(touched))
	for at := range touched {
		units = append(units, at)
	}
	slices.Sort(units)
	keep := chooser(policy, len(d.cache), random)
	for _, at := range units {
		kept := keep(touched[at])
		sectors, changed := d.settleLocked(at, touched[at], kept)
		cut.Sectors += sectors
		cut.Changed += changed
	}
	d.dropped += uint64(len(d.cache))
	d.cache = nil
	return cut
}

// settleLocked leaves a unit as it was after the cached write number kept, or as it was flushed if that
// is -1. It counts the sectors that were in the cache, and those of them that are not as last written.
func (d *Disk) settleLocked(unit int64, writes []int, kept int) (sectors, changed int) {
	for at := unit; at < unit+d.unit; at += SectorBytes {
		cached := false
		for _, i := range writes {
			w := d.cache[i]
			if at < w.offset || at >= w.offset+int64(len(w.data)) {
				continue
			}
			cached = true
			if i <= kept {
				copy(d.durable[at:at+SectorBytes], w.data[at-w.offset:])
			}
		}
		if cached {
			sectors++
		}
		if !bytes.Equal(d.current[at:at+SectorBytes], d.durable[at:at+SectorBytes]) {
			changed++
			copy(d.current[at:at+SectorBytes], d.durable[at:])
		}
	}
	return sectors, changed
}

// chooser gives, for the cached writes of a unit in their order, the last one that is kept, or -1.
func chooser(policy Policy, writes int, random *rand.Rand) func([]int) int {
	switch policy {
	case KeepAll:
		return func(of []int) int { return of[len(of)-1] }
	case KeepPrefix:
		whole := random.IntN(writes + 1)
		return func([]int) int {
			// The write after the whole ones was under way.
			return whole - 1 + random.IntN(2)
		}
	case KeepScattered:
		percent := 5 + random.IntN(91)
		return func(of []int) int {
			if random.IntN(100) >= percent {
				return -1
			}
			if random.IntN(2) == 0 {
				return of[len(of)-1]
			}
			return of[random.IntN(len(of))]
		}
	default:
		return func([]int) int { return -1 }
	}
}

// TurnOn gives the power back.
func (d *Disk) TurnOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.power = true
}
