package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	client "rookery/client/go"
)

// safe makes a text from elsewhere harmless on a terminal: control characters, which could
// move the cursor or rename the window, and those that turn the direction of writing, which
// could make a line read as another one, are shown as escapes.
func safe(text string) string {
	if strings.IndexFunc(text, dangerous) < 0 && utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[i])
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\t':
			out.WriteString(`\t`)
		case dangerous(r) && r < 0x80:
			fmt.Fprintf(&out, `\x%02x`, r)
		case dangerous(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
		i += size
	}
	return out.String()
}

func dangerous(r rune) bool {
	switch {
	case unicode.IsControl(r), r == '\u2028', r == '\u2029':
		return true
	case r == '\u061c', r == '\u200e', r == '\u200f', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
		return true
	}
	return false
}

// body is what a message says or does, in one line. What is not its content stands in brackets.
func body(m client.Message) string {
	if m.Change != nil {
		return changeBody(m)
	}
	var before, behind string
	if m.ReplyTo != 0 {
		before += fmt.Sprintf("[to %d] ", m.ReplyTo)
	}
	if m.Thread != 0 && m.Thread != m.ReplyTo {
		before += fmt.Sprintf("[in thread %d] ", m.Thread)
	}
	if m.Edits > 0 && !m.Deleted {
		behind += " [edited]"
	}
	for _, r := range m.Reactions {
		behind += fmt.Sprintf(" [%s %d]", safe(r.Reaction), r.Count)
	}
	if m.Pinned {
		behind += " [pinned]"
	}
	return before + content(m) + behind
}

func changeBody(m client.Message) string {
	c := m.Change
	switch {
	case c.Op == client.Edit:
		return fmt.Sprintf("[edits %d] %s", c.Target, content(m))
	case c.Op == client.Delete:
		return fmt.Sprintf("[deletes %d]", c.Target)
	case c.Op == client.React && c.Remove:
		return fmt.Sprintf("[takes back %s from %d]", safe(c.Reaction), c.Target)
	case c.Op == client.React:
		return fmt.Sprintf("[reacts to %d with %s]", c.Target, safe(c.Reaction))
	case c.Op == client.Pin && c.Remove:
		return fmt.Sprintf("[unpins %d]", c.Target)
	case c.Op == client.Pin:
		return fmt.Sprintf("[pins %d]", c.Target)
	}
	return fmt.Sprintf("[changes %d]", c.Target)
}

func content(m client.Message) string {
	switch {
	case m.Deleted:
		return "[deleted]"
	case m.NoContent:
		return "[overtaken by a later change]"
	case m.Data != nil:
		return fmt.Sprintf("[%d bytes] %.32x", len(m.Data), m.Data)
	}
	return safe(m.Text)
}

// chatLine is a message as a reader of a conversation wants it: today's with the time only.
func chatLine(m client.Message, now time.Time) string {
	at := m.At.Local()
	layout := "15:04:05"
	if y, d := at.Year(), at.YearDay(); y != now.Year() || d != now.YearDay() {
		layout = "2006-01-02 15:04"
	}
	return fmt.Sprintf("%s %s: %s", at.Format(layout), safe(m.From), body(m))
}

// tailLine is a message as a log wants it.
func tailLine(m client.Message) string {
	number := fmt.Sprint(m.Seq)
	if m.Ephemeral {
		number = "~" + safe(m.Key)
	}
	return fmt.Sprintf("%s %s %s: %s", number, m.At.UTC().Format("2006-01-02T15:04:05.000Z"), safe(m.From), body(m))
}
