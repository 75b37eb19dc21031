package loop

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"strings"
)

// opening is a client's handshake, checked by RFC 6455 4.2.1.
//
// The check is ours because gobwas' Upgrader looks at each line by itself: it takes a key
// that is any 24 bytes, takes key, version and Host more than once, and refuses a
// Connection field in two lines, which RFC 9110 5.3 has mean the same as one list.
type opening struct {
	host, origin, subprotocol string
	accept                    string
}

// refusalOfOpening is what to answer to a handshake that is none.
type refusalOfOpening struct {
	status int
	fields string
	reason string
}

func badOpening(reason string) *refusalOfOpening {
	return &refusalOfOpening{status: http.StatusBadRequest, reason: reason}
}

// readOpening reads a head whose lines framing.HTTPHead has let pass.
func readOpening(head []byte, known func(subprotocol string) bool) (opening, *refusalOfOpening) {
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	var o opening
	var hosts, keys, versions int
	var key, version []byte
	upgrade, connection := false, false
	for field := range bytes.SplitSeq(rest, []byte("\r\n")) {
		name, value, _ := bytes.Cut(field, []byte(":"))
		value = bytes.Trim(value, " \t")
		switch {
		case isField(name, "Host"):
			hosts++
			o.host = string(value)
		case isField(name, "Origin"):
			if o.origin == "" {
				o.origin = string(value)
			}
		case isField(name, "Upgrade"):
			upgrade = upgrade || hasToken(value, "websocket")
		case isField(name, "Connection"):
			connection = connection || hasToken(value, "upgrade")
		case isField(name, "Sec-WebSocket-Key"):
			keys++
			key = value
		case isField(name, "Sec-WebSocket-Version"):
			versions++
			version = value
		case isField(name, "Sec-WebSocket-Protocol"):
			for name := range bytes.SplitSeq(value, []byte(",")) {
				if name = bytes.Trim(name, " \t"); o.subprotocol == "" && known(string(name)) {
					o.subprotocol = string(name)
				}
			}
		}
	}

	switch {
	// RFC 6455 4.2.1, 1: "An HTTP/1.1 or higher GET request".
	case !bytes.HasPrefix(line, []byte("GET ")) || !bytes.HasSuffix(line, []byte(" HTTP/1.1")):
		return opening{}, badOpening("a WebSocket begins with a GET by HTTP/1.1")
	// 2, and RFC 9112 3.2: one Host.
	case hosts != 1:
		return opening{}, badOpening("there must be one Host field")
	// 3 and 4.
	case !upgrade:
		return opening{}, &refusalOfOpening{http.StatusUpgradeRequired, "Upgrade: websocket\r\n", "this path speaks WebSocket only: send Upgrade: websocket"}
	case !connection:
		return opening{}, badOpening("send Connection: Upgrade; a proxy in front may have to be told to pass it on")
	// 6, before 5 so that another version's client hears of the version. 11.3.5: once.
	// RFC 6455 4.4: name the versions that are understood.
	case versions != 1 || string(version) != "13":
		return opening{}, &refusalOfOpening{http.StatusUpgradeRequired, "Sec-WebSocket-Version: 13\r\n", "send Sec-WebSocket-Version: 13, once"}
	// 5: "a base64-encoded value that, when decoded, is 16 bytes in length". 11.3.1: once.
	case keys != 1 || !isKey(key):
		return opening{}, badOpening("send one Sec-WebSocket-Key: 16 bytes in base64")
	}
	o.accept = acceptKey(key)
	return o, nil
}

// isKey reports whether a key decodes to 16 bytes.
func isKey(key []byte) bool {
	if len(key) != base64.StdEncoding.EncodedLen(16) {
		return false
	}
	var decoded [18]byte // what so many characters may be at most
	n, err := base64.StdEncoding.Decode(decoded[:], key)
	return err == nil && n == 16
}

// isField compares the names of fields, which are ASCII in any case.
func isField(name []byte, field string) bool {
	return len(name) == len(field) && strings.EqualFold(string(name), field)
}

// hasField looks for a field in a head.
func hasField(head []byte, field string) bool {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if name, _, found := bytes.Cut(line, []byte(":")); found && isField(name, field) {
			return true
		}
	}
	return false
}

// hasToken looks for a word in a field that is a list, in any case. A list may be in several fields of one name.
func hasToken(list []byte, word string) bool {
	for token := range bytes.SplitSeq(list, []byte(",")) {
		if strings.EqualFold(string(bytes.Trim(token, " \t")), word) {
			return true
		}
	}
	return false
}

// acceptKey is RFC 6455 4.2.2, 5, 4.
func acceptKey(key []byte) string {
	sum := sha1.Sum(append(key[:len(key):len(key)], "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (o opening) append(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = append(dst, o.accept...)
	if o.subprotocol != "" {
		dst = append(append(dst, "\r\nSec-WebSocket-Protocol: "...), o.subprotocol...)
	}
	return append(dst, "\r\n\r\n"...)
}
