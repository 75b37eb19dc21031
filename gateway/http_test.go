package gateway_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
)

// exchange sends a request as it stands and returns the response with its body read.
func exchange(t *testing.T, addr, request string) *http.Response {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(dialPlain(t, addr, request)), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read the body: %v", err)
	}
	res.Body = io.NopCloser(strings.NewReader(string(body)))
	return res
}

func TestPageIsServed(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	client := http.Client{Transport: &http.Transport{}} // others close what http.DefaultClient keeps
	defer client.CloseIdleConnections()
	for range 2 { // the second time over a connection that is kept
		res, err := client.Get("http://" + srv.Addr() + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK || !strings.Contains(string(body), "<html") {
			t.Fatalf("%s: %.200s", res.Status, body)
		}
		if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") ||
			!strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src") ||
			res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("header: %v", res.Header)
		}
	}
	if n := metric(t, srv, "rookery_connections_opened_total"); n != 1 {
		t.Errorf("two requests took %v connections", n)
	}
}

// TestPageIsSentOnceAndCompressed: whoever has a file is told that it is still the same.
func TestPageIsSentOnceAndCompressed(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	plain := page(t, srv, "/app/main.js", "Accept-Encoding: identity\r\n")
	packed := page(t, srv, "/app/main.js", "Accept-Encoding: br, gzip;q=0.5\r\n")
	if plain.StatusCode != http.StatusOK || plain.Header.Get("Content-Encoding") != "" || plain.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("%s %v", plain.Status, plain.Header)
	}
	if packed.StatusCode != http.StatusOK || packed.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%s %v", packed.Status, packed.Header)
	}
	if packed.ContentLength >= plain.ContentLength {
		t.Errorf("compressed it has %d bytes, else %d", packed.ContentLength, plain.ContentLength)
	}
	unpacked, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(unpacked)
	want, _ := io.ReadAll(plain.Body)
	if err != nil || string(got) != string(want) {
		t.Errorf("%d bytes unpacked (%v), want %d", len(got), err, len(want))
	}
	if res := page(t, srv, "/app/main.js", "Accept-Encoding: gzip;q=0, br\r\n"); res.Header.Get("Content-Encoding") != "" {
		t.Errorf("compressed although that was refused: %v", res.Header)
	}

	tag := plain.Header.Get("ETag")
	if tag == "" || tag != packed.Header.Get("ETag") {
		t.Fatalf("tags %q and %q", tag, packed.Header.Get("ETag"))
	}
	if res := page(t, srv, "/app/main.js", "If-None-Match: "+tag+"\r\n"); res.StatusCode != http.StatusNotModified || res.Header.Get("ETag") != tag {
		t.Errorf("for who has it: %s %v", res.Status, res.Header)
	}
	if res := page(t, srv, "/", "If-None-Match: "+tag+"\r\n"); res.StatusCode != http.StatusOK {
		t.Errorf("for who has another: %s", res.Status)
	}
	// The page has its modules and styles from where they are the same for ever.
	html, err := io.ReadAll(page(t, srv, "/", "").Body)
	if err != nil {
		t.Fatal(err)
	}
	kept := regexp.MustCompile(`/v/[0-9a-f]+/app/page\.(?:js|css)`).FindAllString(string(html), -1)
	if len(kept) != 2 {
		t.Fatalf("the page does not have its modules and styles for ever: %s", html)
	}
	for _, address := range kept {
		res := page(t, srv, address, "")
		if got := res.Header.Get("Cache-Control"); res.StatusCode != http.StatusOK || got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %s, %s", address, res.Status, got)
		}
	}
	for _, address := range []string{"/", "/sw.js", "/app/main.js", "/client/rookery.js", "/v/0/app/main.js"} {
		res := page(t, srv, address, "")
		if got := res.Header.Get("Cache-Control"); res.StatusCode != http.StatusOK || got != "no-cache" {
			t.Errorf("%s: %s, %s", address, res.Status, got)
		}
	}
	// What this server is like may be something else each time.
	if res := page(t, srv, "/settings.json", ""); res.StatusCode != http.StatusOK || res.Header.Get("ETag") != "" {
		t.Errorf("settings: %s %v", res.Status, res.Header)
	}
}

