package loop

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/textproto"
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

func readOpening(head []byte, known func(subprotocol string) bool) (opening, *refusalOfOpening) {
	in := textproto.NewReader(bufio.NewReader(bytes.NewReader(head)))
	line, err := in.ReadLine()
	if err != nil {
		return opening{}, badOpening("the request line can't be read")
	}
	fields, err := in.ReadMIMEHeader()
	if err != nil {
		return opening{}, badOpening("the header fields can't be read: " + err.Error())
	}
	once := func(name string) (value string, ok bool) {
		values := fields.Values(name)
		if len(values) != 1 {
			return "", false
		}
		return strings.TrimSpace(values[0]), true
	}

	// RFC 6455 4.2.1, 1: "An HTTP/1.1 or higher GET request".
	if !strings.HasPrefix(line, "GET ") || !strings.HasSuffix(line, " HTTP/1.1") {
		return opening{}, badOpening("a WebSocket begins with a GET by HTTP/1.1")
	}
	// 2, and RFC 9112 3.2: one Host.
	host, ok := once("Host")
	if !ok {
		return opening{}, badOpening("there must be one Host field")
	}
	// 3 and 4.
	if !hasToken(fields.Values("Upgrade"), "websocket") {
		return opening{}, &refusalOfOpening{http.StatusUpgradeRequired, "Upgrade: websocket\r\n", "this path speaks WebSocket only: send Upgrade: websocket"}
	}
	if !hasToken(fields.Values("Connection"), "upgrade") {
		return opening{}, badOpening("send Connection: Upgrade; a proxy in front may have to be told to pass it on")
	}
	// 6, before 5 so that another version's client hears of the version. 11.3.5: once.
	// RFC 6455 4.4: name the versions that are understood.
	if version, ok := once("Sec-WebSocket-Version"); !ok || version != "13" {
		return opening{}, &refusalOfOpening{http.StatusUpgradeRequired, "Sec-WebSocket-Version: 13\r\n", "send Sec-WebSocket-Version: 13, once"}
	}
	// 5: "a base64-encoded value that, when decoded, is 16 bytes in length". 11.3.1: once.
	key, ok := once("Sec-WebSocket-Key")
	if decoded, err := base64.StdEncoding.DecodeString(key); !ok || err != nil || len(decoded) != 16 {
		return opening{}, badOpening("send one Sec-WebSocket-Key: 16 bytes in base64")
	}
	o := opening{host: host, origin: fields.Get("Origin"), accept: acceptKey(key)}
	for _, list := range fields.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); o.subprotocol == "" && known(name) {
				o.subprotocol = name
			}
		}
	}
	return o, nil
}

// hasToken looks for a word in a field that is a list, over all its lines, in any case.
func hasToken(lists []string, word string) bool {
	for _, list := range lists {
		for token := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(token), word) {
				return true
			}
		}
	}
	return false
}

// acceptKey is RFC 6455 4.2.2, 5, 4.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
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
