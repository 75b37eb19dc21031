// Package storage says what a durable message is and what is promised about it after a
// crash. It has no state: the engine that keeps the promises is storage/commitlog, a log in
// files; a clustered engine can stand beside it later, so nothing outside storage may know
// that the log is a file.
//
// # Words
//
//   - written: handed to the operating system; survives the death of the process.
//   - synced: the device has confirmed it; survives power loss.
//   - committed: written and, in the default mode, synced. What is committed is visible
//     (readers get it) and acknowledged (its producer has been told), never earlier.
//
// # Promised, in the default mode
//
//  1. An acknowledged record survives kill -9 and power loss, at its place: the same
//     (room, seq) has the same content for ever, as long as the epoch is the same.
//  2. The records of a room are 1, 2, 3 … without gaps. What a crash takes away is an end of
//     the log that was never acknowledged nor visible; there are no holes.
//  3. What was appended but not acknowledged before a crash may be there afterwards or not.
//     If it is there it is complete, in order, and acknowledged from then on.
//  4. Damage is found, not served: a record whose checksum is wrong is never given; readers
//     are told which records are missing (*DamagedError) and get all others. A torn end is cut
//     off with a log line; a damaged middle is never repaired silently.
//  5. After an error of a write or a sync the log takes nothing (*FaultError) until the disk has
//     proved that it takes more; then it goes on by itself. Nothing of the failed batch is
//     visible, and rooms go on from their heads. Reading goes on all the time.
//
// In the two relaxed modes (sync every interval, sync left to the kernel) promises 1 and 2
// hold for kill -9. After power loss the newest records can be gone although they
// were acknowledged, so an engine that was not closed cleanly in a relaxed mode comes
// back with a new epoch: positions of the old one are void, and no client is given a
// silent hole.
//
// # Not promised
//
// Anything on a device that confirms a sync and forgets it. Records in more than one place:
// one disk, one copy. That a lie in the newest commit of a crashed log is found: there it
// looks exactly like a torn write (see storage/commitlog).
package storage

import (
	"errors"
	"fmt"
)

// Limits of a record. An engine refuses what is beyond them; it does not cut.
const (
	MaxName = 128       // bytes of a room or user name; at least 1
	MaxKey  = 128       // bytes of a retry key; may be empty
	MaxBody = 1 << 20   // bytes of a body; may be empty
	MaxSeq  = 1<<53 - 1 // number of a record: clients in JavaScript read it exactly
)

// Record is one durable message of one room.
type Record struct {
	Room string // 1..MaxName bytes
	Seq  uint64 // 1, 2, 3 … per room without gaps
	At   int64  // Unix milliseconds, server clock
	From string // user name, 1..MaxName bytes
	Key  string // publisher's retry key, may be empty, at most MaxKey bytes
	Body []byte // opaque to storage, at most MaxBody bytes
}

// PageLimit bounds one read; the page ends at whichever limit comes first. Zero or less
// means the engine's default for that field. The first record of a page is
// delivered even if it alone is over Bytes, so a reader always moves on.
type PageLimit struct {
	Records int // records
	Bytes   int // bytes of rooms, users, keys and bodies together with their headers
}

var (
	// ErrFull says that the append queue is at its bound: nothing was queued, try again.
	ErrFull = errors.New("append queue is full: try again")
	// ErrClosed says that the engine was closed.
	ErrClosed = errors.New("storage is closed")
)

// FaultError is a failed write or sync. The engine refuses appends until the disk answers again.
type FaultError struct {
	Op   string // what was tried: "write", "sync", "create segment", …
	Path string
	Err  error
}

func (e *FaultError) Error() string {
	return fmt.Sprintf("storage fault: %s %s: %v (no appends until the disk answers again)", e.Op, e.Path, e.Err)
}

// Unwrap gives the operating system's error, so errors.Is(err, syscall.ENOSPC) works.
func (e *FaultError) Unwrap() error { return e.Err }

// CorruptionError is damage in what was stored: bytes that no crash explains. Nothing was
// changed or served.
type CorruptionError struct {
	Path   string
	Offset int64 // in the file, where the damaged record begins
	Err    error
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("corrupt log: %s at offset %d: %v", e.Path, e.Offset, e.Err)
}

// Unwrap gives what exactly is wrong with the bytes.
func (e *CorruptionError) Unwrap() error { return e.Err }
