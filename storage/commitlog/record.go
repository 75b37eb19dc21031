package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"unsafe"

	"rookery/storage"
)

// position is a place in the whole log: the bytes of all segments, headers included, one
// after the other. 0 is the header of the first segment, so no record has it and it can stand
// for "none".
type position int64

// maxPosition is what no log comes to: what is added to a position below it does not run over.
const maxPosition position = 1 << 62

const (
	recordHeaderBytes = 60
	maxRecordBytes    = recordHeaderBytes + 2*storage.MaxName + storage.MaxKey + storage.MaxBody

	kindMessage = 1
	// kindStub stands for the newest record of a room whose content is gone: it has the room's
	// name and number and no more, so that the room's numbers go on.
	kindStub = 2
	// ignorableBit in a kind says that a reader who does not know it may skip the record.
	ignorableBit = 0x80
)

var (
	errRecordSize      = errors.New("record size is out of bounds")
	errHeaderChecksum  = errors.New("checksum of a record header does not match")
	errPayloadChecksum = errors.New("checksum of a record payload does not match")
	errNewerKind       = errors.New("record of a kind that this version does not know: use a newer version")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal ties checksums to one log and one position. Without it the bytes of a record inside
// somebody's message body would look like a record of ours to the search behind a torn write,
// and a block that the device wrote to the wrong place would pass.
type seal uint32

func newSeal(logID uint64) seal {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], logID)
	return seal(crc32.Checksum(b[:], castagnoli))
}

// headerChecksum goes over the header behind its first four bytes, continued from a value that
// is the log's and the position's. (Hashing the position as bytes costs an allocation: what
// goes into crc32 escapes.)
func (s seal) headerChecksum(at position, header []byte) uint32 {
	const oddRatio = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio: spreads neighbours
	start := uint32(s) ^ uint32(uint64(at)*oddRatio>>32)
	return crc32.Update(start, castagnoli, header[4:recordHeaderBytes])
}

// recordHeader is the fixed part of a record. The fields below kind mean something in
// messages only.
type recordHeader struct {
	size            uint32
	payloadChecksum uint32
	kind            byte

	roomBytes, fromBytes, keyBytes uint8

	unsynced uint32 // bytes before this record that were not known to be synced when it was written
	seq      uint64
	at       int64
	previous position // record seq-1 of the room; 0 if seq is 1
	skip     position // record skipSeq(seq) of the room; 0 if that is 0 or not known
	total    uint64   // bytes of all records of the room up to this one, itself included
}

func recordBytes(r *storage.Record) int {
	return recordHeaderBytes + len(r.Room) + len(r.From) + len(r.Key) + len(r.Body)
}

// links ties a record to the others of its room.
type links struct {
	previous, skip position
	total          uint64
}

// appendRecord appends a message record that will stand at the position at.
func appendRecord(dst []byte, s seal, at position, r *storage.Record, unsynced uint32, to links) []byte {
	return appendKind(dst, s, at, kindMessage, r, unsynced, to)
}

// appendStub appends the stub of a record: its room, number and time.
func appendStub(dst []byte, s seal, at position, r *storage.Record, unsynced uint32, total uint64) []byte {
	bare := storage.Record{Room: r.Room, Seq: r.Seq, At: r.At}
	return appendKind(dst, s, at, kindStub, &bare, unsynced, links{total: total})
}

func appendKind(dst []byte, s seal, at position, kind byte, r *storage.Record, unsynced uint32, to links) []byte {
	start := len(dst)
	var zero [recordHeaderBytes]byte
	dst = append(dst, zero[:]...)
	dst = append(dst, r.Room...)
	dst = append(dst, r.From...)
	dst = append(dst, r.Key...)
	dst = append(dst, r.Body...)
	b := dst[start:]
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[recordHeaderBytes:], castagnoli))
	b[12] = kind
	b[13] = uint8(len(r.Room))
	b[14] = uint8(len(r.From))
	b[15] = uint8(len(r.Key))
	binary.LittleEndian.PutUint32(b[16:], unsynced)
	binary.LittleEndian.PutUint64(b[20:], r.Seq)
	binary.LittleEndian.PutUint64(b[28:], uint64(r.At))
	binary.LittleEndian.PutUint64(b[36:], uint64(to.previous))
	binary.LittleEndian.PutUint64(b[44:], uint64(to.skip))
	binary.LittleEndian.PutUint64(b[52:], to.total)
	binary.LittleEndian.PutUint32(b, s.headerChecksum(at, b))
	return dst
}

