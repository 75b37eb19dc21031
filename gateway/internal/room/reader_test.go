package room

import (
	"fmt"
	"strings"
	"testing"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
)

// reads is a reader of a room with ten messages of which some are gone.
func reads(begin uint64, lost ...uint64) *readers {
	log := newFakeLog()
	log.begin, log.lost = begin, map[uint64]bool{}
	for _, seq := range lost {
		log.lost[seq] = true
	}
	for seq := uint64(1); seq <= 10; seq++ {
		content := proto.AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: fmt.Sprint("m", seq)}})
		log.records["r"] = append(log.records["r"], storage.Record{Room: "r", Seq: seq, At: 1, From: "u", Body: content})
	}
	return &readers{cfg: Config{Log: log}, epoch: "7f3a"}
}

// told writes the frames of an event as one line: numbers, and gaps in brackets.
func told(t *testing.T, frames []byte) string {
	t.Helper()
	var words []string
	for rest := frames[handoff.Headroom:]; len(rest) > 0; {
		var f v1.ServerFrame
		payload, after, err := proto.Next(proto.Binary, rest)
		if err != nil || payload == nil {
			t.Fatalf("frames: %v", err)
		}
		if err := f.UnmarshalVT(payload); err != nil {
			t.Fatal(err)
		}
		rest = after
		switch {
		case f.GetMessage() != nil:
			words = append(words, fmt.Sprint(f.GetMessage().Seq))
		case f.GetGap() != nil:
			words = append(words, gapWord(f.GetGap()))
		case f.GetHistory() != nil:
			h := f.GetHistory()
			for _, m := range h.Messages {
				words = append(words, fmt.Sprint(m.Seq))
			}
			for _, g := range h.Gaps {
				words = append(words, gapWord(g))
			}
			words = append(words, fmt.Sprint("begin ", h.Begin, " more ", h.More))
		}
	}
	return strings.Join(words, " ")
}

func gapWord(g *v1.Gap) string { return fmt.Sprintf("[%d-%d %s]", g.First, g.Last, g.Reason) }

// TestReplayOverGaps reads page by page to the end, as a loop does: every number comes, or stands in
// exactly one gap, in order.
func TestReplayOverGaps(t *testing.T) {
	for name, c := range map[string]struct {
		begin uint64
		lost  []uint64
		after uint64
		want  string
	}{
		"all there":              {1, nil, 0, "1 2 3 4 5 6 7 8 9 10"},
		"expired":                {4, nil, 0, "[1-3 expired] 4 5 6 7 8 9 10"},
		"expired, from within":   {6, nil, 2, "[3-5 expired] 6 7 8 9 10"},
		"not touched":            {4, nil, 5, "6 7 8 9 10"},
		"all expired":            {11, nil, 4, "[5-10 expired]"},
		"damaged":                {1, []uint64{3, 4}, 0, "1 2 [3-4 damaged] 5 6 7 8 9 10"},
		"damaged at both ends":   {1, []uint64{1, 10}, 0, "[1-1 damaged] 2 3 4 5 6 7 8 9 [10-10 damaged]"},
		"expired, then damaged":  {3, []uint64{3, 6}, 0, "[1-2 expired] [3-3 damaged] 4 5 [6-6 damaged] 7 8 9 10"},
		"nothing can be read":    {1, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0, "[1-10 damaged]"},
		"damaged before is past": {1, []uint64{2}, 4, "5 6 7 8 9 10"},
	} {
		t.Run(name, func(t *testing.T) {
			r := reads(c.begin, c.lost...)
			var got []string
			position := c.after
			for pages := 0; position < 10; pages++ {
				e := r.replay(handoff.Read{Kind: handoff.Replay, Room: "r", Position: position})
				if e.Seq <= position || pages > 20 {
					t.Fatalf("the position stays at %d", position)
				}
				position = e.Seq
				got = append(got, told(t, e.Frames))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, " "), c.want)
			}
		})
	}
}

func TestHistoryOverGaps(t *testing.T) {
	for name, c := range map[string]struct {
		begin    uint64
		lost     []uint64
		kind     handoff.ReadKind
		position uint64
		limit    int
		want     string
	}{
		"newest":                 {1, nil, handoff.HistoryBefore, 0, 3, "8 9 10 begin 1 more true"},
		"newest, to the begin":   {8, nil, handoff.HistoryBefore, 0, 3, "8 9 10 begin 8 more false"},
		"under the begin":        {8, nil, handoff.HistoryBefore, 5, 3, "begin 8 more false"},
		"all expired":            {11, nil, handoff.HistoryBefore, 0, 3, "begin 11 more false"},
		"newest over damage":     {1, []uint64{9}, handoff.HistoryBefore, 0, 3, "7 8 10 [9-9 damaged] begin 1 more true"},
		"damage down to the end": {1, []uint64{1, 2}, handoff.HistoryBefore, 4, 5, "3 [1-2 damaged] begin 1 more false"},
		"two gaps, ascending":    {1, []uint64{9, 5, 6}, handoff.HistoryBefore, 0, 4, "4 7 8 10 [5-6 damaged] [9-9 damaged] begin 1 more true"},
		"after":                  {1, nil, handoff.HistoryAfter, 2, 3, "3 4 5 begin 1 more true"},
		"after, from the begin":  {6, nil, handoff.HistoryAfter, 2, 9, "6 7 8 9 10 begin 6 more false"},
		"after, over damage":     {1, []uint64{4}, handoff.HistoryAfter, 2, 3, "3 5 6 [4-4 damaged] begin 1 more true"},
		"after, damage at head":  {1, []uint64{10}, handoff.HistoryAfter, 8, 3, "9 [10-10 damaged] begin 1 more false"},
	} {
		t.Run(name, func(t *testing.T) {
			r := reads(c.begin, c.lost...)
			e := r.history(handoff.Read{Kind: c.kind, Room: "r", Position: c.position, Limit: c.limit})
			if got := told(t, e.Frames); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
