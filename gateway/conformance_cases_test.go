package gateway_test

import (
	"fmt"
	"slices"
	"strings"
)

// echo is a case of whole messages that come back as they are.
func echo(name string, op byte, payload string) conformanceCase {
	return conformanceCase{name, sent(fin|op, payload), []frame{echoed(op, payload)}, staysOpen}
}

// letters is a text in which a byte in the wrong place shows.
func letters(size int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-" // 37, in step with no mask or buffer
	return strings.Repeat(alphabet, size/len(alphabet)+1)[:size]
}

func messageCases() (cases []conformanceCase) {
	for _, size := range []int{0, 1, 125, 126, 127, 128, 65535, 65536} {
		cases = append(cases,
			echo(fmt.Sprintf("5.6 text of %d bytes", size), opText, letters(size)),
			echo(fmt.Sprintf("5.6 binary of %d bytes", size), opBinary, strings.Repeat("\xfe\x00\xff", size)[:size]))
	}
	return append(cases,
		conformanceCase{"5.6 messages come back in order",
			all(sent(fin|opText, "one"), sent(fin|opBinary, "two"), sent(fin|opText, ""), sent(fin|opText, "three")),
			[]frame{echoed(opText, "one"), echoed(opBinary, "two"), echoed(opText, ""), echoed(opText, "three")}, staysOpen},
		echo("5.6 binary may hold any bytes", opBinary, "\xff\xc0\x80\xed\xa0\x80\x00"),
	)
}

func fragmentCases() []conformanceCase {
	// As many fragments as an intermediary might make of a long message.
	var chopped []byte
	for piece := range slices.Chunk([]byte(letters(messageLimit)), 1300) {
		first := byte(0)
		if len(chopped) == 0 {
			first = opText
		}
		chopped = append(chopped, sent(first, string(piece))...)
	}
	chopped = append(chopped, sent(lastFragment, "")...)

	hello := []frame{echoed(opText, "Hello")}
	return []conformanceCase{
		{"5.4 two fragments are one text", all(sent(opText, "Hel"), sent(lastFragment, "lo")), hello, staysOpen},
		{"5.4 two fragments are one binary", all(sent(opBinary, "\xff"), sent(lastFragment, "\xfe")), []frame{echoed(opBinary, "\xff\xfe")}, staysOpen},
		{"5.4 five fragments", all(sent(opText, "H"), sent(0, "e"), sent(0, "l"), sent(0, "l"), sent(lastFragment, "o")), hello, staysOpen},
		{"5.4 empty fragments", all(sent(opText, ""), sent(0, ""), sent(lastFragment, "")), []frame{echoed(opText, "")}, staysOpen},
		{"5.4 empty first fragment", all(sent(opText, ""), sent(lastFragment, "Hello")), hello, staysOpen},
		{"5.4 empty middle fragment", all(sent(opText, "Hel"), sent(0, ""), sent(lastFragment, "lo")), hello, staysOpen},
		{"5.4 empty last fragment", all(sent(opText, "Hello"), sent(lastFragment, "")), hello, staysOpen},
		{"5.4 a message after a fragmented one", all(sent(opText, "Hel"), sent(lastFragment, "lo"), sent(fin|opText, "next")), []frame{echoed(opText, "Hello"), echoed(opText, "next")}, staysOpen},
		{"5.4 two fragmented messages", all(sent(opText, "Hel"), sent(lastFragment, "lo"), sent(opBinary, "a"), sent(lastFragment, "b")), []frame{echoed(opText, "Hello"), echoed(opBinary, "ab")}, staysOpen},
		{"5.4 a long message in fragments of 1300 bytes", chopped, []frame{echoed(opText, letters(messageLimit))}, staysOpen},

		{"5.4 ping between fragments is answered at once", all(sent(opText, "Hel"), sent(fin|opPing, "now"), sent(lastFragment, "lo")), []frame{echoed(opPong, "now"), echoed(opText, "Hello")}, staysOpen},
		{"5.4 ping is answered before the message ends", all(sent(fin|opText, "whole"), sent(opText, "never"), sent(fin|opPing, "now"), sent(fin|opClose, "\x03\xe8")), []frame{echoed(opText, "whole"), echoed(opPong, "now")}, answers(1000)},
		{"5.4 pong between fragments", all(sent(opText, "Hel"), sent(fin|opPong, ""), sent(lastFragment, "lo")), hello, staysOpen},
		{"5.4 pings between all fragments", all(sent(opText, "H"), sent(fin|opPing, "1"), sent(0, "el"), sent(fin|opPing, "2"), sent(fin|opPing, "3"), sent(lastFragment, "lo")), []frame{echoed(opPong, "1"), echoed(opPong, "2"), echoed(opPong, "3"), echoed(opText, "Hello")}, staysOpen},
		{"5.5.1 close between fragments", all(sent(opText, "Hel"), sent(fin|opClose, "\x03\xe8")), nil, answers(1000)},

		{"5.4 continuation of nothing", sent(lastFragment, "lo"), nil, fails(1002)},
		{"5.4 open continuation of nothing", sent(0, "lo"), nil, fails(1002)},
		{"5.4 empty continuation of nothing", sent(lastFragment, ""), nil, fails(1002)},
		{"5.4 continuation after a whole message", all(sent(fin|opText, "Hello"), sent(lastFragment, "lo")), hello, fails(1002)},
		{"5.4 continuation after a fragmented message", all(sent(opText, "Hel"), sent(lastFragment, "lo"), sent(0, "x")), hello, fails(1002)},
		{"5.4 text inside a fragmented text", all(sent(opText, "Hel"), sent(fin|opText, "lo")), nil, fails(1002)},
		{"5.4 binary inside a fragmented text", all(sent(opText, "Hel"), sent(fin|opBinary, "lo")), nil, fails(1002)},
		{"5.4 new fragments inside fragments", all(sent(opBinary, "Hel"), sent(0, "l"), sent(opBinary, "o")), nil, fails(1002)},
	}
}

