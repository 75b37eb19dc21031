package storage

import "fmt"

// DamagedError says which records of a room can't be read, at least: what is before First was
// delivered (after Last, when reading backwards), and reading goes on behind Last.
type DamagedError struct {
	Room        string
	First, Last uint64 // sequence numbers
	Err         *CorruptionError
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("records %d to %d of room %q can't be read: %v", e.First, e.Last, e.Room, e.Err)
}

// Unwrap gives where the damage is.
func (e *DamagedError) Unwrap() error { return e.Err }