// decodeHeader reads the header at the start of b, which holds at least recordHeaderBytes. A
// header without an error has a right checksum and fields that fit each other; one with
// errNewerKind has a right checksum and size.
func decodeHeader(b []byte, s seal, at position) (recordHeader, error) {
	h := recordHeader{
		size:            binary.LittleEndian.Uint32(b[4:]),
		payloadChecksum: binary.LittleEndian.Uint32(b[8:]),
		kind:            b[12],
		roomBytes:       b[13],
		fromBytes:       b[14],
		keyBytes:        b[15],
		unsynced:        binary.LittleEndian.Uint32(b[16:]),
		seq:             binary.LittleEndian.Uint64(b[20:]),
		at:              int64(binary.LittleEndian.Uint64(b[28:])),
		previous:        position(binary.LittleEndian.Uint64(b[36:])),
		skip:            position(binary.LittleEndian.Uint64(b[44:])),
		total:           binary.LittleEndian.Uint64(b[52:]),
	}
	// The size first: it is what tells most garbage from a header without a checksum.
	if h.size < recordHeaderBytes || h.size > maxRecordBytes {
		return h, errRecordSize
	}
	if s.headerChecksum(at, b) != binary.LittleEndian.Uint32(b) {
		return h, errHeaderChecksum
	}
	if h.kind&ignorableBit != 0 {
		return h, nil
	}
	switch h.kind {
	case kindMessage:
		return h, h.check(at)
	case kindStub:
		return h, h.checkStub()
	}
	return h, fmt.Errorf("kind %d: %w", h.kind, errNewerKind)
}

// check refuses what no writer of ours makes, so that later code need not ask again.
func (h *recordHeader) check(at position) error {
	body := h.bodyBytes()
	switch {
	case h.roomBytes == 0 || h.roomBytes > storage.MaxName || h.fromBytes == 0 || h.fromBytes > storage.MaxName || h.keyBytes > storage.MaxKey:
		return fmt.Errorf("lengths of room %d, user %d, key %d are out of bounds", h.roomBytes, h.fromBytes, h.keyBytes)
	case body < 0 || body > storage.MaxBody:
		return fmt.Errorf("body of %d bytes is out of bounds", body)
	case h.seq == 0 || h.seq > storage.MaxSeq:
		return fmt.Errorf("sequence number %d is out of bounds", h.seq)
	case h.previous < 0 || h.previous >= at || (h.previous == 0) != (h.seq == 1):
		return fmt.Errorf("previous record at %d does not fit sequence number %d", h.previous, h.seq)
	case h.skip < 0 || h.skip > h.previous || h.skip != 0 && h.seq&(h.seq+1) == 0: // skipSeq is 0 of 2^k-1
		return fmt.Errorf("skip record at %d does not fit sequence number %d", h.skip, h.seq)
	case h.total < uint64(h.size):
		return fmt.Errorf("total of %d bytes is less than the record", h.total)
	}
	return nil
}

func (h *recordHeader) checkStub() error {
	if h.roomBytes == 0 || h.roomBytes > storage.MaxName || h.fromBytes != 0 || h.keyBytes != 0 || h.bodyBytes() != 0 || h.seq == 0 || h.seq > storage.MaxSeq || h.previous != 0 || h.skip != 0 {
		return errors.New("stub with more than a room and a number")
	}
	return nil
}

func (h *recordHeader) bodyBytes() int {
	return int(h.size) - recordHeaderBytes - int(h.roomBytes) - int(h.fromBytes) - int(h.keyBytes)
}

// decodeRecord reads the record at the start of b, n bytes of it. n == 0 without an error
// means that b ends before the record does. The strings and the body of the result are
// views into b; a stub's has a room, a number and a time; it is zero for an ignorable kind.
func decodeRecord(b []byte, s seal, at position) (h recordHeader, r storage.Record, n int, err error) {
	if len(b) < recordHeaderBytes {
		return h, r, 0, nil
	}
	h, err = decodeHeader(b, s, at)
	if err != nil {
		return h, r, 0, err
	}
	if uint64(len(b)) < uint64(h.size) {
		return h, r, 0, nil
	}
	n = int(h.size)
	if crc32.Checksum(b[recordHeaderBytes:n], castagnoli) != h.payloadChecksum {
		return h, r, 0, errPayloadChecksum
	}
	if h.kind&ignorableBit != 0 {
		return h, r, n, nil
	}
	payload := b[recordHeaderBytes:n:n]
	r.Seq = h.seq
	r.At = h.at
	r.Room, payload = view(payload, int(h.roomBytes))
	r.From, payload = view(payload, int(h.fromBytes))
	r.Key, payload = view(payload, int(h.keyBytes))
	r.Body = payload
	return h, r, n, nil
}

// view gives the first n bytes as a string without a copy: a page of history is encoded for
// the wire and forgotten, and three copied strings a message would be most of its garbage.
func view(b []byte, n int) (string, []byte) {
	if n == 0 {
		return "", b
	}
	return unsafe.String(&b[0], n), b[n:]
}