func controlCases() (cases []conformanceCase) {
	for size := range 126 {
		payload := letters(size)
		cases = append(cases, conformanceCase{fmt.Sprintf("5.5.3 pong carries the ping's %d bytes", size),
			sent(fin|opPing, payload), []frame{echoed(opPong, payload)}, staysOpen})
	}
	var pings []byte
	var pongs []frame
	for i := range 10 {
		payload := fmt.Sprintf("ping %d", i)
		pings = append(pings, sent(fin|opPing, payload)...)
		pongs = append(pongs, echoed(opPong, payload))
	}
	long := letters(126)
	return append(cases, []conformanceCase{
		{"5.5.3 a pong for each of ten pings, in order", pings, pongs, staysOpen},
		{"5.5.2 ping may hold any bytes", sent(fin|opPing, "\xff\x00\xc0"), []frame{echoed(opPong, "\xff\x00\xc0")}, staysOpen},
		{"5.5.3 unsolicited pong is ignored", sent(fin|opPong, ""), nil, staysOpen},
		{"5.5.3 unsolicited pong with a payload is ignored", sent(fin|opPong, letters(125)), nil, staysOpen},
		{"5.5.3 unsolicited pong beside a ping", all(sent(fin|opPong, "a"), sent(fin|opPing, "b"), sent(fin|opPong, "b")), []frame{echoed(opPong, "b")}, staysOpen},
		{"5.5 ping of 126 bytes", sent(fin|opPing, long), nil, fails(1002)},
		{"5.5 pong of 126 bytes", sent(fin|opPong, long), nil, fails(1002)},
		{"5.5 close of 126 bytes", sent(fin|opClose, "\x03\xe8"+long[2:]), nil, fails(1002)},
		{"5.5 ping with a 64-bit length", sentAs(fin|opPing, length64(1<<16), mask, ""), nil, fails(1002)},
		{"5.5 fragmented ping", all(sent(opPing, "a"), sent(lastFragment, "b")), nil, fails(1002)},
		{"5.5 fragmented pong", sent(opPong, "a"), nil, fails(1002)},
		{"5.5 fragmented close", sent(opClose, "\x03\xe8"), nil, fails(1002)},
		{"5.5 fragmented ping inside a message", all(sent(opText, "a"), sent(opPing, "b")), nil, fails(1002)},
	}...)
}

func reservedCases() (cases []conformanceCase) {
	names := map[byte]string{opText: "text", opBinary: "binary", opPing: "ping", opPong: "pong", opClose: "close"}
	before := sent(fin|opText, "before")
	for bits := byte(1); bits < 8; bits++ {
		for _, op := range []byte{opText, opBinary, opPing, opPong, opClose} {
			cases = append(cases, conformanceCase{fmt.Sprintf("5.2 reserved bits %03b on a %s", bits, names[op]),
				all(before, sent(fin|bits<<4|op, "\x03\xe8")), []frame{echoed(opText, "before")}, fails(1002)})
		}
		cases = append(cases, conformanceCase{fmt.Sprintf("5.2 reserved bits %03b on a continuation", bits),
			all(sent(opText, "a"), sent(lastFragment|bits<<4, "b")), nil, fails(1002)})
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		cases = append(cases,
			conformanceCase{fmt.Sprintf("5.2 reserved opcode %d", op), sent(fin|op, ""), nil, fails(1002)},
			conformanceCase{fmt.Sprintf("5.2 reserved opcode %d with a payload", op),
				all(before, sent(fin|op, "payload")), []frame{echoed(opText, "before")}, fails(1002)},
			conformanceCase{fmt.Sprintf("5.2 reserved opcode %d inside a message", op),
				all(sent(opText, "a"), sent(fin|op, "b")), nil, fails(1002)})
	}
	return cases
}

