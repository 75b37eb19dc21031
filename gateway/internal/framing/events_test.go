package framing

import (
	"strings"
	"testing"
)

func TestEvents(t *testing.T) {
	lines := "{\"a\":1}\n{\"b\":\"data: \\n\"}\n"
	want := "data: {\"a\":1}\n\ndata: {\"b\":\"data: \\n\"}\n\n"
	events := AppendEvents([]byte("x"), []byte(lines))
	if string(events) != "x"+want {
		t.Errorf("got %q, want %q", events, want)
	}
	if size := EventsSize(len(lines), 2); size != len(want) {
		t.Errorf("two frames of %d bytes are said to take %d, and take %d", len(lines), size, len(want))
	}
	if got := AppendEvents(nil, []byte("\n"+strings.TrimSuffix(lines, "\n"))); string(got) != want {
		t.Errorf("with an empty line, and without the last line end: %q", got)
	}
	inStream := "retry: 5\nevent: session\ndata: name\n\n:\n\nid: e.1\n" + want
	if got := EventData([]byte(inStream)); string(got) != lines {
		t.Errorf("got %q back, want %q", got, lines)
	}
}
