package proto

import (
	"google.golang.org/protobuf/encoding/protowire"
)

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
