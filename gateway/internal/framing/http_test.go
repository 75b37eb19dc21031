package framing

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestHTTPHead(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	cases := []struct {
		name string
		in   string
		max  int
		head string
		err  error
	}{
		{"nothing yet", "", 100, "", nil},
		{"half", "GET / HTTP/1.1\r\nHost:", 100, "", nil},
		{"all but one byte", request[:len(request)-1], 100, "", nil},
		{"whole", request, 100, request, nil},
		{"with a body", request + "body\r\n\r\n", 100, request, nil},
		{"exactly max", request, len(request), request, nil},
		{"max and a body over it", request + "body", len(request), request, nil},
		{"one over max", request, len(request) - 1, "", ErrHeaderTooLarge},
		{"unfinished one below max", strings.Repeat("a", 99), 100, "", nil},
		{"unfinished at max", strings.Repeat("a", 100), 100, "", ErrHeaderTooLarge},
		{"ends beyond max", strings.Repeat("a", 200) + "\r\n\r\n", 100, "", ErrHeaderTooLarge},
		{"LF for all lines", "GET / HTTP/1.1\nHost: x\n\n", 100, "", ErrBareLineFeed},
		{"one LF in the middle", "GET / HTTP/1.1\nHost: x\r\n\r\n", 100, "", ErrBareLineFeed},
		{"LF after good lines", "GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n", 100, "", ErrBareLineFeed},
		{"LF first", "\nGET / HTTP/1.1\r\n\r\n", 100, "", ErrBareLineFeed},
		{"LF in the body", request + "a\n\nb", 100, request, nil},
		{"no fields", "GET / HTTP/1.1\r\n\r\n", 100, "GET / HTTP/1.1\r\n\r\n", nil},
		{"name of all kinds", "GET / HTTP/1.1\r\nX-a_1.!~: b\r\n\r\n", 100, "GET / HTTP/1.1\r\nX-a_1.!~: b\r\n\r\n", nil},
		{"blank before the colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", 100, "", ErrFieldName},
		{"tab before the colon", "GET / HTTP/1.1\r\nHost\t: x\r\n\r\n", 100, "", ErrFieldName},
		{"blank in a name", "GET / HTTP/1.1\r\nHost: x\r\nA B: x\r\n\r\n", 100, "", ErrFieldName},
		{"line that goes on", "GET / HTTP/1.1\r\nHost: x\r\n y: z\r\n\r\n", 100, "", ErrFieldName},
		{"CR in a value", "GET / HTTP/1.1\r\nA: b\rHost: x\r\n\r\n", 100, "", ErrControl},
		{"CR before the end of a line", "GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", 100, "", ErrControl},
		{"CR in the first line", "GET /\rws HTTP/1.1\r\nHost: x\r\n\r\n", 100, "", ErrControl},
		{"NUL", "GET / HTTP/1.1\r\nHost: x\x00\r\n\r\n", 100, "", ErrControl},
		{"DEL", "GET / HTTP/1.1\r\nHost: x\x7f\r\n\r\n", 100, "", ErrControl},
		{"tab and text in a value", "GET / HTTP/1.1\r\nA:\tb\tc é\r\n\r\n", 100, "GET / HTTP/1.1\r\nA:\tb\tc é\r\n\r\n", nil},
		{"CR in the body", request + "a\rb", 100, request, nil},
		{"no name", "GET / HTTP/1.1\r\n: x\r\n\r\n", 100, "", ErrFieldName},
		{"no colon", "GET / HTTP/1.1\r\nHost\r\n\r\n", 100, "", ErrFieldName},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			head, err := HTTPHead([]byte(c.in), c.max)
			if string(head) != c.head || !errors.Is(err, c.err) {
				t.Errorf("HTTPHead = %q, %v, want %q, %v", head, err, c.head, c.err)
			}
		})
	}
}

func TestRequestTarget(t *testing.T) {
	cases := []struct {
		line   string
		method string
		path   string
		ok     bool
	}{
		{"GET /ws HTTP/1.1", "GET", "/ws", true},
		{"GET /ws?token=a?b HTTP/1.1", "GET", "/ws", true},
		{"POST / HTTP/1.0", "POST", "/", true},
		{"OPTIONS * HTTP/1.1", "OPTIONS", "*", true},
		{"GET http://host:8080/ws?x HTTP/1.1", "GET", "/ws", true},
		{"GET http://host HTTP/1.1", "GET", "/", true},
		{"GET http://host?a=/b HTTP/1.1", "GET", "/", true},
		{"GET /%77s HTTP/1.1", "GET", "/%77s", true},
		{"CONNECT host:80 HTTP/1.1", "", "", false},
		{"GET ws HTTP/1.1", "", "", false},
		{"GET ?x HTTP/1.1", "", "", false},
		{"GET /ws", "", "", false},
		{"GET  /ws HTTP/1.1", "", "", false},
		{"GET /a b HTTP/1.1", "", "", false},
		{"GET /ws HTTP/2.0", "", "", false},
		{"GET /ws HTTP/1.1 ", "", "", false},
		{" /ws HTTP/1.1", "", "", false},
		{"", "", "", false},
	}
	for _, c := range cases {
		t.Run(c.line, func(t *testing.T) {
			method, path, ok := RequestTarget([]byte(c.line + "\r\n\r\n"))
			if string(method) != c.method || string(path) != c.path || ok != c.ok {
				t.Errorf("RequestTarget = %q, %q, %v, want %q, %q, %v", method, path, ok, c.method, c.path, c.ok)
			}
		})
	}
	if _, _, ok := RequestTarget([]byte("GET / HTTP/1.1")); ok {
		t.Error("RequestTarget took a line without an end")
	}
}

func TestHTTPHeadDoesNotAllocate(t *testing.T) {
	in := []byte("GET /ws?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	allocs := testing.AllocsPerRun(100, func() {
		head, err := HTTPHead(in, 8192)
		if err != nil {
			t.Fatal(err)
		}
		if _, path, ok := RequestTarget(head); !ok || string(path) != "/ws" {
			t.Fatalf("path = %q, %v", path, ok)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

func FuzzHTTPHead(f *testing.F) {
	f.Add([]byte("GET /ws HTTP/1.1\r\nHost: x\r\n\r\nrest"))
	f.Add([]byte("GET http://h?a HTTP/1.1\r\n\r\n"))
	f.Add([]byte("GET ? HTTP/1.1\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 64
		head, err := HTTPHead(in, limit)
		if err != nil {
			if head != nil {
				t.Fatalf("head %q beside error %v", head, err)
			}
			return
		}
		if head == nil {
			if len(in) >= limit {
				t.Fatalf("asks for more than the limit after %d bytes", len(in))
			}
			return
		}
		if len(head) > limit || !bytes.HasPrefix(in, head) {
			t.Fatalf("head %q of %q", head, in)
		}
		// The head must be found at its last byte, and not before.
		for cut := range head {
			if early, err := HTTPHead(in[:cut], limit); early != nil || err != nil {
				t.Fatalf("%q = %q, %v", in[:cut], early, err)
			}
		}
		if method, path, ok := RequestTarget(head); ok && (len(method) == 0 || len(path) == 0) {
			t.Fatalf("RequestTarget(%q) = %q, %q", head, method, path)
		}
	})
}