func headerCases() []conformanceCase {
	masked := func(key [4]byte, payload string) []byte {
		return sentAs(fin|opText, lengthField(len(payload)), key, payload)
	}
	long := letters(100)
	return []conformanceCase{
		{"5.3 mask of zeros", masked([4]byte{}, long), []frame{echoed(opText, long)}, staysOpen},
		{"5.3 mask of ones", masked([4]byte{255, 255, 255, 255}, long), []frame{echoed(opText, long)}, staysOpen},
		{"5.3 each frame has its own mask", all(masked([4]byte{1, 2, 3, 4}, long), masked([4]byte{5, 6, 7, 8}, long)), []frame{echoed(opText, long), echoed(opText, long)}, staysOpen},
		{"5.3 each fragment has its own mask", all(sentAs(opText, []byte{3}, [4]byte{1, 2, 3, 4}, "Hel"), sentAs(lastFragment, []byte{2}, [4]byte{5, 6, 7, 8}, "lo")), []frame{echoed(opText, "Hello")}, staysOpen},

		{"5.1 unmasked text", []byte{fin | opText, 1, 'a'}, nil, fails(1002)},
		{"5.1 unmasked empty text", []byte{fin | opText, 0}, nil, fails(1002)},
		{"5.1 unmasked binary", []byte{fin | opBinary, 1, 'a'}, nil, fails(1002)},
		{"5.1 unmasked ping", []byte{fin | opPing, 0}, nil, fails(1002)},
		{"5.1 unmasked pong", []byte{fin | opPong, 0}, nil, fails(1002)},
		{"5.1 unmasked close", []byte{fin | opClose, 2, 0x03, 0xe8}, nil, fails(1002)},
		{"5.1 unmasked continuation", all(sent(opText, "a"), []byte{lastFragment, 1, 'b'}), nil, fails(1002)},

		{"5.2 16-bit form of length 0", sentAs(fin|opText, length16(0), mask, ""), nil, fails(1002)},
		{"5.2 16-bit form of length 125", sentAs(fin|opText, length16(125), mask, letters(125)), nil, fails(1002)},
		{"5.2 64-bit form of length 5", sentAs(fin|opText, length64(5), mask, "Hello"), nil, fails(1002)},
		{"5.2 64-bit form of length 65535", sentAs(fin|opText, length64(65535), mask, ""), nil, fails(1002)},
		{"5.2 top bit of a 64-bit length", sentAs(fin|opBinary, length64(1<<63), mask, ""), nil, fails(1002)},
		{"5.2 all bits of a 64-bit length", sentAs(fin|opBinary, length64(1<<64-1), mask, ""), nil, fails(1002)},
	}
}

func limitCases() []conformanceCase {
	half := letters(messageLimit / 2)
	whole := letters(messageLimit)
	return []conformanceCase{
		{"10.4 message of exactly the limit", sent(fin|opText, whole), []frame{echoed(opText, whole)}, staysOpen},
		{"10.4 fragments of exactly the limit", all(sent(opText, half), sent(lastFragment, half)), []frame{echoed(opText, half+half)}, staysOpen},
		{"10.4 a ping inside doesn't count", all(sent(opText, half), sent(fin|opPing, letters(125)), sent(lastFragment, half)), []frame{echoed(opPong, letters(125)), echoed(opText, half+half)}, staysOpen},
		{"10.4 the limit is for each message", all(sent(fin|opText, half), sent(fin|opText, half), sent(fin|opText, half)), []frame{echoed(opText, half), echoed(opText, half), echoed(opText, half)}, staysOpen},
		{"10.4 one byte over, announced", sentAs(fin|opBinary, length64(messageLimit+1), mask, ""), nil, fails(1009)},
		{"10.4 one byte over, sent", sent(fin|opText, whole+"x"), nil, fails(1009)},
		{"10.4 one byte over in the last fragment", all(sent(opText, whole), sent(lastFragment, "x")), nil, fails(1009)},
		{"10.4 largest length there is", sentAs(fin|opBinary, length64(1<<63-1), mask, ""), nil, fails(1009)},
		{"10.4 largest length in a second fragment", all(sent(opBinary, "a"), sentAs(lastFragment, length64(1<<63-1), mask, "")), nil, fails(1009)},
	}
}
