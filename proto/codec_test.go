package proto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	pb "google.golang.org/protobuf/proto"

	v1 "rookery/proto/rookery/v1"
)

// TestRandomFrames sends random frames of both directions through both codecs and back,
// several in one stream.
func TestRandomFrames(t *testing.T) {
	r := newRandom(t)
	for _, c := range codecs {
		for _, direction := range []string{"client", "server"} {
			t.Run(c.name+" "+direction, func(t *testing.T) {
				for range 300 {
					var sent []pb.Message
					var stream []byte
					for range 1 + r.IntN(4) {
						f := newFrame(direction)
						fill(r, f.ProtoReflect())
						sent = append(sent, f)
						stream = appendFrame(stream, c.codec, f)
					}
					for i, want := range sent {
						var frame []byte
						var err error
						if frame, stream, err = Next(c.codec, stream); err != nil {
							t.Fatalf("frame %d: %v", i, err)
						}
						if got, err := decodeFrame(direction, c.codec, frame); err != nil || !pb.Equal(got, want) {
							t.Fatalf("frame %d: got %v, %v\nwant %v\nfrom %q", i, got, err, want, frame)
						}
					}
					if len(stream) > 0 {
						t.Fatalf("%d bytes after the last frame", len(stream))
					}
				}
			})
		}
	}
}

func decodeFrame(direction string, c Codec, in []byte) (pb.Message, error) {
	if direction == "client" {
		f := &v1.ClientFrame{}
		return f, DecodeClientFrame(f, c, in)
	}
	f := &v1.ServerFrame{}
	return f, DecodeServerFrame(f, c, in)
}

func TestNext(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		name   string
		codec  Codec
		in     string
		frames []string
		err    error // after the frames
	}{
		{"nothing, binary", Binary, "", nil, ErrTruncated},
		{"one", Binary, "\x02ab", []string{"ab"}, nil},
		{"many", Binary, "\x02ab\x00\x01c", []string{"ab", "", "c"}, nil},
		{"length of two bytes", Binary, "\xac\x02" + long, []string{long}, nil},
		{"half a length", Binary, "\x01a\xac", []string{"a"}, ErrTruncated},
		{"half a frame", Binary, "\x01a\x03bc", []string{"a"}, ErrTruncated},
		{"length and nothing", Binary, "\x01", nil, ErrTruncated},
		{"length of zero in two bytes", Binary, "\x80\x00", nil, ErrFrameLength},
		{"length of one in two bytes", Binary, "\x81\x00a", nil, ErrFrameLength},
		{"length of one in four bytes", Binary, "\x81\x80\x80\x00a", nil, ErrFrameLength},
		{"largest length, and nothing", Binary, "\xff\xff\xff\x7f", nil, ErrTruncated},
		{"length of five bytes", Binary, "\xff\xff\xff\xff\x01", nil, ErrFrameLength},
		{"five bytes without an end", Binary, "\xff\xff\xff\xff\xff", nil, ErrFrameLength},
		{"four bytes without an end", Binary, "\xff\xff\xff\xff", nil, ErrFrameLength},
		{"length beyond 64 bits", Binary, strings.Repeat("\xff", 10) + "\x01", nil, ErrFrameLength},

		{"one line", JSON, `{"id":1}`, []string{`{"id":1}`}, nil},
		{"one line with its end", JSON, "{}\n", []string{"{}"}, nil},
		{"many lines", JSON, "{}\n\n{\"id\":2}", []string{"{}", "", `{"id":2}`}, nil},
		{"carriage returns stay", JSON, "{}\r\n{}", []string{"{}\r", "{}"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			rest := []byte(c.in)
			for i, want := range c.frames {
				frame, after, err := Next(c.codec, rest)
				if err != nil || string(frame) != want {
					t.Fatalf("frame %d: got %q, %v; want %q", i, frame, err, want)
				}
				rest = after
			}
			if c.err == nil {
				if len(rest) > 0 {
					t.Errorf("%q is left", rest)
				}
				return
			}
			frame, after, err := Next(c.codec, rest)
			if !errors.Is(err, c.err) || frame != nil || after != nil {
				t.Errorf("got %q, %q, %v; want %v", frame, after, err, c.err)
			}
		})
	}
}

// TestNextAtEveryCut shows each beginning of a stream of frames: what is whole comes out,
// and what is cut is reported, never read as something else.
func TestNextAtEveryCut(t *testing.T) {
	var stream []byte
	ends := map[int]bool{0: true}
	for _, n := range []int{0, 1, 127, 128, 300} {
		stream = binary.AppendUvarint(stream, uint64(n))
		stream = append(stream, make([]byte, n)...)
		ends[len(stream)] = true
	}
	for cut := range len(stream) + 1 {
		rest, taken := stream[:cut], 0
		var err error
		for len(rest) > 0 && err == nil {
			before := len(rest)
			if _, rest, err = Next(Binary, rest); err == nil {
				taken += before - len(rest)
			}
		}
		if whole := ends[cut]; (err == nil) != whole || err != nil && !errors.Is(err, ErrTruncated) || !ends[taken] {
			t.Fatalf("cut at %d: %d bytes taken, %v; a frame ends there: %v", cut, taken, err, whole)
		}
	}
}

