package framing

import (
	"encoding/binary"
	"errors"
	"iter"
)

// maxLengthSize bounds the length prefix: five bytes carry 35 bits, more than
// any frame we would take.
const maxLengthSize = 5

var (
	// ErrFrameTooLarge is reported when the length is known, not when the
	// bytes have come.
	ErrFrameTooLarge = errors.New("frame is longer than the limit: split what it carries")
	// ErrFrameLength means that the stream is not ours or that it is out of step.
	ErrFrameLength = errors.New("frame length is not a varint of at most 5 bytes in its shortest form")
	// ErrFrameTruncated is for a message that ends inside a frame.
	ErrFrameTruncated = errors.New("message ends inside a frame: every message must hold whole frames")
)

// DecodeTCP reads one frame. n is what it takes with its length prefix; n == 0
// without an error means that more bytes are needed. The frame is a view into
// in, and never nil when n > 0.
func DecodeTCP(in []byte, max int) (frame []byte, n int, err error) {
	length, size, err := decodeLength(in)
	if size == 0 || err != nil {
		return nil, 0, err
	}
	if max < 0 || length > uint64(max) {
		return nil, 0, ErrFrameTooLarge
	}
	if uint64(len(in)-size) < length {
		return nil, 0, nil
	}
	n = size + int(length)
	return in[size:n:n], n, nil
}

// decodeLength is not binary.Uvarint because that takes ten bytes and overlong
// forms.
func decodeLength(in []byte) (length uint64, size int, err error) {
	for i, b := range in {
		if b < 0x80 {
			if b == 0 && i > 0 {
				return 0, 0, ErrFrameLength
			}
			return length | uint64(b)<<(7*i), i + 1, nil
		}
		if i == maxLengthSize-1 {
			return 0, 0, ErrFrameLength
		}
		length |= uint64(b&0x7f) << (7 * i)
	}
	return 0, 0, nil
}

// AppendTCP appends frame with its length in front.
func AppendTCP(dst, frame []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(frame)))
	return append(dst, frame...)
}

// Frames goes over the frames inside one binary WebSocket message. They are
// views into message. An error comes last, with a nil frame: the message is
// then to be treated as broken as a whole, though frames in front of the fault
// have been handed out already. A message without bytes holds no frame.
func Frames(message []byte, max int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for len(message) > 0 {
			frame, n, err := DecodeTCP(message, max)
			if n == 0 {
				if err == nil {
					err = ErrFrameTruncated
				}
				yield(nil, err)
				return
			}
			if !yield(frame, nil) {
				return
			}
			message = message[n:]
		}
	}
}
