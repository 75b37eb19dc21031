package main

import (
	"testing"
	"time"

	client "rookery/client/go"
)

func TestSafeShowsWhatATerminalWouldObey(t *testing.T) {
	for text, want := range map[string]string{
		"plain, Zürich 🐦":         "plain, Zürich 🐦",
		"a\x1b[2Jb":               `a\x1b[2Jb`,
		"\x1b]0;title\x07":        `\x1b]0;title\x07`,
		"two\nlines\tand\r":       `two\nlines\tand\x0d`,
		"\u009b31m":               `\u009b31m`,
		"\x7f":                    `\x7f`,
		"\u202egnirts\u2066":      `\u202egnirts\u2066`,
		"bad \xff utf-8":          `bad \xff utf-8`,
		"👩\u200d🚀 joins":          "👩\u200d🚀 joins",
		"the \ufffd itself stays": "the \ufffd itself stays",
	} {
		if got := safe(text); got != want {
			t.Errorf("safe(%q) = %q; want %q", text, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local)
	m := client.Message{Room: "lobby", Seq: 7, At: now.Add(-time.Hour), From: "bo\x1bb", Text: "a\x07<&>\u2028"}
	if got, want := chatLine(m, now), `11:00:00 bo\x1bb: a\x07<&>\u2028`; got != want {
		t.Errorf("chatLine is %q; want %q", got, want)
	}
	if got, want := chatLine(m, now.AddDate(0, 0, 1)), `2026-03-04 11:00 bo\x1bb: a\x07<&>\u2028`; got != want {
		t.Errorf("chatLine of yesterday is %q; want %q", got, want)
	}
	m.At = time.UnixMilli(1763839392123)
	if got, want := tailLine(m), `7 2025-11-22T19:23:12.123Z bo\x1bb: a\x07<&>\u2028`; got != want {
		t.Errorf("tailLine is %q; want %q", got, want)
	}
	if got, want := jsonLine(m), `{"room":"lobby","seq":7,"at":1763839392123,"from":"bo\u001bb","text":"a\u0007<&>\u2028"}`; got != want {
		t.Errorf("jsonLine is %s; want %s", got, want)
	}
	m.Text, m.Data = "", []byte{0, 255}
	if got, want := jsonLine(m), `{"room":"lobby","seq":7,"at":1763839392123,"from":"bo\u001bb","data":"AP8="}`; got != want {
		t.Errorf("jsonLine is %s; want %s", got, want)
	}
	if got, want := body(m), "[2 bytes] 00ff"; got != want {
		t.Errorf("body is %q; want %q", got, want)
	}
}
