package framing

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"
)

func TestDecoder(t *testing.T) {
	for _, c := range streamCases {
		t.Run(c.name, func(t *testing.T) {
			check := func(how string, pieces []string) {
				t.Helper()
				events, pending := run(pieces, caseLimit)
				if !slices.Equal(events, c.events) {
					t.Errorf("%s: events %q, want %q", how, events, c.events)
				}
				if pending != c.pending {
					t.Errorf("%s: pending = %v, want %v", how, pending, c.pending)
				}
			}
			check("in one piece", []string{c.stream})
			check("byte by byte", bytewise(c.stream))
			for cut := range c.stream {
				check("in two pieces", []string{c.stream[:cut], c.stream[cut:]})
			}
		})
	}
}

// A fault must show at the first byte that proves it: not one byte later, and
// with no need for the bytes that were announced.
func TestDecoderFailsAtTheFirstWrongByte(t *testing.T) {
	cases := []struct {
		name   string
		stream string // the last byte is the one that proves the fault
		want   string
	}{
		{"unmasked", "\x81\x05", "fault 1002"},
		{"long ping", "\x89\xfe", "fault 1002"},
		{"overlong length", "\x81\xfe\x00\x7d", "fault 1002"},
		{"too big, before the mask", "\x82\xff\x00\x00\x00\x00\x00\x01\x11\x71", "fault 1009"},
		{"second byte of a surrogate", join(clientFrameLength(fin|1, []byte{9}, "a\xed\xa0")), "fault 1007"},
		{"second byte of an overlong form", join(clientFrameLength(fin|1, []byte{9}, "a\xe0\x80")), "fault 1007"},
		{"second byte beyond U+10FFFF", join(clientFrameLength(fin|1, []byte{9}, "a\xf4\x90")), "fault 1007"},
		{"first byte of nothing", join(clientFrameLength(1, []byte{9}, "a\xf5")), "fault 1007"},
		{"character not continued", join(clientFrame(1, "\xf0\x9d\x84"), clientFrameLength(0, []byte{9}, "a")), "fault 1007"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if events, _ := run([]string{c.stream[:len(c.stream)-1]}, caseLimit); len(events) != 0 {
				t.Errorf("a byte too early: %q", events)
			}
			if events, _ := run([]string{c.stream}, caseLimit); !slices.Equal(events, []string{c.want}) {
				t.Errorf("events %q, want %q", events, c.want)
			}
		})
	}
}

// Each rule has its own words, so that the peer's author is told the right one.
func TestDecoderNamesTheRule(t *testing.T) {
	cases := []struct {
		stream string
		want   *ProtocolError
	}{
		{join(clientFrame(fin|3, "")), faultOpCode},
		{join(clientFrame(fin|9, text126)), faultControlLength},
		{join(clientFrame(9, "")), faultControlFragment},
		{join(clientFrame(fin|rsv1|1, "")), faultReservedBits},
		{"\x81\x00", faultUnmasked},
		{join(clientFrame(1, ""), clientFrame(1, "")), faultInterrupted},
		{join(clientFrame(finContinuation, "")), faultNothingContinued},
		{join(clientFrameLength(fin|1, []byte{126, 0, 0}, "")), faultLengthForm},
		{join(clientFrameLength(fin|1, []byte{127, 255, 0, 0, 0, 0, 0, 0, 0}, "")), faultLengthSign},
		{join(clientFrameLength(fin|1, length64K, "")), faultTooBig},
		{join(clientFrame(fin|1, "\xff")), faultText},
	}
	for _, c := range cases {
		var d Decoder
		var err error
		for in := []byte(c.stream); err == nil && len(in) > 0; {
			var n int
			_, n, err = d.Decode(in, 1000)
			in = in[n:]
		}
		d.Release()
		if err != error(c.want) {
			t.Errorf("%q: err = %v, want %v", c.stream, err, c.want)
		}
	}
}

