package loop

import (
	"time"

	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
)

// gnet ends all loops, and with them every connection, when accept(2) fails for another reason than that the peer has left: also when the machine has no
// open file left (ENFILE) or the kernel no memory (ENOMEM, ENOBUFS), which passes. It tells such a fault by errors.Is and this variable of its own, and no option
// of it changes that. With a value that is equal to nothing gnet does what it does with all other faults of a callback: it goes on. See
// docs/adr/0036-an-accept-that-fails.md.
func init() { gneterrors.ErrAcceptSocket = acceptFault{} }

// acceptPause is how long a loop waits behind an accept that failed. Who is to be accepted stays in the kernel's queue, so that gnet tries it
// again at each turn, and without a pause would take a whole processor for it.
const acceptPause = time.Millisecond

// acceptFault is what gnet's accept gives when it fails; why is in gnet's log line. It can't be compared, so to errors.Is it is equal to nothing.
type acceptFault struct{ _ [0]func() }

func (acceptFault) Error() string { return "a connection can't be accepted" }

// Is is asked by gnet on the loop, when it looks whether a fault is this one.
func (acceptFault) Is(target error) bool {
	if _, same := target.(acceptFault); same {
		time.Sleep(acceptPause)
	}
	return false
}
