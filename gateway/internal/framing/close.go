package framing

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// maxCloseReason is what a control frame leaves beside the two bytes of the code.
const maxCloseReason = ws.MaxControlFramePayloadSize - 2

// ParseClose reads the payload of a Close frame. Without a payload the code is
// 1005, which AppendClose turns back into none. An error is a ProtocolError:
// its code is the one to answer with.
func ParseClose(payload []byte) (code uint16, reason string, err error) {
	// RFC 6455 7.1.5: "If this Close control frame contains no status code, _The
	// WebSocket Connection Close Code_ is considered to be 1005."
	if len(payload) == 0 {
		return codeNoStatus, "", nil
	}
	// RFC 6455 5.5.1: "If there is a body, the first two bytes of the body MUST
	// be a 2-byte unsigned integer".
	if len(payload) == 1 {
		return 0, "", faultCloseLength
	}
	code = binary.BigEndian.Uint16(payload)
	if !sendableCloseCode(code) {
		return 0, "", faultCloseCode
	}
	// RFC 6455 5.5.1: "the body MAY contain UTF-8-encoded data"; 8.1: text that
	// is not UTF-8 fails the connection.
	if !utf8.Valid(payload[2:]) {
		return 0, "", faultCloseReason
	}
	return code, string(payload[2:]), nil
}

// sendableCloseCode is our own check because ws.CheckCloseFrameData refuses
// 1012 to 1014, which IANA registered after the RFC.
func sendableCloseCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003:
		return true
	// RFC 6455 7.4.1: 1004 is reserved; 1005, 1006 and 1015 "MUST NOT be set as
	// a status code in a Close control frame by an endpoint".
	case code >= 1007 && code <= 1014:
		return true
	// RFC 6455 7.4.2: 3000 to 3999 are registered by libraries and
	// applications, 4000 to 4999 are for private use.
	case code >= 3000 && code <= 4999:
		return true
	}
	return false
}

// AppendClose appends a whole Close frame. A reason of more than 123 bytes is
// cut between two characters. A code that may not be sent (1005 for "none",
// 1006, …) gives a Close without a body: a connection that is being closed for
// a strange reason must still be closed in order.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if !sendableCloseCode(code) {
		return AppendHeader(dst, ws.OpClose, 0)
	}
	reason = cutReason(reason)
	dst = AppendHeader(dst, ws.OpClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}

func cutReason(reason string) string {
	if !utf8.ValidString(reason) {
		reason = strings.ToValidUTF8(reason, string(utf8.RuneError))
	}
	if len(reason) <= maxCloseReason {
		return reason
	}
	end := maxCloseReason
	for !utf8.RuneStart(reason[end]) {
		end--
	}
	return reason[:end]
}
