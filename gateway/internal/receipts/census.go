package receipts

import v1 "rookery/proto/rookery/v1"

const (
	// counted is how many of a room's newest messages are told with counts.
	counted = 32
	// maxCensuses bounds the rooms whose census is kept.
	maxCensuses = 10_000
	// looked is how many are looked at for one that is counted quickly again, when there are too many.
	looked = 16
)

// census is how many users of a room have marks and, if it is a large one, how many of them stand at each of the
// newest messages: enough to say how many have a message without a look at 100,000 standings.
type census struct {
	users           int
	floor           uint64 // of the messages below nothing is counted
	delivered, read map[uint64]int
	told            *v1.Receipts // what the members know, nil: nothing yet
}

// census gives that of a room. It is counted once, from the store, and then up to date by move as long as it is kept.
func (k *Keeper) census(room string) (*census, error) {
	if c := k.censuses[room]; c != nil && (c.delivered != nil || c.users <= k.cfg.Named) {
		return c, nil
	}
	c := &census{floor: floor(k.cfg.Head(room)), delivered: map[uint64]int{}, read: map[uint64]int{}}
	err := k.cfg.Store.Standings(room, func(_ string, s Standing) bool {
		c.move(Standing{}, s)
		return true
	})
	if err != nil {
		return nil, err
	}
	if c.users <= k.cfg.Named {
		c.delivered, c.read = nil, nil // everybody is named
	}
	return c, nil
}

// keep remembers a census. When there are too many, one that is quickly counted again makes room, if there is one among a few.
func (k *Keeper) keep(room string, c *census) {
	if k.censuses[room] == nil && len(k.censuses) >= maxCensuses {
		drop, n := "", 0
		for other, o := range k.censuses {
			drop = other
			if n++; n == looked || o.users <= k.cfg.Named {
				break
			}
		}
		delete(k.censuses, drop)
	}
	k.censuses[room] = c
}

func floor(head uint64) uint64 { return max(head, counted) - counted + 1 }

// move takes a user from one standing to another; who had none is a new one.
func (c *census) move(was, to Standing) {
	if was == (Standing{}) {
		c.users++
	}
	if c.delivered == nil {
		return
	}
	c.shift(c.delivered, was.Delivered, to.Delivered)
	c.shift(c.read, was.Read, to.Read)
}

func (c *census) shift(at map[uint64]int, was, to uint64) {
	if at[was] > 0 {
		at[was]--
	}
	if to >= c.floor {
		at[to]++
	}
}

// counts gives the newest messages that anybody has, ascending.
func (c *census) counts(head uint64) []*v1.ReceiptCount {
	for _, at := range []map[uint64]int{c.delivered, c.read} {
		for seq := range at {
			if seq < floor(head) {
				delete(at, seq)
			}
		}
	}
	c.floor = floor(head)
	var counts []*v1.ReceiptCount
	delivered, read := 0, 0
	for seq := head; seq >= c.floor; seq-- {
		delivered += c.delivered[seq]
		read += c.read[seq]
		if delivered > 0 {
			counts = append([]*v1.ReceiptCount{{Seq: seq, Delivered: uint32(delivered), Read: uint32(read)}}, counts...)
		}
	}
	return counts
}
