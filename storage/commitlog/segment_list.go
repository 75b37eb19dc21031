package commitlog

import (
	"slices"
	"sync"
	"sync/atomic"
)

// segmentList is the segments in order. Readers take a snapshot of it; the committer adds, retention
// replaces. A snapshot that is read from is entered and left, so that retention knows when the files
// that it replaced are of no use any more.
type segmentList struct {
	mu   sync.Mutex // held for memory work only
	left *sync.Cond // of mu: a former snapshot has no reader any more

	current atomic.Pointer[segmentSnapshot] // written under mu

	// Guarded by mu.
	former []*segmentSnapshot // replaced by retention, with readers
}

// segmentSnapshot is the segments at one moment; its content does not change.
type segmentSnapshot struct {
	segments []*segment

	// Guarded by segmentList.mu.
	readers int
}

func newSegmentList() *segmentList {
	l := &segmentList{}
	l.left = sync.NewCond(&l.mu)
	l.current.Store(&segmentSnapshot{})
	return l
}

// load is for who looks at numbers only: a file may be gone when it is opened.
func (l *segmentList) load() []*segment { return l.current.Load().segments }

// enter gives a snapshot whose files can be read until leave.
func (l *segmentList) enter() *segmentSnapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.current.Load()
	s.readers++
	return s
}

func (l *segmentList) leave(s *segmentSnapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.readers--; s.readers == 0 && s != l.current.Load() {
		l.left.Broadcast()
	}
}

func (l *segmentList) add(g *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.storeLocked(append(slices.Clone(l.load()), g))
}

// replace puts next where old stood. wait returns when nobody reads old any more.
func (l *segmentList) replace(old []*segment, next *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	segments := slices.Clone(l.load())
	i := slices.Index(segments, old[0])
	l.storeLocked(slices.Replace(segments, i, i+len(old), next))
}

func (l *segmentList) storeLocked(segments []*segment) {
	l.forgetLocked()
	if s := l.current.Load(); s.readers > 0 {
		l.former = append(l.former, s)
	}
	l.current.Store(&segmentSnapshot{segments: segments})
}

func (l *segmentList) forgetLocked() {
	l.former = slices.DeleteFunc(l.former, func(s *segmentSnapshot) bool { return s.readers == 0 })
}

// wait returns when nobody reads a snapshot from before this call. Reads take a page at most, and
// the few that scan take none of the committer's time.
func (l *segmentList) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := slices.Clone(l.former)
	for slices.ContainsFunc(before, func(s *segmentSnapshot) bool { return s.readers > 0 }) {
		l.left.Wait()
	}
	l.forgetLocked()
}

// find gives the segment that holds a position, nil if there is none.
func (s *segmentSnapshot) find(at position) *segment {
	i, found := slices.BinarySearchFunc(s.segments, at, func(g *segment, at position) int { return comparePositions(g.base, at) })
	if !found {
		i--
	}
	if i < 0 {
		return nil
	}
	return s.segments[i]
}
