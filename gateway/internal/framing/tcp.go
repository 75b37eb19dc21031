package framing

import (
	"errors"

	"rookery/proto"
)

// ErrFrameTooLarge is reported when the length is known, not when the bytes have come.
var ErrFrameTooLarge = errors.New("frame is longer than the limit: split what it carries")

// DecodeTCP reads one frame of a stream that is still coming; proto.Next is for one that is
// whole. n is what it takes with its length prefix; n == 0 without an error means that more
// bytes are needed. The frame is a view into in, and never nil when n > 0.
func DecodeTCP(in []byte, max int) (frame []byte, n int, err error) {
	length, size, err := proto.Length(in)
	if size == 0 || err != nil {
		return nil, 0, err
	}
	if length > max {
		return nil, 0, ErrFrameTooLarge
	}
	if len(in)-size < length {
		return nil, 0, nil
	}
	n = size + length
	return in[size:n:n], n, nil
}
