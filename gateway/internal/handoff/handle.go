package handoff

import "fmt"

// Handle names a connection outside its loop. A pointer would keep a dead connection
// alive and invite another goroutine to touch it; a handle whose generation is no
// longer that of its slot is simply dropped by the loop.
type Handle struct {
	Slot       uint32
	Generation uint32
	Loop       uint16
}

// String gives the form used in logs and as the session's name.
func (h Handle) String() string {
	return fmt.Sprintf("%d-%x-%x", h.Loop, h.Slot, h.Generation)
}
