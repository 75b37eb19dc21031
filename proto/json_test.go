package proto

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "rookery/proto/rookery/v1"
)

func TestJSONStrings(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", `""`},
		{"plain", "hello", `"hello"`},
		{"quote and backslash", `"\`, `"\"\\"`},
		{"slash stays", "</script>", `"</script>"`},
		{"short escapes", "\n\r\t", `"\n\r\t"`},
		{"other controls", "\x00\b\f\x1f\x7f", `"\u0000\u0008\u000c\u001f\u007f"`},
		{"controls of Latin-1 stay", "\u0080", "\"\u0080\""},
		{"two, three and four bytes", "é€😀", `"é€😀"`},
		{"line separators", "a\u2028b\u2029c", `"a\u2028b\u2029c"`},
		{"neighbours of the separators stay", "\u2027\u202a", "\"\u2027\u202a\""},
		{"the replacement character itself stays", "\ufffd", "\"\ufffd\""},
		{"a byte that is no UTF-8", "a\xffb", `"a\ufffdb"`},
		{"half a character at the end", "a\xe2\x82", `"a\ufffd\ufffd"`},
		{"a surrogate in UTF-8", "\xed\xa0\x80", `"\ufffd\ufffd\ufffd"`},
		{"escape at the start, in the middle, at the end", "\na\nb\n", `"\na\nb\n"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := string(appendJSONString([]byte("x"), c.in))
			if got != "x"+c.want {
				t.Fatalf("got %s, want x%s", got, c.want)
			}
			var back string
			if err := json.Unmarshal([]byte(got[1:]), &back); err != nil || back != strings.ToValidUTF8(eachByte(c.in), "\ufffd") {
				t.Errorf("encoding/json reads %q, %v", back, err)
			}
		})
	}
}

// eachByte puts an invalid byte apart from the next, since ToValidUTF8 replaces a run of
// them by one character and JSON writers replace each.
func eachByte(s string) string {
	var b strings.Builder
	for _, r := range s { // each invalid byte comes as one U+FFFD
		b.WriteRune(r)
	}
	return b.String()
}

// TestJSONOfRandomFrames has the reader of the outside world read what our writer wrote, and
// holds it to one line and to numbers that are numbers.
func TestJSONOfRandomFrames(t *testing.T) {
	r := newRandom(t)
	for range 1000 {
		for _, direction := range []string{"client", "server"} {
			f := newFrame(direction)
			fill(r, f.ProtoReflect())
			line := appendJSON(nil, f.ProtoReflect())
			if i := strings.IndexFunc(string(line), isLineEnd); i >= 0 {
				t.Fatalf("a line end at byte %d of %q", i, line)
			}
			back := newFrame(direction)
			if err := protojson.Unmarshal(line, back); err != nil || !pb.Equal(back, f) {
				t.Fatalf("protojson reads %v, %v\nwant %v\nfrom %s", back, err, f, line)
			}
			var plain map[string]any
			if err := json.Unmarshal(line, &plain); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if id, ok := plain["id"]; ok {
				if _, ok := id.(float64); !ok {
					t.Fatalf("id is a %T in %s", id, line)
				}
			}
		}
	}
}

func isLineEnd(r rune) bool {
	return r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029'
}

// TestJSONKnowsEveryKind: a field of a kind that the writer does not know would make it
// panic on the first frame that has it.
func TestJSONKnowsEveryKind(t *testing.T) {
	messages := v1.File_rookery_v1_rookery_proto.Messages()
	for i := range messages.Len() {
		m := messages.Get(i)
		for j := range m.Fields().Len() {
			fd := m.Fields().Get(j)
			switch fd.Kind() {
			case protoreflect.BoolKind, protoreflect.Uint32Kind, protoreflect.Uint64Kind,
				protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
			default:
				t.Errorf("%s is of kind %s: teach appendJSONValue to write it", fd.FullName(), fd.Kind())
			}
			if fd.IsMap() {
				t.Errorf("%s is a map: teach appendJSONField to write it", fd.FullName())
			}
		}
	}
}
