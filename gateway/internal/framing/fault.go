package framing

import (
	"strconv"

	"github.com/gobwas/ws"
)

// ProtocolError is a fault of the peer after which the connection is closed.
// Code and Reason go into the Close frame as they are: a reason is under 124
// bytes and says what the peer must change.
type ProtocolError struct {
	Code   uint16
	Reason string
}

func (e *ProtocolError) Error() string {
	return "websocket fault " + strconv.Itoa(int(e.Code)) + ": " + e.Reason
}

// The codes of RFC 6455 7.4.1 that this package itself gives out.
const (
	codeProtocolError = uint16(ws.StatusProtocolError)
	codeInvalidData   = uint16(ws.StatusInvalidFramePayloadData)
	codeTooBig        = uint16(ws.StatusMessageTooBig)
	codeNoStatus      = uint16(ws.StatusNoStatusRcvd)
)

// Shared by all connections and never changed: a peer that sends rubbish costs
// no allocation.
var (
	faultOpCode           = &ProtocolError{codeProtocolError, "opcode is reserved (RFC 6455 5.2)"}
	faultControlLength    = &ProtocolError{codeProtocolError, "control frame over 125 bytes (RFC 6455 5.5)"}
	faultControlFragment  = &ProtocolError{codeProtocolError, "control frame is fragmented (RFC 6455 5.5)"}
	faultReservedBits     = &ProtocolError{codeProtocolError, "reserved bit set, no extension was agreed (RFC 6455 5.2)"}
	faultUnmasked         = &ProtocolError{codeProtocolError, "frame from a client is not masked (RFC 6455 5.1)"}
	faultInterrupted      = &ProtocolError{codeProtocolError, "new message inside a fragmented one (RFC 6455 5.4)"}
	faultNothingContinued = &ProtocolError{codeProtocolError, "continuation without a message to continue (RFC 6455 5.4)"}
	faultHeader           = &ProtocolError{codeProtocolError, "malformed frame header (RFC 6455 5.2)"}
	faultLengthForm       = &ProtocolError{codeProtocolError, "frame length is not in its shortest form (RFC 6455 5.2)"}
	faultLengthSign       = &ProtocolError{codeProtocolError, "top bit of a 64-bit frame length is set (RFC 6455 5.2)"}
	faultTooBig           = &ProtocolError{codeTooBig, "message is longer than the limit: split it"}
	faultText             = &ProtocolError{codeInvalidData, "text is not UTF-8 (RFC 6455 8.1)"}
	faultCloseLength      = &ProtocolError{codeProtocolError, "Close body of one byte (RFC 6455 5.5.1)"}
	faultCloseCode        = &ProtocolError{codeProtocolError, "close code may not be sent (RFC 6455 7.4)"}
	faultCloseReason      = &ProtocolError{codeInvalidData, "reason of a Close is not UTF-8 (RFC 6455 5.5.1)"}
)

// headerFault gives the library's verdict on a header our code and words.
func headerFault(err error) *ProtocolError {
	switch err {
	case ws.ErrProtocolOpCodeReserved:
		// RFC 6455 5.2: "If an unknown opcode is received, the receiving
		// endpoint MUST _Fail the WebSocket Connection_."
		return faultOpCode
	case ws.ErrProtocolControlPayloadOverflow:
		// RFC 6455 5.5: "All control frames MUST have a payload length of 125
		// bytes or less and MUST NOT be fragmented."
		return faultControlLength
	case ws.ErrProtocolControlNotFinal:
		return faultControlFragment
	case ws.ErrProtocolNonZeroRsv:
		// RFC 6455 5.2: "MUST be 0 unless an extension is negotiated that
		// defines meanings for non-zero values."
		return faultReservedBits
	case ws.ErrProtocolMaskRequired:
		// RFC 6455 5.1: "The server MUST close the connection upon receiving a
		// frame that is not masked."
		return faultUnmasked
	case ws.ErrProtocolContinuationExpected:
		// RFC 6455 5.4: "The fragments of one message MUST NOT be interleaved
		// between the fragments of another message unless an extension has been
		// negotiated that can interpret the interleaving."
		return faultInterrupted
	case ws.ErrProtocolContinuationUnexpected:
		// RFC 6455 5.4: a fragmented message begins with "a single frame with
		// the FIN bit clear and an opcode other than 0".
		return faultNothingContinued
	}
	return faultHeader
}
