package proto

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unicode/utf8"

	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "rookery/proto/rookery/v1"
)

func addGolden(f *testing.F) {
	for _, v := range readGolden(f) {
		f.Add(true, []byte(v.json))
		f.Add(false, readBinary(f, v.name))
	}
}

func fuzzCodec(json bool) Codec {
	if json {
		return JSON
	}
	return Binary
}

// FuzzDecodeClientFrame is what a hostile client can reach. What decodes has to come back
// equal after it was encoded, in its own codec and, where it is text, in the other.
func FuzzDecodeClientFrame(f *testing.F) {
	addGolden(f)
	f.Fuzz(func(t *testing.T, json bool, in []byte) {
		codec := fuzzCodec(json)
		untouched := bytes.Clone(in)
		var frame v1.ClientFrame
		err := DecodeClientFrame(&frame, codec, in)
		if !bytes.Equal(in, untouched) {
			t.Fatalf("decoding changed the input from %q to %q", untouched, in)
		}
		if err != nil {
			return
		}
		again(t, codec, &frame)
		if frame.ProtoReflect().SetUnknown(nil); printable(frame.ProtoReflect()) {
			again(t, Binary+JSON-codec, &frame)
		}
	})
}

// again encodes a frame and compares what is read from that.
func again(t *testing.T, codec Codec, want *v1.ClientFrame) {
	t.Helper()
	stream := AppendClientFrame(nil, codec, want)
	frame, rest, err := Next(codec, stream)
	if err != nil || len(rest) > 0 {
		t.Fatalf("Next of %q: %v, %d bytes left", stream, err, len(rest))
	}
	var got v1.ClientFrame
	if err := DecodeClientFrame(&got, codec, frame); err != nil || !pb.Equal(&got, want) {
		t.Fatalf("got %v, %v\nwant %v\nfrom %q", &got, err, want, stream)
	}
}

// printable reports whether all of m can stand in JSON: text that is UTF-8, and no fields that
// the schema does not know.
func printable(m protoreflect.Message) bool {
	ok := len(m.GetUnknown()) == 0
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsList(): // requests have none
			ok = false
		case fd.Kind() == protoreflect.MessageKind:
			ok = ok && printable(v.Message())
		case fd.Kind() == protoreflect.StringKind:
			ok = ok && utf8.ValidString(v.String())
		}
		return ok
	})
	return ok
}

// FuzzDecodeServerFrame is what a hostile server can do to the Go client.
func FuzzDecodeServerFrame(f *testing.F) {
	addGolden(f)
	f.Fuzz(func(t *testing.T, json bool, in []byte) {
		codec := fuzzCodec(json)
		var want, got v1.ServerFrame
		if DecodeServerFrame(&want, codec, in) != nil {
			return
		}
		frame, rest, err := Next(codec, AppendServerFrame(nil, codec, &want))
		if err != nil || len(rest) > 0 {
			t.Fatalf("Next: %v, %d bytes left", err, len(rest))
		}
		if err := DecodeServerFrame(&got, codec, frame); err != nil || !pb.Equal(&got, &want) {
			t.Fatalf("got %v, %v\nwant %v", &got, err, &want)
		}
	})
}

// FuzzNext: the frames that come out, put together again, are the bytes that went in.
func FuzzNext(f *testing.F) {
	addGolden(f)
	f.Add(false, []byte("\x02ab\x00\x81\x00a"))
	f.Add(true, []byte("{}\n\n{}"))
	f.Fuzz(func(t *testing.T, json bool, in []byte) {
		codec := fuzzCodec(json)
		var joined []byte
		rest := in
		for len(rest) > 0 {
			frame, after, err := Next(codec, rest)
			if err != nil {
				if codec == JSON {
					t.Fatalf("lines are never wrong: %v", err)
				}
				joined = append(joined, rest...)
				break
			}
			if len(after) >= len(rest) {
				t.Fatalf("nothing was taken from %q", rest)
			}
			if codec == JSON {
				joined = append(append(joined, frame...), '\n')
			} else {
				joined = append(binary.AppendUvarint(joined, uint64(len(frame))), frame...)
			}
			rest = after
		}
		if codec == JSON && len(in) > 0 && in[len(in)-1] != '\n' {
			joined = joined[:len(joined)-1] // the last line needs no end
		}
		if !bytes.Equal(joined, in) {
			t.Fatalf("put together again: %q, want %q", joined, in)
		}
	})
}
