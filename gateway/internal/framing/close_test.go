package framing

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseClose(t *testing.T) {
	cases := []struct {
		name    string
		payload string
		code    uint16
		reason  string
		fault   uint16
	}{
		{"no body", "", 1005, "", 0},
		{"one byte", "\x03", 0, "", 1002},
		{"code alone", "\x03\xe8", 1000, "", 0},
		{"code and reason", "\x03\xe9going", 1001, "going", 0},
		{"reason in Greek", "\x0f\xa0κόσμε", 4000, "κόσμε", 0},
		{"reason not UTF-8", "\x03\xe8\xff", 0, "", 1007},
		{"reason ends inside a character", "\x03\xe8\xe2\x82", 0, "", 1007},
		{"bad code and bad reason", "\x00\x00\xff", 0, "", 1002},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, reason, err := ParseClose([]byte(c.payload))
			if code != c.code || reason != c.reason {
				t.Errorf("ParseClose = %d, %q, want %d, %q", code, reason, c.code, c.reason)
			}
			checkFault(t, err, c.fault)
		})
	}
}

// Every code there is, against the list of RFC 6455 7.4 and IANA's registry.
func TestParseCloseCodes(t *testing.T) {
	valid := map[int]bool{
		1000: true, 1001: true, 1002: true, 1003: true, 1007: true, 1008: true, 1009: true,
		1010: true, 1011: true, 1012: true, 1013: true, 1014: true,
	}
	for code := 3000; code <= 4999; code++ {
		valid[code] = true
	}
	for code := range 1 << 16 {
		payload := binary.BigEndian.AppendUint16(nil, uint16(code))
		got, _, err := ParseClose(payload)
		if valid[code] != (err == nil) {
			t.Errorf("code %d: err = %v, want valid = %v", code, err, valid[code])
		}
		if err == nil && int(got) != code {
			t.Errorf("code %d read as %d", code, got)
		}
		if err != nil {
			checkFault(t, err, 1002)
		}
	}
}

func checkFault(t *testing.T, err error, want uint16) {
	t.Helper()
	if want == 0 {
		if err != nil {
			t.Errorf("err = %v, want none", err)
		}
		return
	}
	var fault *ProtocolError
	if !errors.As(err, &fault) || fault.Code != want {
		t.Errorf("err = %v, want code %d", err, want)
	}
}

func TestAppendClose(t *testing.T) {
	long := strings.Repeat("a", 200)
	cases := []struct {
		name   string
		code   uint16
		reason string
		frame  string
	}{
		{"code alone", 1000, "", "\x88\x02\x03\xe8"},
		{"code and reason", 1001, "bye", "\x88\x05\x03\xe9bye"},
		{"none", 1005, "bye", "\x88\x00"},
		{"never sent", 1006, "bye", "\x88\x00"},
		{"zero", 0, "", "\x88\x00"},
		{"123 bytes", 4000, long[:123], "\x88\x7d\x0f\xa0" + long[:123]},
		{"124 bytes", 4000, long[:124], "\x88\x7d\x0f\xa0" + long[:123]},
		{"cut before a character of two bytes", 4000, long[:122] + "éx", "\x88\x7c\x0f\xa0" + long[:122]},
		{"character ends at 123", 4000, long[:121] + "éx", "\x88\x7d\x0f\xa0" + long[:121] + "é"},
		{"cut before a character of four bytes", 4000, long[:120] + "𝄞x", "\x88\x7a\x0f\xa0" + long[:120]},
		{"not UTF-8", 4000, "a\xffb", "\x88\x07\x0f\xa0a\ufffdb"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := AppendClose([]byte("before"), c.code, c.reason)
			if string(got) != "before"+c.frame {
				t.Errorf("AppendClose = %q, want %q", got, "before"+c.frame)
			}
		})
	}
}

func TestFaultsFitIntoACloseFrame(t *testing.T) {
	for _, fault := range []*ProtocolError{
		faultOpCode, faultControlLength, faultControlFragment, faultReservedBits, faultUnmasked,
		faultInterrupted, faultNothingContinued, faultHeader, faultLengthForm, faultLengthSign,
		faultTooBig, faultText, faultCloseLength, faultCloseCode, faultCloseReason,
	} {
		code, reason, err := ParseClose(AppendClose(nil, fault.Code, fault.Reason)[2:])
		if err != nil || code != fault.Code || reason != fault.Reason {
			t.Errorf("%v came back as %d %q, %v", fault, code, reason, err)
		}
	}
}

func FuzzClose(f *testing.F) {
	f.Add(uint16(1000), "bye")
	f.Add(uint16(1005), strings.Repeat("é", 90))
	f.Fuzz(func(t *testing.T, code uint16, reason string) {
		frame := AppendClose(nil, code, reason)
		if frame[0] != 0x88 || int(frame[1]) != len(frame)-2 || len(frame) > 127 {
			t.Fatalf("frame %x", frame)
		}
		gotCode, gotReason, err := ParseClose(frame[2:])
		if err != nil {
			t.Fatalf("our own Close is refused: %v", err)
		}
		if gotCode != code && gotCode != 1005 {
			t.Fatalf("code %d became %d", code, gotCode)
		}
		if gotCode == code && code != 1005 && utf8.ValidString(reason) && len(reason) <= 123 && gotReason != reason {
			t.Fatalf("reason %q became %q", reason, gotReason)
		}
	})
}
