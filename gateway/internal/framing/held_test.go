package framing

import (
	"slices"
	"testing"
)

// A decoder that is replaced by a new one at any byte, by what it holds, gives the same messages and the same fault.
func TestDecoderMovesAtEveryByte(t *testing.T) {
	for _, c := range streamCases {
		t.Run(c.name, func(t *testing.T) {
			for cut := range len(c.stream) + 1 {
				before, _ := run([]string{c.stream[:cut]}, caseLimit)
				var d Decoder
				in := []byte(c.stream[:cut])
				failed := false
				for len(in) > 0 && !failed {
					_, n, err := d.Decode(in, caseLimit)
					in, failed = in[n:], err != nil
				}
				if failed {
					continue // its connection is closed, and moves nowhere
				}
				held := d.AppendHeld(nil)
				pending := d.Pending()
				d.Release()
				if pending != (len(held) > 0) {
					t.Errorf("cut at %d: pending is %v, and %d bytes are held", cut, pending, len(held))
				}
				after, _ := run([]string{string(held), c.stream[cut:]}, caseLimit)
				if got := append(before, after...); !slices.Equal(got, c.events) {
					t.Errorf("cut at %d: events %q, want %q", cut, got, c.events)
				}
			}
		})
	}
}

func TestAppendClientMessage(t *testing.T) {
	stream := string(AppendClientMessage(AppendClientMessage(nil, 1, []byte("one")), 2, []byte(text126)))
	got, pending := run([]string{stream}, 1000)
	if want := []string{`text "one"`, `binary 126 bytes "bbbbbbbbbbbbbbbbbbbb"`}; pending || !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}
