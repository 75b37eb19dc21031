package framing

import (
	"bytes"

	"rookery/proto"
)

// Protocol is what the first bytes of a connection announce.
type Protocol uint8

const (
	// NeedMore means that the bytes so far fit more than one protocol.
	NeedMore Protocol = iota
	// HTTP is HTTP/1.1, and with it WebSocket. Nothing is to be skipped.
	HTTP
	// TCP is our own framing. The preface is still in front: skip len(proto.Preface).
	TCP
	// UnsupportedVersion is our preface with another version byte.
	UnsupportedVersion
	// Unknown is none of these and can't become one.
	Unknown
)

// prefaceName is proto.Preface without its version.
const prefaceName = "ROOKERY"

// The space belongs to each: it is what tells "GET /" from "GETTING". No method
// is the beginning of "ROOKERY", so the two families never compete. "PRI ", with
// which HTTP/2 begins, is left out on purpose: we don't speak it.
var methods = [...]string{
	"GET ", "POST ", "HEAD ", "OPTIONS ", "PUT ", "DELETE ", "PATCH ", "CONNECT ", "TRACE ",
}

// Sniff says what the peer speaks as early as the bytes allow, and Unknown at
// the first byte that fits nothing: a stray TLS handshake is closed at once
// rather than by a time limit.
func Sniff(in []byte) Protocol {
	if len(in) == 0 {
		return NeedMore
	}
	if in[0] == prefaceName[0] {
		return sniffPreface(in)
	}
	for _, method := range methods {
		if len(in) >= len(method) {
			if string(in[:len(method)]) == method {
				return HTTP
			}
		} else if method[:len(in)] == string(in) {
			return NeedMore
		}
	}
	return Unknown
}

func sniffPreface(in []byte) Protocol {
	if len(in) < len(proto.Preface) {
		if prefaceName[:len(in)] == string(in) {
			return NeedMore
		}
		return Unknown
	}
	switch {
	case string(in[:len(proto.Preface)]) == proto.Preface:
		return TCP
	case string(in[:len(prefaceName)]) == prefaceName:
		return UnsupportedVersion
	}
	return Unknown
}

// FromBrowser reports whether bytes that are no protocol of ours are how a browser begins a connection that a page has it make, to any host
// and nearly any port: TLS, by an address with https, or for WebRTC a message of STUN (RFC 8489 5), as it is to a relay and behind its length
// (RFC 4571) to a peer. It needs no more of them than come in a segment: nobody who sends byte by byte is a browser.
func FromBrowser(in []byte) bool {
	const cookie = "\x21\x12\xa4\x42"
	for _, begin := range []string{
		"\x16\x03",             // a handshake of TLS
		"\x80\x46\x01\x03\x01", // WebRTC again, in the clothes of SSL 2, for firewalls that let nothing else through
	} {
		if bytes.HasPrefix(in, []byte(begin)) {
			return true
		}
	}
	for _, at := range []int{0, 2} {
		// The first two bits of a message are 0, its cookie is behind type and length.
		if len(in) >= at+8 && in[at]&0xc0 == 0 && string(in[at+4:at+8]) == cookie {
			return true
		}
	}
	return false
}