// Sizes around every length form and every size of assembly buffer, cut so
// that the mask's position and the buffer's growth are both out of step.
func TestDecoderSizes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 3, 15, 16, 17, 63, 64, 65, 125, 126, 127, 128, 4095, 4097, 65535, 65536, 65537, 1<<20 - 1, 1<<20 + 1}
	for _, size := range sizes {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		stream := clientFrame(fin|2, string(payload))
		for _, piece := range []int{1 << 30, 1, 7, 1000, 65536} {
			if piece == 1 && size > 5000 {
				continue
			}
			var d Decoder
			var got []byte
			messages := 0
			for in := range slices.Chunk(slices.Clone(stream), piece) {
				for {
					m, n, err := d.Decode(in, size)
					if err != nil {
						t.Fatalf("size %d in pieces of %d: %v", size, piece, err)
					}
					in = in[n:]
					if !m.Ready() {
						break
					}
					messages++
					got = bytes.Clone(m.Payload)
				}
			}
			if messages != 1 || !bytes.Equal(got, payload) {
				t.Errorf("size %d in pieces of %d: %d messages, payload equal: %v", size, piece, messages, bytes.Equal(got, payload))
			}
			if d.partial != nil {
				t.Errorf("size %d in pieces of %d: state is kept after the message", size, piece)
			}
		}
	}
}

func TestDecoderIsOnePointer(t *testing.T) {
	if size := unsafe.Sizeof(Decoder{}); size != unsafe.Sizeof(uintptr(0)) {
		t.Errorf("Decoder is %d bytes, want one pointer", size)
	}
}

// What a peer announces costs nothing until it comes.
func TestDecoderHoldsWhatArrived(t *testing.T) {
	// Leave big buffers in the pools, as a server that has run for a while.
	run([]string{join(clientFrame(2, text64K)), join(clientFrame(finContinuation, text64K))}, 1<<20)

	var d Decoder
	defer d.Release()
	in := clientFrameLength(fin|2, []byte{127, 0, 0, 0, 0, 0, 0x0f, 0, 0}, "0123456789")
	if _, n, err := d.Decode(in, 1<<20); n != len(in) || err != nil {
		t.Fatalf("n = %d of %d, err = %v", n, len(in), err)
	}
	if held := cap(d.partial.assembly.B); held > 64 {
		t.Errorf("10 bytes arrived, %d are held", held)
	}
	more := bytes.Repeat([]byte{0}, 5000)
	if _, _, err := d.Decode(more, 1<<20); err != nil {
		t.Fatal(err)
	}
	if held := cap(d.partial.assembly.B); held > 8192 {
		t.Errorf("5010 bytes arrived, %d are held", held)
	}
}

// A control frame is handed out at once, and what it is put in doesn't touch
// the message around it, nor does giving it back end that message.
func TestDecoderKeepsTheMessageAroundAPing(t *testing.T) {
	var d Decoder
	stream := join(clientFrame(1, strings.Repeat("x", 200)), clientFrame(fin|9, "ping"))
	for i := range len(stream) - 1 {
		if m, _, err := d.Decode([]byte{stream[i]}, 1000); m.Ready() || err != nil {
			t.Fatalf("byte %d: %v, %v", i, m, err)
		}
	}
	m, _, err := d.Decode([]byte{stream[len(stream)-1]}, 1000)
	if err != nil || event(m) != `ping "ping"` {
		t.Fatalf("%s, %v", event(m), err)
	}
	if !d.Pending() {
		t.Error("Pending is false inside a fragmented message")
	}
	m, _, err = d.Decode(clientFrame(finContinuation, "end"), 1000)
	if err != nil || string(m.Payload) != strings.Repeat("x", 200)+"end" {
		t.Fatalf("%s, %v", event(m), err)
	}
	if d.Pending() {
		t.Error("Pending is true though the message is whole")
	}
	if d.Release(); d.partial != nil || d.Pending() {
		t.Error("Release kept something")
	}
}

func TestDecoderLimitZero(t *testing.T) {
	if events, _ := run([]string{join(clientFrame(fin|1, ""), clientFrame(fin|9, "x"), clientFrame(fin|1, "a"))}, 0); !slices.Equal(events, []string{`text ""`, `ping "x"`, "fault 1009"}) {
		t.Errorf("events %q", events)
	}
}

