package commitlog

import (
	"fmt"
	"time"

	"rookery/storage"
)

// maxFirst leaves a room 2^52 messages below storage.MaxSeq, which is more than can be appended.
const maxFirst = 1 << 52

// StartRoom makes a room begin at a number above 1, as an import of a room does whose first
// messages are gone: first-1 becomes its head and Begin is first. A room that has records goes on there,
// and those are not given any more, as if retention had taken what is between; its head must be lower.
// It returns when that is committed, and belongs to the goroutine that appends to the room.
func (l *Log) StartRoom(room string, first uint64) error {
	if first < 2 || len(room) == 0 || len(room) > storage.MaxName {
		return fmt.Errorf("start room %q at %d: its name must have 1 to %d bytes and its first number be 2 or more", room, first, storage.MaxName)
	}
	if first > maxFirst {
		return fmt.Errorf("start room %q at %d: numbers of messages that a room begins with are at most %d", room, first, uint64(maxFirst))
	}
	if head := l.Head(room); head >= first-1 {
		return fmt.Errorf("start room %q at %d: it has records up to %d already", room, first, head)
	}
	done := make(chan error, 1)
	stub := storage.Record{Room: room, Seq: first - 1, At: time.Now().UnixMilli()}
	if err := l.NewProducer(func(_ int, err error) { done <- err }).append(stub, kindStub); err != nil {
		return fmt.Errorf("start room %q at %d: %w", room, first, err)
	}
	return <-done
}

// End gives where the log ends for readers, and where the next record will be. No room's Head is beyond it.
func (l *Log) End() int64 {
	base, bytes := l.Committed()
	return base + bytes
}

// Committed gives where the log ends for readers: the base of the active segment, and the bytes of its
// file that are committed. In SyncAlways mode they are synced.
func (l *Log) Committed() (base, bytes int64) {
	segments := l.segments.load()
	active := segments[len(segments)-1]
	return int64(active.base), active.committed.Load()
}