// TestUnknownThings: what a later version adds must not break this one.
func TestUnknownThings(t *testing.T) {
	for _, c := range []struct {
		name  string
		codec Codec
		in    string
		want  *v1.ClientFrame
	}{
		{"field, json", JSON, `{"id":1,"trace":{"a":[1,null]},"ping":{"since":5}}`, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}}},
		{"operation, json", JSON, `{"id":1,"dance":{}}`, &v1.ClientFrame{Id: 1}},
		{"operation of null, json", JSON, `{"id":1,"ping":null}`, &v1.ClientFrame{Id: 1}},
		{"numbers as strings, json", JSON, `{"id":"1","join":{"room":"r","after":"7"}}`, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: "r", After: ptr[uint64](7)}}}},
		{"field names of the schema, json", JSON, `{"id":1,"history":{"room":"r","limit":2}}`, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: "r", Limit: 2}}}},
		{"base64 for URLs, json", JSON, `{"id":1,"publish":{"room":"r","data":"_-8"}}`, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: "r", Content: &v1.Publish_Data{Data: []byte{0xff, 0xef}}}}}},
		{"field, binary", Binary, "\x08\x01\xa2\x06\x02hi\x3a\x00", &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}}},
		{"operation, binary", Binary, "\x08\x01\xa2\x06\x00", &v1.ClientFrame{Id: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got v1.ClientFrame
			if err := DecodeClientFrame(&got, c.codec, []byte(c.in)); err != nil {
				t.Fatal(err)
			}
			got.ProtoReflect().SetUnknown(nil)
			if !pb.Equal(&got, c.want) {
				t.Errorf("got %v, want %v", &got, c.want)
			}
		})
	}
}

func TestDecodeRefusesWhatIsNoFrame(t *testing.T) {
	for _, c := range []struct {
		name  string
		codec Codec
		in    string
	}{
		{"text", JSON, "hello"},
		{"list", JSON, `[{"id":1}]`},
		{"half an object", JSON, `{"id":1`},
		{"two objects", JSON, `{"id":1}{"id":2}`},
		{"two operations", JSON, `{"id":1,"ping":{},"leave":{"room":"r"}}`},
		{"field twice", JSON, `{"id":1,"id":2}`},
		{"negative id", JSON, `{"id":-1}`},
		{"fraction", JSON, `{"id":1.5}`},
		{"wrong type", JSON, `{"id":1,"join":{"room":7}}`},
		{"not UTF-8", JSON, "{\"id\":1,\"join\":{\"room\":\"\xff\"}}"},
		{"half a surrogate pair", JSON, `{"id":1,"join":{"room":"\ud800"}}`},
		{"no base64", JSON, `{"id":1,"publish":{"room":"r","data":"*"}}`},
		{"nested beyond reason", JSON, strings.Repeat(`{"x":`, 100) + "1" + strings.Repeat("}", 100)},
		{"nothing", JSON, ""},
		{"half a tag", Binary, "\x88"},
		{"half a value", Binary, "\x3a\x05"},
		{"field number 0", Binary, "\x00\x00"},
		{"end of a group that never began", Binary, "\x0c"},
		{"id of the wrong type", Binary, "\x0a\x01a"},
		{"varint beyond 64 bits", Binary, "\x08" + strings.Repeat("\xff", 10) + "\x01"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f v1.ClientFrame
			if err := DecodeClientFrame(&f, c.codec, []byte(c.in)); err == nil {
				t.Errorf("read as %v", &f)
			}
		})
	}
}

// TestWhoseBytes pins down how long decoded strings live: the server's are views, the
// clients' are copies.
func TestWhoseBytes(t *testing.T) {
	in := bytes.Clone(readBinary(t, "join-live"))
	var view v1.ClientFrame
	if err := DecodeClientFrame(&view, Binary, in); err != nil {
		t.Fatal(err)
	}
	in[len(in)-1] = 'X'
	if got := view.GetJoin().Room; got != "lobbX" {
		t.Errorf("the server's frame holds %q: it was copied, at a cost for each request", got)
	}

	in = bytes.Clone(readBinary(t, "message-text"))
	var own v1.ServerFrame
	if err := DecodeServerFrame(&own, Binary, in); err != nil {
		t.Fatal(err)
	}
	clear(in)
	if got := own.GetMessage().GetText(); got != "hi" {
		t.Errorf("the client's frame changed with the buffer: %q", got)
	}
}

func ptr[T any](v T) *T { return &v }
