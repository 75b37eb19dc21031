package gateway_test

import "fmt"

// RFC 6455 8.1 with the sequences of RFC 3629: which are UTF-8 and which aren't. Where a
// byte proves the fault, the server must not wait for more: the cases that announce a
// longer frame than they send see to that.

func textCases() (cases []conformanceCase) {
	valid := []struct{ name, text string }{
		{"first of one byte, U+0000", "\x00"},
		{"last of one byte, U+007F", "\x7f"},
		{"first of two bytes, U+0080", "\xc2\x80"},
		{"last of two bytes, U+07FF", "\xdf\xbf"},
		{"first of three bytes, U+0800", "\xe0\xa0\x80"},
		{"last before the surrogates, U+D7FF", "\xed\x9f\xbf"},
		{"first after the surrogates, U+E000", "\xee\x80\x80"},
		{"replacement character, U+FFFD", "\xef\xbf\xbd"},
		{"noncharacter U+FFFE", "\xef\xbf\xbe"},
		{"last of three bytes, U+FFFF", "\xef\xbf\xbf"},
		{"first of four bytes, U+10000", "\xf0\x90\x80\x80"},
		{"last of all, U+10FFFF", "\xf4\x8f\xbf\xbf"},
		{"byte order mark", "\xef\xbb\xbf"},
		{"many scripts", "Hello-µ@ßöäüàá-UTF-8!! κόσμε 日本語 𝄞 👍🏽"},
	}
	for _, v := range valid {
		cases = append(cases, echo("8.1 "+v.name, opText, v.text),
			conformanceCase{"8.1 " + v.name + ", a byte in each fragment", fragmentBytes(v.text), []frame{echoed(opText, v.text)}, staysOpen})
	}

	invalid := []struct{ name, text string }{
		{"byte FF", "\xff"},
		{"byte FE", "\xfe"},
		{"continuation byte alone, first", "\x80"},
		{"continuation byte alone, last", "\xbf"},
		{"two continuation bytes", "\x80\xbf"},
		{"continuation byte too many", "\xc2\x80\x80"},
		{"overlong of two bytes, C0 AF", "\xc0\xaf"},
		{"overlong of two bytes, C1 BF", "\xc1\xbf"},
		{"overlong of three bytes, E0 80 AF", "\xe0\x80\xaf"},
		{"overlong of three bytes, E0 9F BF", "\xe0\x9f\xbf"},
		{"overlong of four bytes, F0 80 80 AF", "\xf0\x80\x80\xaf"},
		{"overlong of four bytes, F0 8F BF BF", "\xf0\x8f\xbf\xbf"},
		{"overlong zero", "\xc0\x80"},
		{"first surrogate, U+D800", "\xed\xa0\x80"},
		{"last high surrogate, U+DBFF", "\xed\xaf\xbf"},
		{"first low surrogate, U+DC00", "\xed\xb0\x80"},
		{"last surrogate, U+DFFF", "\xed\xbf\xbf"},
		{"pair of surrogates", "\xed\xa0\x80\xed\xb0\x80"},
		{"first beyond the end, U+110000", "\xf4\x90\x80\x80"},
		{"first byte F5", "\xf5\x80\x80\x80"},
		{"five bytes", "\xf8\x88\x80\x80\x80"},
		{"six bytes", "\xfc\x84\x80\x80\x80\x80"},
		{"character of two bytes cut short by a letter", "\xc2a"},
		{"character of three bytes cut short by a letter", "\xe2\x82a"},
		{"character of four bytes cut short by a letter", "\xf0\x9d\x84a"},
		{"character begun anew inside another", "\xe2\x82\xe2\x82\xac"},
		{"fault after good text", "κόσμε\xed\xa0\x80edited"},
	}
	for _, v := range invalid {
		cases = append(cases,
			conformanceCase{"8.1 refused: " + v.name, sent(fin|opText, v.text), nil, fails(1007)},
			conformanceCase{"8.1 refused before the frame's end: " + v.name, sentAs(fin|opText, []byte{100}, mask, v.text), nil, fails(1007)},
			conformanceCase{"8.1 refused before the message's end: " + v.name, sent(opText, v.text), nil, fails(1007)},
			conformanceCase{"8.1 refused, a byte in each fragment: " + v.name, fragmentBytes(v.text), nil, fails(1007)})
	}

	for size := 1; size < 4; size++ {
		clef := "\xf0\x9d\x84\x9e"
		cases = append(cases,
			conformanceCase{fmt.Sprintf("8.1 message ends after %d of 4 bytes of a character", size),
				sent(fin|opText, "a"+clef[:size]), nil, fails(1007)},
			conformanceCase{fmt.Sprintf("8.1 last fragment ends after %d of 4 bytes of a character", size),
				all(sent(opText, "a"), sent(lastFragment, clef[:size])), nil, fails(1007)},
			conformanceCase{fmt.Sprintf("8.1 empty last fragment after %d of 4 bytes of a character", size),
				all(sent(opText, clef[:size]), sent(lastFragment, "")), nil, fails(1007)},
			conformanceCase{fmt.Sprintf("8.1 character in two fragments, %d and %d bytes", size, 4-size),
				all(sent(opText, clef[:size]), sent(lastFragment, clef[size:])), []frame{echoed(opText, clef)}, staysOpen},
			conformanceCase{fmt.Sprintf("8.1 ping inside a character, after %d of 4 bytes", size),
				all(sent(opText, clef[:size]), sent(fin|opPing, "\xff"), sent(lastFragment, clef[size:])), []frame{echoed(opPong, "\xff"), echoed(opText, clef)}, staysOpen})
	}
	return append(cases,
		conformanceCase{"8.1 fault at the second byte of a surrogate", sentAs(fin|opText, []byte{100}, mask, "ok\xed\xa0"), nil, fails(1007)},
		conformanceCase{"8.1 fault at the second byte of an overlong form", sentAs(fin|opText, []byte{100}, mask, "ok\xf0\x80"), nil, fails(1007)},
		conformanceCase{"8.1 fault at the second byte beyond U+10FFFF", sentAs(fin|opText, []byte{100}, mask, "ok\xf4\x90"), nil, fails(1007)},
		conformanceCase{"8.1 messages in front of bad text come back", all(sent(fin|opText, "good"), sent(fin|opText, "\xff")), []frame{echoed(opText, "good")}, fails(1007)},
		conformanceCase{"8.1 the next message begins anew", all(sent(opText, "\xe2\x82"), sent(lastFragment, "\xac"), sent(fin|opText, "\xac")), []frame{echoed(opText, "€")}, fails(1007)},
	)
}

// fragmentBytes is text in one fragment for each byte.
func fragmentBytes(text string) (stream []byte) {
	for i := range len(text) {
		first := byte(0)
		if i == 0 {
			first |= opText
		}
		if i == len(text)-1 {
			first |= fin
		}
		stream = append(stream, sent(first, text[i:i+1])...)
	}
	return stream
}
