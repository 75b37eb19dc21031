package proto

import (
	"bytes"
	"slices"
	"testing"

	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "rookery/proto/rookery/v1"
)

var codecs = []struct {
	name  string
	codec Codec
}{{"binary", Binary}, {"json", JSON}}

// TestFieldNumbers compares what the hot path writes by itself with the schema.
func TestFieldNumbers(t *testing.T) {
	server := (&v1.ServerFrame{}).ProtoReflect().Descriptor()
	message := (&v1.Message{}).ProtoReflect().Descriptor()
	history := (&v1.History{}).ProtoReflect().Descriptor()
	for _, c := range []struct {
		in   protoreflect.MessageDescriptor
		name protoreflect.Name
		got  protoreflect.FieldNumber
	}{
		{server, "message", fieldServerMessage},
		{message, "room", fieldMessageRoom},
		{message, "seq", fieldMessageSeq},
		{message, "at", fieldMessageAt},
		{message, "from", fieldMessageFrom},
		{message, "text", fieldMessageText},
		{message, "data", fieldMessageData},
		{message, "ephemeral", fieldMessageEphemeral},
		{message, "key", fieldMessageKey},
		{history, "messages", fieldHistoryMessage},
		// HistoryBuilder.Append writes these two as numbers.
		{server, "id", 1},
		{server, "history", 6},
	} {
		fd := c.in.Fields().ByName(c.name)
		if fd == nil || fd.Number() != c.got {
			t.Errorf("%s.%s: the hot path writes field %d, the schema has %v", c.in.Name(), c.name, c.got, fd)
		}
	}
	// Of the 19 the hot path writes eight; whatever has one of the others is written by the generated code.
	if n := message.Fields().Len(); n != 19 {
		t.Errorf("Message has %d fields, the hot path knows 19: teach AppendContent, AppendMessage and appendMessageJSON the new one", n)
	}
	// The seventh, ephemeral, marks a page that is never built: it has no messages.
	if n := history.Fields().Len(); n != 7 {
		t.Errorf("History has %d fields, HistoryBuilder knows 7: teach it the new one", n)
	}
}

// TestAppendMessage compares the two ways to a delivered message: the hot path, which never
// decodes the stored content, and the frame that the generated code writes.
func TestAppendMessage(t *testing.T) {
	r := newRandom(t)
	for range 2000 {
		h, p := randomMessage(r)
		content := AppendContent(nil, p)
		frame := &v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: delivered(h, p)}}
		encoded := Encode(h, content)
		for _, c := range codecs {
			want := AppendServerFrame([]byte("before"), c.codec, frame)
			got := AppendMessage([]byte("before"), c.codec, h, content)
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: AppendMessage of %v %v\n got %q\nwant %q", c.name, h, p, got, want)
			}
			for range 2 { // made, then remembered
				if got := encoded.Frame(c.codec); !bytes.Equal(got, want[len("before"):]) {
					t.Fatalf("%s: Encoded.Frame of %v %v\n got %q\nwant %q", c.name, h, p, got, want[len("before"):])
				}
			}
		}
		var back v1.Message
		if err := DecodeMessage(&back, h, content); err != nil || !pb.Equal(&back, frame.GetMessage()) {
			t.Fatalf("DecodeMessage gives %v, %v; want %v", &back, err, frame.GetMessage())
		}
	}
}

func TestDecodeMessageRefusesDamage(t *testing.T) {
	content := AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: "hello"}})
	var m v1.Message
	if err := DecodeMessage(&m, Header{}, content[:len(content)-1]); err == nil {
		t.Errorf("a content that is cut short was read as %v", &m)
	}
}

func TestAppendContentOfNothing(t *testing.T) {
	if got := AppendContent([]byte("x"), &v1.Publish{}); string(got) != "x" {
		t.Errorf("a publish without content is stored as %q", got)
	}
}

// TestHistoryBuilder compares a page that was built from stored messages with a page that
// the generated code writes.
func TestHistoryBuilder(t *testing.T) {
	r := newRandom(t)
	for range 500 {
		page := &v1.History{Room: "r" + randomText(r), Epoch: "7f3a", More: r.IntN(2) == 0}
		frame := &v1.ServerFrame{Id: 1 + randomInteger(r)>>1, Op: &v1.ServerFrame_History{History: page}}
		type stored struct {
			header  Header
			content []byte
		}
		var messages []stored
		for range r.IntN(5) {
			h, p := randomMessage(r)
			page.Messages = append(page.Messages, delivered(h, p))
			messages = append(messages, stored{h, AppendContent(nil, p)})
		}
		for _, c := range codecs {
			for _, descending := range []bool{false, true} {
				order := slices.Clone(messages)
				if descending {
					slices.Reverse(order)
				}
				b := NewHistory(c.codec, frame.Id, page.Room, page.Epoch, page.Begin)
				for _, m := range order {
					scratch := bytes.Clone(m.content)
					b.Add(m.header, scratch)
					clear(scratch) // Add says that it may be reused
				}
				got := b.Append([]byte("before"), descending, page.More)
				want := AppendServerFrame([]byte("before"), c.codec, frame)
				// In the binary codec the page's own fields come before its messages, which
				// says the same in another order of bytes.
				if len(got) != len(want) || c.codec == JSON && !bytes.Equal(got, want) {
					t.Fatalf("%s, descending %v:\n got %q\nwant %q", c.name, descending, got, want)
				}
				read, rest, err := Next(c.codec, got[len("before"):])
				if err != nil || len(rest) > 0 {
					t.Fatalf("%s: Next: %v, %d bytes left", c.name, err, len(rest))
				}
				var back v1.ServerFrame
				if err := DecodeServerFrame(&back, c.codec, read); err != nil || !pb.Equal(&back, frame) {
					t.Fatalf("%s, descending %v: read back %v, %v\nwant %v", c.name, descending, &back, err, frame)
				}
			}
		}
	}
}

// TestEncodedSize is what the bounds of queues rest on: no message may hold much more than
// it says.
func TestEncodedSize(t *testing.T) {
	for _, n := range []int{0, 100, 64 << 10} {
		content := AppendContent(nil, &v1.Publish{Content: &v1.Publish_Data{Data: make([]byte, n)}})
		e := Encode(Header{Room: "lobby", Seq: 1, At: 1, From: "alice"}, content)
		if held := len(e.Frame(Binary)) + len(content); e.Size() < held {
			t.Errorf("%d bytes of data: Size is %d, and %d bytes are held", n, e.Size(), held)
		}
	}
}

// TestKeysOfFrames: no key that a user may give a message is that of a frame of the server.
func TestKeysOfFrames(t *testing.T) {
	of := func(key string) string {
		return EncodeFrame("r", "alice", key, &v1.ServerFrame{Op: &v1.ServerFrame_Member{Member: &v1.MemberChanged{Room: "r", User: "alice"}}}).Key
	}
	p := &v1.Publish{Room: "r", Ephemeral: true, Key: of("member"), Content: &v1.Publish_Text{Text: "x"}}
	if CheckPublish(p) == "" || p.Key == of("room") {
		t.Errorf("the key of a frame is %q, which users may use too, or another frame does", p.Key)
	}
	if key := of(""); key != "" {
		t.Errorf("a frame without a key has %q", key)
	}
}
