package framing

import (
	"math/bits"

	"github.com/valyala/bytebufferpool"
)

const (
	smallestAssembly = 64
	// What is bigger is left to the garbage collector: a few such messages must
	// not stay in the pool for ever.
	biggestPooled = 1 << 20
)

// assemblies has one pool for each power of two. One pool for all would hand a
// megabyte to a peer that has sent ten bytes, because somebody else had used
// one; and bytebufferpool makes new buffers in the size that is usual, which is
// then the size of the class.
var assemblies [15]bytebufferpool.Pool

// appendAssembly appends chunk to buffer, which may be nil. The capacity is
// what has arrived, rounded up to a power of two.
func appendAssembly(buffer *bytebufferpool.ByteBuffer, chunk []byte) *bytebufferpool.ByteBuffer {
	if buffer == nil {
		buffer = getAssembly(len(chunk))
	} else if need := len(buffer.B) + len(chunk); need > cap(buffer.B) {
		grown := getAssembly(need)
		grown.B = append(grown.B, buffer.B...)
		putAssembly(buffer)
		buffer = grown
	}
	buffer.B = append(buffer.B, chunk...)
	return buffer
}

func getAssembly(need int) *bytebufferpool.ByteBuffer {
	size := max(smallestAssembly, 1<<bits.Len(uint(need-1)))
	if size > biggestPooled {
		return &bytebufferpool.ByteBuffer{B: make([]byte, 0, size)}
	}
	buffer := assemblies[assemblyClass(size)].Get()
	if cap(buffer.B) < size {
		buffer.B = make([]byte, 0, size)
	}
	return buffer
}

func putAssembly(buffer *bytebufferpool.ByteBuffer) {
	if buffer == nil || cap(buffer.B) > biggestPooled {
		return
	}
	// The pool learns its sizes from the length at Put, so show it the capacity.
	buffer.B = buffer.B[:cap(buffer.B)]
	assemblies[assemblyClass(cap(buffer.B))].Put(buffer)
}

// assemblyClass is 0 for 64 bytes and 14 for 1 MiB. size is a power of two.
func assemblyClass(size int) int {
	return bits.Len(uint(size/smallestAssembly)) - 1
}
