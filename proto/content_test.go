package proto

import (
	"bytes"
	"strings"
	"testing"

	v1 "rookery/proto/rookery/v1"
)

func TestReadContent(t *testing.T) {
	for _, value := range []string{"", "hello", "\x00\xff", strings.Repeat("x", 200), strings.Repeat("y", 1<<20)} {
		for _, publish := range []*v1.Publish{
			{Content: &v1.Publish_Text{Text: value}},
			{Content: &v1.Publish_Data{Data: []byte(value)}},
		} {
			content := AppendContent(nil, publish)
			_, wantText := publish.Content.(*v1.Publish_Text)
			got, text, ok := ReadContent(content)
			if !ok || text != wantText || string(got) != value {
				t.Fatalf("%d bytes, text %v: got %d bytes, text %v, ok %v", len(value), wantText, len(got), text, ok)
			}
			again := AppendDataContent(nil, got)
			if text {
				again = AppendTextContent(nil, got)
			}
			if !bytes.Equal(again, content) {
				t.Fatalf("%d bytes, text %v: written again it is another content", len(value), wantText)
			}
		}
	}
}

// TestReadContentIsExact: what would not come back byte for byte is not taken apart.
func TestReadContentIsExact(t *testing.T) {
	hello := AppendTextContent(nil, []byte("hello"))
	for name, content := range map[string][]byte{
		"nothing":                nil,
		"cut short":              hello[:len(hello)-1],
		"a byte more":            append(bytes.Clone(hello), 0),
		"two fields":             AppendDataContent(bytes.Clone(hello), []byte("x")),
		"length in two bytes":    {hello[0], 0x85, 0x00, 'h', 'e', 'l', 'l', 'o'},
		"tag in two bytes":       append([]byte{hello[0] | 0x80, 0}, hello[1:]...),
		"another field":          {0x3a, 1, 'x'},
		"a field of the header":  {0x0a, 1, 'x'},
		"a number, not bytes":    {fieldMessageText << 3, 1},
		"length beyond the end":  {hello[0], 0xff, 0xff, 0xff, 0xff, 0x0f},
		"length without its end": {hello[0], 0xff},
	} {
		if value, _, ok := ReadContent(content); ok {
			t.Errorf("%s: %x was read as %q", name, content, value)
		}
	}
}
