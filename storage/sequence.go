package storage

import "errors"

// ErrSequence says that a record does not follow the room's newest: append from Head+1. It is
// what a producer hears that does not know yet that its last records failed.
var ErrSequence = errors.New("sequence number does not follow the room's newest record: go on from its head")
