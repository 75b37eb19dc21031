package proto

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	v1 "rookery/proto/rookery/v1"
)

// Plain reports whether a stored content is a text or bytes and nothing else: no change, no thread, no mention.
func Plain(content []byte) bool {
	_, _, ok := ReadContent(content)
	return ok || len(content) == 0
}

// appendRichContent is AppendContent for what has more than a text or bytes. The fields of Message that a publish
// has stand in the order of the generated code, so that a header before them still makes a Message.
func appendRichContent(dst []byte, p *v1.Publish) []byte {
	m := v1.Message{ReplyTo: p.ReplyTo, Thread: p.Thread, Mentions: p.Mentions, Kind: p.Kind, Change: p.Change}
	switch c := p.Content.(type) {
	case *v1.Publish_Text:
		m.Content = &v1.Message_Text{Text: c.Text}
	case *v1.Publish_Data:
		m.Content = &v1.Message_Data{Data: c.Data}
	}
	return appendMarshalled(dst, &m)
}

// AppendContentJSON appends the JSON form of the publish that a stored content came from, without room and key. ok is false
// for a content that is not the one that this publish would be stored as.
func AppendContentJSON(dst, content []byte) (_ []byte, ok bool) {
	p := new(v1.Publish)
	if len(content) == 0 || DecodeContent(p, content) != nil || !bytes.Equal(AppendContent(nil, p), content) {
		return dst, false
	}
	return appendJSON(dst, p.ProtoReflect()), true
}

// DecodeContent gives a publish the fields that a stored content came from. p's bytes are copies.
func DecodeContent(p *v1.Publish, content []byte) error {
	var m v1.Message
	if err := m.UnmarshalVT(content); err != nil {
		return err
	}
	p.ReplyTo, p.Thread, p.Mentions, p.Kind, p.Change = m.ReplyTo, m.Thread, m.Mentions, m.Kind, m.Change
	switch c := m.Content.(type) {
	case *v1.Message_Text:
		p.Content = &v1.Publish_Text{Text: c.Text}
	case *v1.Message_Data:
		p.Content = &v1.Publish_Data{Data: c.Data}
	}
	return nil
}

// BringsContent reports whether a publish has something of its user's own to show: a message, an edit or a reaction.
func BringsContent(p *v1.Publish) bool {
	switch op := p.Change.GetOp().(type) {
	case nil, *v1.Change_Edit:
		return true
	case *v1.Change_React:
		return !op.React.GetRemove()
	}
	return false
}

// CheckPublish says what is wrong with a publish, in a sentence for its sender; "" is nothing.
func CheckPublish(p *v1.Publish) string {
	text, isText := p.Content.(*v1.Publish_Text)
	_, isEdit := p.Change.GetOp().(*v1.Change_Edit)
	switch {
	case len(p.Key) > MaxKey || !utf8.ValidString(p.Key):
		return "key is at most 128 bytes of UTF-8."
	case isText && !utf8.ValidString(text.Text):
		return "text is not UTF-8; send bytes as data."
	case p.ReplyTo > MaxInteger || p.Thread > MaxInteger:
		return "replyTo and thread are sequence numbers, at most 2^53-1."
	case len(p.Mentions) > MaxMentions:
		return "A message mentions 50 users at most."
	case len(p.Kind) > MaxKind || !utf8.ValidString(p.Kind) || strings.ContainsFunc(p.Kind, notInWord):
		return "kind is one word of at most 64 bytes."
	case p.Change == nil && p.Content == nil:
		return "A publish has text or data."
	}
	for _, user := range p.Mentions {
		if !ValidName(user) {
			return "mentions are names of users: 1 to 128 bytes of UTF-8 without control characters."
		}
	}
	switch {
	case p.Change == nil:
		return ""
	case p.Ephemeral:
		return "A change is stored; it can't be ephemeral."
	case p.Change.Target == 0 || p.Change.Target > MaxInteger:
		return "A change has a target, the sequence number of a message."
	case p.Change.Op == nil:
		return "A change is one of edit, delete, react and pin."
	case p.ReplyTo != 0 || p.Thread != 0 || p.Kind != "":
		return "A change has no replyTo, thread or kind: the message keeps its own."
	case isEdit && p.Content == nil:
		return "An edit has text or data."
	case !isEdit && (p.Content != nil || len(p.Mentions) > 0):
		return "Only an edit has a content and mentions."
	}
	if react, ok := p.Change.Op.(*v1.Change_React); ok {
		r := react.React.GetReaction()
		if r == "" || len(r) > MaxReaction || !utf8.ValidString(r) || strings.ContainsFunc(r, unicode.IsControl) {
			return "A reaction is 1 to 64 bytes of UTF-8 without control characters."
		}
	}
	return ""
}

func notInWord(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// ReadContent takes apart what AppendContent wrote. value is a view into content; text says whether
// it is a text or bytes. ok is false for anything that AppendTextContent and AppendDataContent would
// not write from it byte for byte, so for contents with more than one field too.
func ReadContent(content []byte) (value []byte, text, ok bool) {
	field, kind, n := protowire.ConsumeTag(content)
	if n != 1 || kind != protowire.BytesType || field != fieldMessageText && field != fieldMessageData {
		return nil, false, false
	}
	value, size := protowire.ConsumeBytes(content[n:])
	// A length may be written in more bytes than it needs; ours is not.
	if size < 0 || size != protowire.SizeBytes(len(value)) || n+size != len(content) {
		return nil, false, false
	}
	return value, field == fieldMessageText, true
}

// AppendTextContent and AppendDataContent append the content that AppendContent would for a publish
// of this text or these bytes.
func AppendTextContent(dst, text []byte) []byte {
	dst = protowire.AppendTag(dst, fieldMessageText, protowire.BytesType)
	return protowire.AppendBytes(dst, text)
}

func AppendDataContent(dst, data []byte) []byte {
	dst = protowire.AppendTag(dst, fieldMessageData, protowire.BytesType)
	return protowire.AppendBytes(dst, data)
}

// StoredContents is what storage/interchange does not know of the bodies of messages.
type StoredContents struct{}

// Read takes a content apart that is a text or bytes and nothing else.
func (StoredContents) Read(body []byte) (value []byte, text, ok bool) { return ReadContent(body) }

// Append puts it together again.
func (StoredContents) Append(dst, value []byte, text bool) []byte {
	if text {
		return AppendTextContent(dst, value)
	}
	return AppendDataContent(dst, value)
}

// Reading is what any content says, for people.
func (StoredContents) Reading(body []byte) string {
	reading, _ := AppendContentJSON(nil, body)
	return string(reading)
}
