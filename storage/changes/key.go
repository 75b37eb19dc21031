package changes

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
)

// The buckets.
var (
	bucketMeta      = []byte("meta")
	bucketRooms     = []byte("rooms")
	bucketStates    = []byte("states")
	bucketReacted   = []byte("reacted")
	bucketThreads   = []byte("threads")
	bucketPins      = []byte("pins")
	bucketMentions  = []byte("mentions")
	bucketMentioned = []byte("mentioned")
	bucketMade      = []byte("made")
)

var buckets = [][]byte{
	bucketMeta, bucketRooms, bucketStates, bucketReacted, bucketThreads, bucketPins, bucketMentions, bucketMentioned, bucketMade,
}

const nameBytes = 16

// nameKey stands for a name in keys: names are up to 128 bytes long.
func nameKey(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:nameBytes:nameBytes]
}

// withSeq gives a key of its own: prefix and number.
func withSeq(prefix []byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(prefix), seq)
}

func lastSeq(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// reactionPrefix is that of the users of a reaction. Reactions hold no control characters, so the zero ends one.
func reactionPrefix(message []byte, reaction string) []byte {
	return append(append(bytes.Clone(message), reaction...), 0)
}

func reactedKey(message []byte, reaction, user string) []byte {
	return append(reactionPrefix(message, reaction), user...)
}
