package loop

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// positions are how far a stream of events has come in the rooms that its address names. The ids of its events say it, so that a
// client which knows nothing but EventSource goes on where it was, by the Last-Event-ID that it sends:
//
//	epoch . checksum of the rooms . position of the first . of the second …
//
// A position is a sequence number; "-" of a room that was not entered; "x" of one whose history has become another and that was
// not entered since. The checksum has an id of another address refused, of which the positions would be other rooms'.
type positions struct {
	rooms []string
	mark  string // epoch and checksum
	at    []position
}

type position struct {
	seq   uint64
	state positionState
}

type positionState uint8

const (
	unentered positionState = iota
	reached                 // seq was given
	outdated                // what was given is of another epoch
)

// otherEpoch is none: who joins with it is told that there is no going on.
const otherEpoch = "x"

// readPositions takes those of an id; none has all rooms begin with what is new.
func readPositions(epoch string, rooms []string, id string) (positions, error) {
	p := positions{rooms: rooms, at: make([]position, len(rooms))}
	checksum := fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(strings.Join(rooms, "\n"))))
	p.mark = epoch + "." + checksum
	if id == "" || len(rooms) == 0 {
		return p, nil
	}
	parts := strings.Split(id, ".")
	if len(parts) != 2+len(rooms) || parts[1] != checksum {
		return positions{}, errOtherID
	}
	for i, text := range parts[2:] {
		switch text {
		case "-":
			continue
		case "x":
			p.at[i].state = outdated
			continue
		}
		seq, err := strconv.ParseUint(text, 10, 64)
		if err != nil || seq > proto.MaxInteger {
			return positions{}, errOtherID
		}
		p.at[i] = position{seq, reached}
		if parts[0] != epoch {
			p.at[i] = position{state: outdated}
		}
	}
	return p, nil
}

var errOtherID = fmt.Errorf("the Last-Event-ID is not one of this address: it says positions in the rooms that the address names, in their order")

// join is the request that enters room i where the client is.
func (p *positions) join(i int, epoch string) *v1.Join {
	r := &v1.Join{Room: p.rooms[i]}
	switch at := p.at[i]; at.state {
	case reached:
		r.After, r.Epoch = &at.seq, epoch
	case outdated:
		r.After, r.Epoch = new(uint64), otherEpoch
	}
	return r
}

// advance notes what a frame gives, and reports whether its event is to say the positions.
func (p *positions) advance(f *v1.ServerFrame) bool {
	switch op := f.Op.(type) {
	case *v1.ServerFrame_Message:
		return !op.Message.Ephemeral && p.move(op.Message.Room, position{op.Message.Seq, reached})
	case *v1.ServerFrame_Gap:
		return p.move(op.Gap.Room, position{op.Gap.Last, reached})
	case *v1.ServerFrame_Joined:
		switch {
		case op.Joined.Ephemeral:
			return p.move(op.Joined.Room, position{})
		case !op.Joined.GetRecovered():
			return p.move(op.Joined.Room, position{op.Joined.Head, reached})
		}
		return slices.Contains(p.rooms, op.Joined.Room) // where it was, for a client that has not kept it
	case *v1.ServerFrame_Left:
		return p.move(op.Left.Room, position{})
	case *v1.ServerFrame_Removed:
		return p.move(op.Removed.Room, position{})
	}
	return false
}

func (p *positions) move(room string, to position) bool {
	i := slices.Index(p.rooms, room)
	if i >= 0 {
		p.at[i] = to
	}
	return i >= 0
}

// appendID appends the line that says the positions, in front of the event which brought the last of them.
func (p *positions) appendID(dst []byte) []byte {
	dst = append(append(dst, "id: "...), p.mark...)
	for _, at := range p.at {
		dst = append(dst, '.')
		switch at.state {
		case unentered:
			dst = append(dst, '-')
		case outdated:
			dst = append(dst, 'x')
		default:
			dst = strconv.AppendUint(dst, at.seq, 10)
		}
	}
	return append(dst, '\n')
}
