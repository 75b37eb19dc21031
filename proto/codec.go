package proto

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	v1 "rookery/proto/rookery/v1"
)

// Names of the WebSocket subprotocols, one for each codec.
const (
	SubprotocolBinary = "rookery.v1.proto"
	SubprotocolJSON   = "rookery.v1.json"
)

// Preface is what a raw TCP client sends before its first frame. Its last byte is the version of
// the framing.
const Preface = "ROOKERY\x01"

// Codec says how frames are written.
type Codec uint8

// The zero Codec is not decided yet: the first message of the connection decides.
const (
	Undecided Codec = iota
	Binary          // length-prefixed Protocol Buffers
	JSON            // one JSON object a line
)

// What Next refuses.
var (
	// ErrTruncated is a frame stream that ends inside a frame.
	ErrTruncated = errors.New("frames end in the middle of a frame")
	// ErrFrameLength means that the stream is not ours or that it is out of step.
	ErrFrameLength = errors.New("frame length is not a varint of at most 4 bytes in its shortest form")
)

// maxLengthSize bounds the length of a frame in its varint form: 28 bits, far over
// MaxFrameBytes.
const maxLengthSize = 4

// AppendServerFrame appends f to dst as it stands in a stream: length and frame in the
// binary codec, the object and a line feed in JSON.
func AppendServerFrame(dst []byte, c Codec, f *v1.ServerFrame) []byte {
	if c == JSON {
		return append(appendJSON(dst, f.ProtoReflect()), '\n')
	}
	return appendBinary(dst, f)
}

// AppendClientFrame is AppendServerFrame for the other direction.
func AppendClientFrame(dst []byte, c Codec, f *v1.ClientFrame) []byte {
	if c == JSON {
		return append(appendJSON(dst, f.ProtoReflect()), '\n')
	}
	return appendBinary(dst, f)
}

// vtFrame is what the generated fast codec gives every frame.
type vtFrame interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
}

func appendBinary(dst []byte, f vtFrame) []byte {
	return appendMarshalled(binary.AppendUvarint(dst, uint64(f.SizeVT())), f)
}

func appendMarshalled(dst []byte, f vtFrame) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, f.SizeVT())...)
	if _, err := f.MarshalToSizedBufferVT(dst[start:]); err != nil {
		panic(fmt.Sprintf("BUG: marshal of a message into its own size: %v", err))
	}
	return dst
}

// Next cuts the first frame off a stream that is whole: the payload of one WebSocket
// message, or one line of it. rest is empty after the last frame; an empty line gives an
// empty frame. Both are views into in.
func Next(c Codec, in []byte) (frame, rest []byte, err error) {
	if c == JSON {
		for i, b := range in {
			if b == '\n' {
				return in[:i], in[i+1:], nil
			}
		}
		return in, nil, nil
	}
	length, n, err := Length(in)
	switch {
	case err != nil:
		return nil, nil, err
	case n == 0 || length > len(in)-n:
		return nil, nil, ErrTruncated
	}
	return in[n : n+length], in[n+length:], nil
}

// Length reads the length in front of a binary frame; n is what it takes, 0 if more bytes are
// needed. binary.Uvarint would take ten bytes and forms that are not the shortest: a frame has
// one encoding only.
func Length(in []byte) (length, n int, err error) {
	for i, b := range in {
		if b < 0x80 {
			if b == 0 && i > 0 {
				return 0, 0, ErrFrameLength
			}
			return length | int(b)<<(7*i), i + 1, nil
		}
		if i == maxLengthSize-1 {
			return 0, 0, ErrFrameLength
		}
		length |= int(b&0x7f) << (7 * i)
	}
	return 0, 0, nil
}

// A hostile client gains nothing by nesting: frames are at most four messages deep.
var jsonIn = protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 16}

// DecodeClientFrame reads one frame without its length. In the binary codec the strings
// and bytes of f are views into in; what is kept longer must be copied. Text is not yet
// checked to be UTF-8 there: see the checks of the request.
func DecodeClientFrame(f *v1.ClientFrame, c Codec, in []byte) error {
	if c == JSON {
		return jsonIn.Unmarshal(in, f)
	}
	return f.UnmarshalVTUnsafe(in)
}

// DecodeServerFrame is DecodeClientFrame for the other direction. It copies: clients keep
// what they read.
func DecodeServerFrame(f *v1.ServerFrame, c Codec, in []byte) error {
	if c == JSON {
		return jsonIn.Unmarshal(in, f)
	}
	return f.UnmarshalVT(in)
}
