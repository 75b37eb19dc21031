// Package ledger holds what arrived against what was sent: every message carries a stamp that says who sent it, into which
// room, as which number and when it was due, and every member of a room has an account of the numbers it got. It is
// pure: no clock, no goroutine.
//
//	stamp.go    what is in a body
//	account.go  what one member of one room got
//	untaken.go  what nobody could get
package ledger

import (
	"bytes"
	"encoding/binary"
	"math"
)

// Stamp is what the body of a message begins with.
type Stamp struct {
	Run  uint32
	User uint32 // the sender
	Room uint32
	Seq  uint32 // 1, 2, 3 and so on of this sender in this room
	Due  int64  // when it should have been sent: nanoseconds of the coordinator's clock
}

// stampMark is what a stamp is found by, with the run behind it. The rest are the fields in hexadecimal digits: a body can
// stand in any text form without an escape.
const stampMark = "rb1."

const (
	markBytes = len(stampMark) + 8
	// StampBytes is the length of a stamp: the shortest body.
	StampBytes = markBytes + 8 + 8 + 8 + 16 // 52, which is plan.MinBody
)

// Finder finds the stamps of one run.
type Finder struct {
	mark []byte
}

// NewFinder takes the number of the run.
func NewFinder(run uint32) *Finder {
	return &Finder{mark: appendHex([]byte(stampMark), uint64(run), 4)}
}

// Append appends a body of size bytes, StampBytes at least.
func (f *Finder) Append(dst []byte, s Stamp, size int) []byte {
	from := len(dst)
	dst = append(dst, f.mark...)
	dst = appendHex(dst, uint64(s.User), 4)
	dst = appendHex(dst, uint64(s.Room), 4)
	dst = appendHex(dst, uint64(s.Seq), 4)
	dst = appendHex(dst, uint64(s.Due), 8)
	for len(dst)-from < size {
		dst = append(dst, filling[:min(len(filling), size-(len(dst)-from))]...)
	}
	return dst
}

// filling is what bodies are filled up with: not one byte again and again, which a compressing server would make nothing of.
const filling = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs; "

// Find reads the first stamp of the run in a body; ok is false if there is none.
func (f *Finder) Find(body []byte) (s Stamp, ok bool) {
	at := 0
	if !bytes.HasPrefix(body, f.mark) {
		if at = bytes.Index(body, f.mark); at < 0 {
			return s, false
		}
	}
	if len(body)-at < StampBytes {
		return s, false
	}
	digits := body[at+markBytes:]
	var words [(StampBytes - markBytes) / 8]uint64
	for i := range words {
		word, ok := hexWord(binary.BigEndian.Uint64(digits[8*i:]))
		if !ok {
			return s, false
		}
		words[i] = word
	}
	due := words[3]<<32 | words[4]
	if due > math.MaxInt64 {
		return s, false
	}
	return Stamp{User: uint32(words[0]), Room: uint32(words[1]), Seq: uint32(words[2]), Due: int64(due)}, true
}

// hexWord reads eight hexadecimal digits as appendHex writes them, the first in the highest byte; false if they are not. All eight at once: stamps are
// read millions of times a second, and encoding/hex takes four times as long.
func hexWord(text uint64) (uint64, bool) {
	const each = 0x0101010101010101
	letters := text >> 6 & each // 1 where it would be one, 'a' being 0x61
	values := text&(0x0f*each) + 9*letters
	if written := values + '0'*each + (values+6*each)>>4&each*('a'-'0'-10); written != text || values&(0xf0*each) != 0 {
		return 0, false
	}
	values = (values | values>>4) & 0x00ff00ff00ff00ff
	values = (values | values>>8) & 0x0000ffff0000ffff
	return (values | values>>16) & 0xffffffff, true
}

// appendHex appends the lowest n bytes of v.
func appendHex(dst []byte, v uint64, n int) []byte {
	const digits = "0123456789abcdef"
	for shift := 8*n - 4; shift >= 0; shift -= 4 {
		dst = append(dst, digits[v>>shift&15])
	}
	return dst
}
