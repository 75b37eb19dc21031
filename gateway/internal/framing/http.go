package framing

import (
	"bytes"
	"errors"
)

var (
	// ErrHeaderTooLarge is answered with 431.
	ErrHeaderTooLarge = errors.New("request head is over the limit: send fewer or shorter header fields")
	// ErrBareLineFeed is answered with 400.
	ErrBareLineFeed = errors.New("request head has a line that ends in LF alone: end lines with CRLF")
	// ErrControl is answered with 400.
	ErrControl = errors.New("request head has a control character in a line, like a CR without its LF: leave it out")
	// ErrFieldName is answered with 400.
	ErrFieldName = errors.New("request head has a field whose name is no word: no blank belongs in a name, before its colon, or in front of a line")
)

// HTTPHead returns the head of a request through its blank line, as a view
// into in, or nil and nil when more bytes are needed. A head of exactly max
// bytes passes.
//
// Lines must end in CRLF. RFC 9112 2.2 lets a recipient take a bare LF too,
// but then the head could end elsewhere for us than for the proxy in front:
// the way requests are smuggled. So are they where "Content-Length : 5" is a
// length to one and an unknown field to the other (RFC 9112 5.1), which
// net/http lets pass; a line that goes on with the next (5.2) is refused too. A
// bare CR is a line end to some as well (2.2), and no control character but the
// tab belongs in a value (RFC 9110 5.5), of which net/http takes both.
func HTTPHead(in []byte, max int) (head []byte, err error) {
	end := bytes.Index(in, []byte("\r\n\r\n"))
	if end < 0 {
		if len(in) >= max {
			return nil, ErrHeaderTooLarge
		}
		// Without this a client that ends all its lines in LF would wait for
		// the time limit instead of hearing what is wrong.
		if bytes.Contains(in, []byte("\n\n")) {
			return nil, ErrBareLineFeed
		}
		return nil, nil
	}
	head = in[:end+len("\r\n\r\n")]
	if len(head) > max {
		return nil, ErrHeaderTooLarge
	}
	if hasBareLineFeed(head) {
		return nil, ErrBareLineFeed
	}
	if hasControl(head) {
		return nil, ErrControl
	}
	_, fields, _ := bytes.Cut(head[:len(head)-len("\r\n")], []byte("\r\n"))
	for line := range bytes.SplitSeq(fields, []byte("\r\n")) {
		name, _, found := bytes.Cut(line, []byte(":"))
		if len(line) > 0 && (!found || !isToken(name)) {
			return nil, ErrFieldName
		}
	}
	return head, nil
}

// isToken reports whether name is a token of RFC 9110 5.6.2.
func isToken(name []byte) bool {
	for _, b := range name {
		switch {
		case '0' <= b && b <= '9', 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z':
		case bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0:
		default:
			return false
		}
	}
	return len(name) > 0
}

func hasBareLineFeed(head []byte) bool {
	for from := 0; ; {
		i := bytes.IndexByte(head[from:], '\n')
		if i < 0 {
			return false
		}
		if from+i == 0 || head[from+i-1] != '\r' {
			return true
		}
		from += i + 1
	}
}

// hasControl reports whether a head whose lines all end in CRLF has another control character than tabs.
func hasControl(head []byte) bool {
	for i, b := range head {
		if b < ' ' && b != '\t' && b != '\n' && (b != '\r' || head[i+1] != '\n') || b == 0x7f {
			return true
		}
	}
	return false
}

// RequestTarget reads the method and the path from a head, as views into it:
// enough to choose who answers, without parsing the fields. The path is as
// sent, without the query and without "http://host" (RFC 9112 3.2.2 has servers
// accept that form). It is not percent-decoded: what is spelt in another way
// is another path. ok is false when the first line is not one of HTTP/1.0 or 1.1.
func RequestTarget(head []byte) (method, path []byte, ok bool) {
	line, _, found := bytes.Cut(head, []byte("\r\n"))
	if !found {
		return nil, nil, false
	}
	method, line, _ = bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(line, []byte(" "))
	if len(method) == 0 || len(target) == 0 {
		return nil, nil, false
	}
	if string(version) != "HTTP/1.1" && string(version) != "HTTP/1.0" {
		return nil, nil, false
	}
	path, _, _ = bytes.Cut(target, []byte("?"))
	if bytes.HasPrefix(path, []byte("/")) || string(path) == "*" {
		return method, path, true
	}
	_, authority, found := bytes.Cut(path, []byte("://"))
	if !found {
		return nil, nil, false
	}
	slash := bytes.IndexByte(authority, '/')
	if slash < 0 {
		return method, []byte("/"), true
	}
	return method, authority[slash:], true
}
