package changes

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Facts are what a record says about other messages.
type Facts struct {
	Thread   uint64   // it belongs to the thread of this message
	Mentions []string // users; of an edit those of the message that is edited

	Target   uint64 // it is a change to this message; 0: it is none
	Op       Op
	Reaction string
	Remove   bool // the reaction or pin is taken back
}

// Op is what a change does.
type Op uint8

// The operations. OpNone is a change of a kind that this version does not know: it counts for nothing.
const (
	OpNone Op = iota
	OpEdit
	OpDelete
	OpReact
	OpPin
)

// State is what the changes to a message add up to. The zero value is a message that nothing was done to.
type State struct {
	Revision  uint64 // sequence number of the newest change that counted
	Edits     uint64
	Edit      uint64 // sequence number of the newest edit, which has the content; 0: the message itself has it
	Deleted   uint64 // sequence number of the deletion; 0: it is not deleted
	Pinned    uint64 // sequence number of the pin; 0: it is not pinned
	Replies   uint64 // messages of the thread that it begins
	LastReply uint64
	Reactions []Count // in the order in which they came up
}

// Count of one reaction.
type Count struct {
	Reaction string
	Users    uint64
}

var errState = errors.New("what the index of changes says of a message or a room is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode gives the value under a key: checksum of key and rest, then the numbers as varints.
func (s *State) encode(key []byte) []byte {
	b := make([]byte, 4, 64)
	for _, n := range [...]uint64{s.Revision, s.Edits, s.Edit, s.Deleted, s.Pinned, s.Replies, s.LastReply, uint64(len(s.Reactions))} {
		b = binary.AppendUvarint(b, n)
	}
	for _, r := range s.Reactions {
		b = binary.AppendUvarint(b, uint64(len(r.Reaction)))
		b = append(b, r.Reaction...)
		b = binary.AppendUvarint(b, r.Users)
	}
	binary.LittleEndian.PutUint32(b, checksum(key, b[4:]))
	return b
}

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func decodeState(key, b []byte) (s State, err error) {
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != checksum(key, b[4:]) {
		return s, errState
	}
	b = b[4:]
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			err, b = errState, nil
			return 0
		}
		b = b[size:]
		return n
	}
	s = State{
		Revision: number(), Edits: number(), Edit: number(), Deleted: number(), Pinned: number(),
		Replies: number(), LastReply: number(),
	}
	for range number() {
		size := number()
		if err != nil || size > uint64(len(b)) {
			return s, errState
		}
		reaction := string(b[:size])
		b = b[size:]
		s.Reactions = append(s.Reactions, Count{reaction, number()})
	}
	return s, err
}

// count moves a reaction's number of users by one. One that nobody has any more is not kept.
func (s *State) count(reaction string, remove bool) {
	for i := range s.Reactions {
		r := &s.Reactions[i]
		if r.Reaction != reaction {
			continue
		}
		if !remove {
			r.Users++
		} else if r.Users--; r.Users == 0 {
			s.Reactions = append(s.Reactions[:i], s.Reactions[i+1:]...)
		}
		return
	}
	if !remove {
		s.Reactions = append(s.Reactions, Count{reaction, 1})
	}
}
