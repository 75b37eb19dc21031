package framing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"rookery/proto"
)

func appendTCP(dst, frame []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(frame))), frame...)
}

func TestDecodeTCP(t *testing.T) {
	long := strings.Repeat("x", 300)
	cases := []struct {
		name  string
		in    string
		max   int
		frame string
		n     int
		err   error
	}{
		{"nothing", "", 10, "", 0, nil},
		{"empty frame", "\x00", 10, "", 1, nil},
		{"frame", "\x03abc", 10, "abc", 4, nil},
		{"frame and the next", "\x03abc\x01d", 10, "abc", 4, nil},
		{"half a frame", "\x03ab", 10, "", 0, nil},
		{"half a length", "\xac", 300, "", 0, nil},
		{"length of two bytes", "\xac\x02" + long, 300, long, 302, nil},
		{"at the limit", "\x0a0123456789", 10, "0123456789", 11, nil},
		{"over the limit, not here yet", "\x0b", 10, "", 0, ErrFrameTooLarge},
		{"four bytes of length", "\xff\xff\xff\x7f", 10, "", 0, ErrFrameTooLarge},
		{"longest length half here", "\xff\xff\xff", 10, "", 0, nil},
		{"five bytes of length", "\xff\xff\xff\xff\x01", 10, "", 0, proto.ErrFrameLength},
		{"five bytes, known at the fourth", "\xff\xff\xff\xff", 10, "", 0, proto.ErrFrameLength},
		{"overlong zero", "\x80\x00", 10, "", 0, proto.ErrFrameLength},
		{"overlong three", "\x83\x00abc", 10, "", 0, proto.ErrFrameLength},
		{"overlong three in four", "\x83\x80\x80\x00abc", 10, "", 0, proto.ErrFrameLength},
		{"an HTTP request", "GET / HTTP/1.1", 10, "", 0, ErrFrameTooLarge},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			frame, n, err := DecodeTCP([]byte(c.in), c.max)
			if string(frame) != c.frame || n != c.n || !errors.Is(err, c.err) {
				t.Errorf("DecodeTCP = %q, %d, %v, want %q, %d, %v", frame, n, err, c.frame, c.n, c.err)
			}
			if n > 0 && frame == nil {
				t.Error("frame is nil, want empty")
			}
		})
	}
}

func TestDecodeTCPAtEveryCut(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 16383, 16384, 1 << 20} {
		frame := bytes.Repeat([]byte{0xa5}, size)
		stream := appendTCP([]byte("before"), frame)[len("before"):]
		for _, cut := range []int{0, 1, 2, len(stream) - 1} {
			if cut >= len(stream) {
				continue
			}
			if _, n, err := DecodeTCP(stream[:cut], size); n != 0 || err != nil {
				t.Errorf("size %d cut at %d: n = %d, err = %v", size, cut, n, err)
			}
		}
		got, n, err := DecodeTCP(stream, size)
		if err != nil || n != len(stream) || !bytes.Equal(got, frame) {
			t.Errorf("size %d: n = %d of %d, err = %v", size, n, len(stream), err)
		}
	}
}

// What is decoded must encode to the very bytes it came from: a frame has one
// encoding.
func FuzzDecodeTCP(f *testing.F) {
	f.Add([]byte("\x03abc\x00"), 10)
	f.Add([]byte("\x80\x80\x80\x80\x80\x00"), 1<<20)
	f.Add([]byte("\xff\xff\xff\xff\x7f"), 10)
	f.Fuzz(func(t *testing.T, in []byte, max int) {
		frame, n, err := DecodeTCP(in, max)
		if n < 0 || n > len(in) || len(frame) > n {
			t.Fatalf("n = %d, %d bytes of frame, %d of input", n, len(frame), len(in))
		}
		if err != nil && (n != 0 || frame != nil) {
			t.Fatalf("frame %q, n = %d beside error %v", frame, n, err)
		}
		if n > 0 {
			if len(frame) > max {
				t.Fatalf("frame of %d bytes over the limit %d", len(frame), max)
			}
			if again := appendTCP(nil, frame); !bytes.Equal(again, in[:n]) {
				t.Fatalf("%x came back as %x", in[:n], again)
			}
		}
		// The same length by the standard library, where it takes it.
		if length, size := binary.Uvarint(in); size > 0 && n > 0 && (size+int(length)) != n {
			t.Fatalf("n = %d, binary.Uvarint says %d", n, size+int(length))
		}
	})
}
