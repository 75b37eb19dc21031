package framing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

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
		{"five bytes of length", "\xff\xff\xff\xff\x7f", 10, "", 0, ErrFrameTooLarge},
		{"longest length half here", "\xff\xff\xff\xff", 10, "", 0, nil},
		{"six bytes of length", "\xff\xff\xff\xff\xff\x01", 10, "", 0, ErrFrameLength},
		{"six bytes, known at the fifth", "\xff\xff\xff\xff\xff", 10, "", 0, ErrFrameLength},
		{"overlong zero", "\x80\x00", 10, "", 0, ErrFrameLength},
		{"overlong three", "\x83\x00abc", 10, "", 0, ErrFrameLength},
		{"overlong three in five", "\x83\x80\x80\x80\x00abc", 10, "", 0, ErrFrameLength},
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

func TestAppendTCPAndBack(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 16383, 16384, 1 << 20} {
		frame := bytes.Repeat([]byte{0xa5}, size)
		stream := AppendTCP([]byte("before"), frame)[len("before"):]
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

func TestFrames(t *testing.T) {
	cases := []struct {
		name    string
		message string
		frames  []string
		err     error
	}{
		{"no bytes", "", nil, nil},
		{"one", "\x03abc", []string{"abc"}, nil},
		{"three, one empty", "\x01a\x00\x02bc", []string{"a", "", "bc"}, nil},
		{"cut in a frame", "\x01a\x02b", []string{"a"}, ErrFrameTruncated},
		{"cut in a length", "\x01a\x80", []string{"a"}, ErrFrameTruncated},
		{"too long", "\x01a\x0b", []string{"a"}, ErrFrameTooLarge},
		{"overlong length", "\x81\x00a", nil, ErrFrameLength},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var frames []string
			var last error
			for frame, err := range Frames([]byte(c.message), 10) {
				if last != nil {
					t.Fatal("went on after an error")
				}
				if last = err; err == nil {
					frames = append(frames, string(frame))
				}
			}
			if strings.Join(frames, "|") != strings.Join(c.frames, "|") || len(frames) != len(c.frames) {
				t.Errorf("frames = %q, want %q", frames, c.frames)
			}
			if !errors.Is(last, c.err) {
				t.Errorf("err = %v, want %v", last, c.err)
			}
		})
	}
}

func TestFramesStopsWhenAsked(t *testing.T) {
	seen := 0
	for range Frames([]byte("\x01a\x01b\x01c"), 10) {
		if seen++; seen == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("saw %d frames, want 2", seen)
	}
}

func TestFramesDoesNotAllocate(t *testing.T) {
	message := AppendTCP(AppendTCP(nil, []byte("one")), []byte("two"))
	total := 0
	allocs := testing.AllocsPerRun(100, func() {
		for frame, err := range Frames(message, 10) {
			if err != nil {
				t.Fatal(err)
			}
			total += len(frame)
		}
	})
	if allocs != 0 || total == 0 {
		t.Errorf("%v allocations, want 0", allocs)
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
			if again := AppendTCP(nil, frame); !bytes.Equal(again, in[:n]) {
				t.Fatalf("%x came back as %x", in[:n], again)
			}
		}
		// The same length by the standard library, where it takes it.
		if length, size := binary.Uvarint(in); size > 0 && n > 0 && (size+int(length)) != n {
			t.Fatalf("n = %d, binary.Uvarint says %d", n, size+int(length))
		}
		consumed := 0
		for frame, err := range Frames(in, max) {
			if err == nil {
				consumed += len(AppendTCP(nil, frame))
			} else {
				consumed = len(in)
			}
		}
		if consumed != len(in) {
			t.Fatalf("Frames went over %d of %d bytes", consumed, len(in))
		}
	})
}