// page asks for a file with some fields of a request.
func page(t *testing.T, srv *gatewaytest.Server, path, fields string) *http.Response {
	t.Helper()
	return exchange(t, srv.Addr(), "GET "+path+" HTTP/1.1\r\nHost: x\r\n"+fields+"\r\n")
}

func TestRequestsOutsideThePage(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"another path", "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"admin's path", "GET /debug/pprof/ HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"metrics' path", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"post", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405},
		{"another protocol's version", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400},
		{"bare line feeds", "GET / HTTP/1.1\nHost: x\n\n", 400},
		{"no host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", 400},
		{"no host but in the target", "GET http://x/ HTTP/1.1\r\nX-Host: x\r\n\r\n", 400},
		{"a host in both", "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"HTTP/1.0 with a host in the target", "GET http://x/ HTTP/1.0\r\n\r\n", 200},
		{"two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		{"no host by HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 200},
		{"a length in disguise", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello", 400},
		{"a CR without its LF", "GET / HTTP/1.1\r\nHost: x\r\nA: b\rTransfer-Encoding: chunked\r\n\r\n", 400},
		{"a long head", "GET / HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("c", 9000) + "\r\n\r\n", 431},
	} {
		t.Run(c.name, func(t *testing.T) {
			if res := exchange(t, srv.Addr(), c.request); res.StatusCode != c.status {
				t.Errorf("answered with %s, want %d", res.Status, c.status)
			}
		})
	}
	t.Run("head", func(t *testing.T) {
		request, _ := http.NewRequest(http.MethodHead, "http://"+srv.Addr()+"/", nil)
		res, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != 200 || res.ContentLength <= 0 {
			t.Errorf("answered with %s, length %d", res.Status, res.ContentLength)
		}
	})
	t.Run("head of what is not there, and the next request", func(t *testing.T) {
		conn := dialPlain(t, srv.Addr(), "HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
		in := bufio.NewReader(conn)
		head, _ := http.NewRequest(http.MethodHead, "/nothing", nil)
		for i, want := range []int{404, 200} {
			res, err := http.ReadResponse(in, []*http.Request{head, nil}[i])
			if err != nil || res.StatusCode != want {
				t.Fatalf("response %d: %v, %v", i, res, err)
			}
		}
	})
	t.Run("pipelined", func(t *testing.T) {
		in := bufio.NewReader(dialPlain(t, srv.Addr(), strings.Repeat("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 3)))
		for range 3 {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			if res.StatusCode != 404 {
				t.Errorf("answered with %s", res.Status)
			}
		}
	})
	t.Run("a stranger's protocol is closed at once", func(t *testing.T) {
		conn := dialPlain(t, srv.Addr(), "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
	})
}

func TestPagesOfOtherOrigins(t *testing.T) {
	t.Parallel()
	own := gatewaytest.Start(t, production)
	listed := gatewaytest.Start(t, production, func(c *gateway.Config) {
		c.Limits.Origins = []string{"https://chat.example"}
	})
	dev := gatewaytest.Start(t)
	for _, c := range []struct {
		name   string
		srv    *gatewaytest.Server
		origin string
		status int
	}{
		{"no origin", own, "", 101},
		{"own host", own, "http://" + own.Addr(), 101},
		{"another host", own, "https://evil.example", 403},
		{"listed", listed, "https://chat.example", 101},
		{"own host is not listed", listed, "http://" + listed.Addr(), 403},
		{"listed by another scheme", listed, "http://chat.example", 403},
		{"no origin at all", own, "null", 403},
		{"development mode", dev, "https://any.example", 101},
	} {
		t.Run(c.name, func(t *testing.T) {
			origin := ""
			if c.origin != "" {
				origin = "Origin: " + c.origin + "\r\n"
			}
			res := exchangeHead(t, c.srv.Addr(), fmt.Sprintf("GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", c.srv.Addr(), origin))
			if res.StatusCode != c.status {
				t.Errorf("answered with %s, want %d", res.Status, c.status)
			}
		})
	}
	t.Run("no echo in production", func(t *testing.T) {
		res := exchange(t, own.Addr(), "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		if res.StatusCode != 404 {
			t.Errorf("answered with %s", res.Status)
		}
	})
}

// exchangeHead is exchange for a response that may begin a WebSocket.
func exchangeHead(t *testing.T, addr, request string) *http.Response {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(dialPlain(t, addr, request)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}
