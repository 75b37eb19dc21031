package storage

import "time"

// Retention says how much of a room is kept: what is beyond any of the bounds goes, oldest first.
// Zero in a field is no bound, so the zero value keeps everything.
type Retention struct {
	Age     time.Duration // since the record's time
	Records uint64
	Bytes   uint64 // of the records with their headers and names
}
