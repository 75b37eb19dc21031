package gateway_test

import "fmt"

func closeCases() (cases []conformanceCase) {
	body := func(code uint16, reason string) []byte {
		return sent(fin|opClose, string(closeBody(code, reason)))
	}
	for _, code := range []uint16{
		1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
	} {
		cases = append(cases,
			conformanceCase{fmt.Sprintf("7.4 code %d is answered with the same", code), body(code, ""), nil, answers(code)},
			conformanceCase{fmt.Sprintf("7.4 code %d with a reason", code), body(code, "because κόσμε"), nil, answers(code)})
	}
	for _, code := range []uint16{
		0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535,
	} {
		bare := string([]byte{byte(code >> 8), byte(code)})
		cases = append(cases,
			conformanceCase{fmt.Sprintf("7.4 code %d may not be sent", code), sent(fin|opClose, bare), nil, fails(1002)},
			conformanceCase{fmt.Sprintf("7.4 code %d may not be sent, with a reason", code), sent(fin|opClose, bare+"because"), nil, fails(1002)})
	}
	normal := body(1000, "")
	return append(cases, []conformanceCase{
		{"5.5.1 close without a body", sent(fin|opClose, ""), nil, answers(1005, 1000)},
		{"5.5.1 close with a body of one byte", sent(fin|opClose, "\x03"), nil, fails(1002)},
		{"5.5.1 reason of 123 bytes", body(1000, letters(123)), nil, answers(1000)},
		{"5.5.1 reason of 124 bytes", body(1000, letters(124)), nil, fails(1002)},
		{"5.5.1 reason is not UTF-8", body(1000, "\xce\xba\xe1\xbd\xb9\xed\xa0\x80"), nil, fails(1007)},
		{"5.5.1 reason ends inside a character", body(1000, "\xe2\x82"), nil, fails(1007)},
		{"5.5.1 messages in front of a close come back first", all(sent(fin|opText, "one"), sent(fin|opPing, "two"), normal), []frame{echoed(opText, "one"), echoed(opPong, "two")}, answers(1000)},
		{"5.5.1 close in the middle of a message", all(sent(opText, "half"), normal), nil, answers(1000)},
		{"5.5.1 text after a close is ignored", all(normal, sent(fin|opText, "late")), nil, ignoresRest(1000)},
		{"5.5.1 ping after a close is ignored", all(normal, sent(fin|opPing, "late")), nil, ignoresRest(1000)},
		{"5.5.1 last fragment after a close is ignored", all(sent(opText, "half"), normal, sent(lastFragment, "late")), nil, ignoresRest(1000)},
		{"5.5.1 second close is ignored", all(normal, body(1001, "")), nil, ignoresRest(1000)},
		{"5.5.1 rubbish after a close is ignored", all(normal, []byte("\xff\xff\xff\xffGET / HTTP/1.1\r\n\r\n")), nil, ignoresRest(1000)},
	}...)
}
