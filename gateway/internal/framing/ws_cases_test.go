package framing

import "strings"

// streamCase is what a client sends and what must come of it, however it is cut.
type streamCase struct {
	name    string
	stream  string
	events  []string
	pending bool // at the end of the stream something is half here
}

const caseLimit = 70000

var (
	text125 = strings.Repeat("a", 125)
	text126 = strings.Repeat("b", 126)
	text64K = strings.Repeat("c", 65536)
)

// One 16-bit and one 64-bit length of a payload that isn't there yet.
var (
	length126 = []byte{126, 0, 126}
	length64K = []byte{127, 0, 0, 0, 0, 0, 1, 0, 0}
)

var streamCases = []streamCase{
	// Whole messages.
	{"empty text", join(clientFrame(fin|1, "")), []string{`text ""`}, false},
	{"text", join(clientFrame(fin|1, "Hello")), []string{`text "Hello"`}, false},
	{"binary", join(clientFrame(fin|2, "\x00\xff\xfe")), []string{`binary "\x00\xff\xfe"`}, false},
	{"ping, pong, close", join(clientFrame(fin|9, "p"), clientFrame(fin|10, "q"), clientFrame(fin|8, "\x03\xe8bye")), []string{`ping "p"`, `pong "q"`, `close "\x03\xe8bye"`}, false},
	{"two messages", join(clientFrame(fin|1, "one"), clientFrame(fin|2, "two")), []string{`text "one"`, `binary "two"`}, false},
	{"125 bytes", join(clientFrame(fin|1, text125)), []string{`text 125 bytes "aaaaaaaaaaaaaaaaaaaa"`}, false},
	{"126 bytes", join(clientFrame(fin|1, text126)), []string{`text 126 bytes "bbbbbbbbbbbbbbbbbbbb"`}, false},
	{"ping of 125 bytes", join(clientFrame(fin|9, text125)), []string{`ping 125 bytes "aaaaaaaaaaaaaaaaaaaa"`}, false},

	// Fragments, RFC 6455 5.4.
	{"two fragments", join(clientFrame(1, "Hel"), clientFrame(finContinuation, "lo")), []string{`text "Hello"`}, false},
	{"empty fragments", join(clientFrame(1, ""), clientFrame(0, ""), clientFrame(finContinuation, "")), []string{`text ""`}, false},
	{"empty last fragment", join(clientFrame(2, "abc"), clientFrame(finContinuation, "")), []string{`binary "abc"`}, false},
	{"empty first fragment", join(clientFrame(2, ""), clientFrame(finContinuation, "abc")), []string{`binary "abc"`}, false},
	{"many fragments and a message after", join(clientFrame(2, "a"), clientFrame(0, "b"), clientFrame(0, "c"), clientFrame(finContinuation, "d"), clientFrame(fin|1, "next")), []string{`binary "abcd"`, `text "next"`}, false},
	{"two fragmented messages", join(clientFrame(1, "a"), clientFrame(finContinuation, "b"), clientFrame(2, "c"), clientFrame(finContinuation, "d")), []string{`text "ab"`, `binary "cd"`}, false},
	{"ping between fragments", join(clientFrame(1, "Hel"), clientFrame(fin|9, "now"), clientFrame(finContinuation, "lo")), []string{`ping "now"`, `text "Hello"`}, false},
	{"ping, pong and close between fragments", join(clientFrame(1, "a"), clientFrame(fin|9, ""), clientFrame(fin|10, "x"), clientFrame(0, "b"), clientFrame(fin|8, "")), []string{`ping ""`, `pong "x"`, `close ""`}, true},
	{"ping inside a character", join(clientFrame(1, "\xe2\x82"), clientFrame(fin|9, ""), clientFrame(finContinuation, "\xac")), []string{`ping ""`, `text "€"`}, false},

	// Half.
	{"nothing", "", nil, false},
	{"one byte", "\x81", nil, true},
	{"header only", join(clientFrameLength(fin|1, []byte{5}, "")), nil, true},
	{"half a frame after a message", join(clientFrame(fin|1, "a"), clientFrameLength(fin|2, []byte{5}, "abc")), []string{`text "a"`}, true},
	{"half a message", join(clientFrame(1, "a")), nil, true},
	{"half a ping in half a message", join(clientFrame(1, "a"), clientFrameLength(fin|9, []byte{5}, "abc")), nil, true},

	// RFC 6455 5.2: reserved bits.
	{"RSV1", join(clientFrame(fin|rsv1|1, "a")), []string{"fault 1002"}, false},
	{"RSV2", join(clientFrame(fin|rsv2|2, "a")), []string{"fault 1002"}, false},
	{"RSV3 on a ping", join(clientFrame(fin|rsv3|9, "a")), []string{"fault 1002"}, false},
	{"RSV on a continuation", join(clientFrame(1, "a"), clientFrame(finContinuation|rsv1, "b")), []string{"fault 1002"}, false},
	{"RSV after a message", join(clientFrame(fin|1, "a"), clientFrame(fin|rsv1|1, "b")), []string{`text "a"`, "fault 1002"}, false},

	// RFC 6455 5.2: reserved opcodes.
	{"opcode 3", join(clientFrame(fin|3, "")), []string{"fault 1002"}, false},
	{"opcode 4", join(clientFrame(fin|4, "")), []string{"fault 1002"}, false},
	{"opcode 5", join(clientFrame(fin|5, "")), []string{"fault 1002"}, false},
	{"opcode 6", join(clientFrame(fin|6, "")), []string{"fault 1002"}, false},
	{"opcode 7", join(clientFrame(fin|7, "")), []string{"fault 1002"}, false},
	{"opcode 11", join(clientFrame(fin|11, "")), []string{"fault 1002"}, false},
	{"opcode 12", join(clientFrame(fin|12, "")), []string{"fault 1002"}, false},
	{"opcode 13", join(clientFrame(fin|13, "")), []string{"fault 1002"}, false},
	{"opcode 14", join(clientFrame(fin|14, "")), []string{"fault 1002"}, false},
	{"opcode 15", join(clientFrame(fin|15, "")), []string{"fault 1002"}, false},

	// RFC 6455 5.1: the mask.
	{"unmasked text", "\x81\x01a", []string{"fault 1002"}, false},
	{"unmasked ping", "\x89\x00", []string{"fault 1002"}, false},
	{"unmasked close", "\x88\x00", []string{"fault 1002"}, false},
	{"unmasked continuation", join(clientFrame(1, "a"), []byte("\x80\x01b")), []string{"fault 1002"}, false},

	// RFC 6455 5.5: control frames.
	{"ping of 126 bytes", join(clientFrame(fin|9, text126)), []string{"fault 1002"}, false},
	{"close of 126 bytes", join(clientFrame(fin|8, text126)), []string{"fault 1002"}, false},
	{"ping with a 64-bit length", join(clientFrameLength(fin|9, length64K, "")), []string{"fault 1002"}, false},
	{"fragmented ping", join(clientFrame(9, "a")), []string{"fault 1002"}, false},
	{"fragmented pong", join(clientFrame(10, "a")), []string{"fault 1002"}, false},
	{"fragmented close", join(clientFrame(8, "\x03\xe8")), []string{"fault 1002"}, false},

	// RFC 6455 5.4: the order of fragments.
	{"continuation of nothing", join(clientFrame(finContinuation, "a")), []string{"fault 1002"}, false},
	{"open continuation of nothing", join(clientFrame(0, "a")), []string{"fault 1002"}, false},
	{"continuation after a whole message", join(clientFrame(fin|1, "a"), clientFrame(finContinuation, "b")), []string{`text "a"`, "fault 1002"}, false},
	{"continuation after a joined message", join(clientFrame(1, "a"), clientFrame(finContinuation, "b"), clientFrame(finContinuation, "c")), []string{`text "ab"`, "fault 1002"}, false},
	{"text inside a text", join(clientFrame(1, "a"), clientFrame(fin|1, "b")), []string{"fault 1002"}, false},
	{"binary inside a text", join(clientFrame(1, "a"), clientFrame(2, "b")), []string{"fault 1002"}, false},

	// RFC 6455 5.2: the length.
	{"16-bit form of 125", join(clientFrameLength(fin|1, []byte{126, 0, 125}, text125)), []string{"fault 1002"}, false},
	{"16-bit form of 0", join(clientFrameLength(fin|1, []byte{126, 0, 0}, "")), []string{"fault 1002"}, false},
	{"64-bit form of 65535", join(clientFrameLength(fin|1, []byte{127, 0, 0, 0, 0, 0, 0, 255, 255}, "")), []string{"fault 1002"}, false},
	{"64-bit form of 5", join(clientFrameLength(fin|2, []byte{127, 0, 0, 0, 0, 0, 0, 0, 5}, "abcde")), []string{"fault 1002"}, false},
	{"top bit of a 64-bit length", join(clientFrameLength(fin|2, []byte{127, 128, 0, 0, 0, 0, 0, 0, 0}, "")), []string{"fault 1002"}, false},
	{"16-bit length, half", join(clientFrameLength(fin|2, length126, "abc")), nil, true},
	{"64-bit length, half", join(clientFrameLength(fin|2, length64K, "abc")), nil, true},

	// Limit of a message, caseLimit bytes.
	{"largest 64-bit length", join(clientFrameLength(fin|2, []byte{127, 127, 255, 255, 255, 255, 255, 255, 255}, "")), []string{"fault 1009"}, false},
	{"over the limit by one", join(clientFrameLength(fin|2, []byte{127, 0, 0, 0, 0, 0, 1, 0x11, 0x71}, "")), []string{"fault 1009"}, false},
	{"at the limit", join(clientFrameLength(fin|2, []byte{127, 0, 0, 0, 0, 0, 1, 0x11, 0x70}, "")), nil, true},
	{"over the limit by its second fragment", join(clientFrame(2, text126), clientFrameLength(finContinuation, []byte{127, 0, 0, 0, 0, 0, 1, 0x10, 0xf3}, "")), []string{"fault 1009"}, false},
	{"at the limit with its second fragment", join(clientFrame(2, text126), clientFrameLength(finContinuation, []byte{127, 0, 0, 0, 0, 0, 1, 0x10, 0xf2}, "")), nil, true},
	{"a ping doesn't count", join(clientFrame(2, text126), clientFrame(fin|9, text125), clientFrameLength(finContinuation, []byte{127, 0, 0, 0, 0, 0, 1, 0x10, 0xf2}, "")), []string{`ping 125 bytes "aaaaaaaaaaaaaaaaaaaa"`}, true},

	// RFC 6455 8.1: UTF-8.
	{"text in many scripts", join(clientFrame(fin|1, "κόσμε €𝄞\u0000\U0010ffff")), []string{`text "κόσμε €𝄞\x00\U0010ffff"`}, false},
	{"character in two fragments", join(clientFrame(1, "\xf0\x9d"), clientFrame(finContinuation, "\x84\x9e")), []string{`text "𝄞"`}, false},
	{"character in four fragments", join(clientFrame(1, "\xf0"), clientFrame(0, "\x9d"), clientFrame(0, "\x84"), clientFrame(finContinuation, "\x9e")), []string{`text "𝄞"`}, false},
	{"0xff", join(clientFrame(fin|1, "a\xffb")), []string{"fault 1007"}, false},
	{"continuation byte alone", join(clientFrame(fin|1, "\x80")), []string{"fault 1007"}, false},
	{"overlong slash", join(clientFrame(fin|1, "\xc0\xaf")), []string{"fault 1007"}, false},
	{"overlong in three bytes", join(clientFrame(fin|1, "\xe0\x80\xaf")), []string{"fault 1007"}, false},
	{"overlong in four bytes", join(clientFrame(fin|1, "\xf0\x80\x80\xaf")), []string{"fault 1007"}, false},
	{"surrogate", join(clientFrame(fin|1, "\xed\xa0\x80")), []string{"fault 1007"}, false},
	{"beyond U+10FFFF", join(clientFrame(fin|1, "\xf4\x90\x80\x80")), []string{"fault 1007"}, false},
	{"ends inside a character", join(clientFrame(fin|1, "a\xe2\x82")), []string{"fault 1007"}, false},
	{"last fragment ends inside a character", join(clientFrame(1, "a\xe2"), clientFrame(finContinuation, "\x82")), []string{"fault 1007"}, false},
	{"empty last fragment inside a character", join(clientFrame(1, "a\xe2"), clientFrame(finContinuation, "")), []string{"fault 1007"}, false},
	{"bad byte in a later fragment", join(clientFrame(1, "a\xe2"), clientFrame(0, "b")), []string{"fault 1007"}, false},
	{"bad byte in half a frame", join(clientFrameLength(fin|1, []byte{100}, "ok\xc0")), []string{"fault 1007"}, false},
	{"surrogate at its second byte", join(clientFrameLength(fin|1, []byte{100}, "\xed\xa0")), []string{"fault 1007"}, false},
	{"character half here", join(clientFrameLength(fin|1, []byte{100}, "\xed\x9f")), nil, true},
	{"binary may be anything", join(clientFrame(2, "\xff"), clientFrame(finContinuation, "\xc0\xaf")), []string{`binary "\xff\xc0\xaf"`}, false},
	{"ping may be anything", join(clientFrame(fin|9, "\xff")), []string{`ping "\xff"`}, false},
}