func TestDecoderFastPathDoesNotAllocate(t *testing.T) {
	stream := []byte(join(clientFrame(fin|1, "Hello, κόσμε"), clientFrame(fin|2, text126), clientFrame(fin|9, "")))
	in := make([]byte, len(stream))
	var d Decoder
	allocs := testing.AllocsPerRun(100, func() {
		copy(in, stream)
		messages := 0
		for rest := in; ; messages++ {
			m, n, err := d.Decode(rest, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if !m.Ready() {
				break
			}
			rest = rest[n:]
		}
		if messages != 3 {
			t.Fatalf("%d messages, want 3", messages)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
	if d.partial != nil {
		t.Error("the fast path made partial state")
	}
}

// Half frames are usual on a busy socket, so their buffers come from the pool.
// The average may be a fraction: the pool forgets some under the race detector.
func TestDecoderHalvesReuseBuffers(t *testing.T) {
	stream := clientFrame(fin|2, strings.Repeat("x", 4000))
	in := make([]byte, len(stream))
	var d Decoder
	allocs := testing.AllocsPerRun(200, func() {
		copy(in, stream)
		if m, _, err := d.Decode(in[:3000], 5000); m.Ready() || err != nil {
			t.Fatal(m, err)
		}
		if m, _, err := d.Decode(in[3000:], 5000); !m.Ready() || err != nil {
			t.Fatal(m, err)
		}
	})
	if allocs >= 1 {
		t.Errorf("%v allocations, want less than 1", allocs)
	}
}

func TestTextPrefix(t *testing.T) {
	cases := []struct {
		text  string
		whole int
		ok    bool
	}{
		{"", 0, true},
		{"abc", 3, true},
		{"ab\xe2", 2, true},
		{"ab\xe2\x82", 2, true},
		{"ab\xe2\x82\xac", 5, true},
		{"\xf0\x9d\x84", 0, true},
		{"\xf0\x9d\x84\x9e", 4, true},
		{"\x80", 1, false},
		{"\x80\x80\x80\x80", 4, false},
		{"a\xc1", 2, false},
		{"\xff\xe2", 1, false},
		{"\xe2\x82\xac\x82", 4, false},
	}
	for _, c := range cases {
		whole, ok := textPrefix([]byte(c.text))
		if ok != c.ok || (ok && whole != c.whole) {
			t.Errorf("textPrefix(%q) = %d, %v, want %d, %v", c.text, whole, ok, c.whole, c.ok)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for i, c := range streamCases {
		f.Add([]byte(c.stream), uint64(i), uint16(300))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64, max uint16) {
		want, wantPending := run([]string{string(stream)}, int(max))
		var pieces []string
		random := rand.New(rand.NewPCG(seed, 0))
		for rest := string(stream); len(rest) > 0; {
			cut := 1 + random.IntN(min(len(rest), 20))
			pieces = append(pieces, rest[:cut])
			rest = rest[cut:]
		}
		got, gotPending := run(pieces, int(max))
		if !slices.Equal(got, want) || gotPending != wantPending {
			t.Fatalf("in pieces %q, pending %v; in one %q, pending %v", got, gotPending, want, wantPending)
		}
		for _, e := range want {
			if strings.HasPrefix(e, "BUG") {
				t.Fatal(e)
			}
		}
	})
}

func BenchmarkDecoderWhole(b *testing.B) {
	for _, size := range []int{16, 160, 4096} {
		stream := clientFrame(fin|1, strings.Repeat("a", size))
		in := make([]byte, len(stream))
		b.Run(sizeName(size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			var d Decoder
			for b.Loop() {
				copy(in, stream)
				if m, _, err := d.Decode(in, 1<<20); m.Op != ws.OpText || err != nil {
					b.Fatal(m, err)
				}
			}
		})
	}
}

func BenchmarkDecoderTwoHalves(b *testing.B) {
	for _, size := range []int{16, 160, 4096} {
		stream := clientFrame(fin|1, strings.Repeat("a", size))
		in := make([]byte, len(stream))
		b.Run(sizeName(size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			var d Decoder
			for b.Loop() {
				copy(in, stream)
				if m, _, err := d.Decode(in[:len(in)/2], 1<<20); m.Ready() || err != nil {
					b.Fatal(m, err)
				}
				if m, _, err := d.Decode(in[len(in)/2:], 1<<20); m.Op != ws.OpText || err != nil {
					b.Fatal(m, err)
				}
			}
		})
	}
}
