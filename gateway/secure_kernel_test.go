package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/gateway/internal/kerneltls"
	"rookery/internal/records/recordstest"
	"rookery/proto"
)

// recordsInKernel reports whether this kernel takes records. What differs then is told apart in the tests; make ktls-vm runs them where it does.
var recordsInKernel = sync.OnceValue(func() bool { return kerneltls.Probe() == nil })

// TestWhoHasTheRecords: the kernel where it can, the keys allow it, and nobody said otherwise.
func TestWhoHasTheRecords(t *testing.T) {
	t.Parallel()
	if os.Getenv("ROOKERY_KERNEL_TLS") == "required" && !recordsInKernel() {
		t.Fatal(kerneltls.Probe())
	}
	for _, c := range []struct {
		name    string
		kernel  gateway.KernelTLS
		version uint16
		want    bool
	}{
		{"1.3", gateway.KernelTLSAuto, tls.VersionTLS13, recordsInKernel()},
		{"1.2", gateway.KernelTLSAuto, tls.VersionTLS12, false},
		{"off", gateway.KernelTLSOff, tls.VersionTLS13, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, config := startSecure(t, func(cfg *gateway.Config) { cfg.TLS.Kernel = c.kernel })
			config.MaxVersion = c.version
			echo := dialEchoOverTLS(t, srv, config)
			if got := echo.say("hello"); got != "hello" {
				t.Errorf("the echo is %q", got)
			}
			if n := metric(t, srv, "rookery_tls_kernel_connections_total"); (n == 1) != c.want {
				t.Errorf("%v connections are counted as the kernel's", n)
			}
			if told := srv.Logged("the kernel opens and seals records"); told != (recordsInKernel() && c.kernel == gateway.KernelTLSAuto) {
				t.Errorf("the log says that the kernel has records: %v", told)
			}
		})
	}
}

// secureEcho is a WebSocket with TLS whose client can send any record.
type secureEcho struct {
	t      *testing.T
	conn   *tls.Conn
	in     *bufio.Reader
	forger *recordstest.Forger
}

func dialEchoOverTLS(t *testing.T, srv *gatewaytest.Server, config *tls.Config) *secureEcho {
	t.Helper()
	raw := dialPlain(t, srv.SecureAddr(), "")
	e := &secureEcho{t: t}
	e.forger, e.conn = recordstest.New(t, raw, config)
	fmt.Fprint(e.conn, strings.Replace(handshake(), "/ws", "/echo", 1))
	e.in = bufio.NewReader(e.conn)
	if res, err := http.ReadResponse(e.in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	return e
}

// say sends a text by the client, and gives what comes back.
func (e *secureEcho) say(text string) string {
	e.t.Helper()
	if _, err := e.conn.Write(sent(fin|opText, text)); err != nil {
		e.t.Fatal(err)
	}
	return e.hear()
}

// hear reads a short message.
func (e *secureEcho) hear() string {
	e.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(e.in, head); err != nil {
		e.t.Fatal(err)
	}
	payload := make([]byte, head[1])
	if _, err := io.ReadFull(e.in, payload); err != nil {
		e.t.Fatal(err)
	}
	return string(payload)
}

// TestKeyUpdate: a peer that goes on with other keys is followed, or, where the kernel has the records, told to come back, even if more of it is on its way.
func TestKeyUpdate(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t)
	e := dialEchoOverTLS(t, srv, config)
	e.say("before")
	e.forger.UpdateKeys()
	e.forger.Record(23, sent(fin|opText, "behind"))
	if !recordsInKernel() {
		if got := e.hear(); got != "behind" {
			t.Errorf("behind the update the echo is %q", got)
		}
		return
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(e.in, head); err != nil || head[0] != fin|opClose || int(head[2])<<8|int(head[3]) != int(proto.CloseGoingAway.Code) {
		t.Errorf("the peer saw %x, %v; want a Close with %d", head, err, proto.CloseGoingAway.Code)
	}
	if rest, err := io.ReadAll(e.in); err != nil || !strings.Contains(string(rest), "connect again") {
		t.Errorf("then it saw %q, %v; want the reason, and an end in order", rest, err)
	}
	eventually(t, "it is gone", func() bool { return metric(t, srv, "rookery_connections") == 0 })
	if n := metric(t, srv, `rookery_denied_total{reason="bad_tls"}`); n != 0 {
		t.Errorf("%v are denied for an update", n)
	}
}

// TestAlertsOfPeers: an end is an end, whatever the reason, and nothing against the peer.
func TestAlertsOfPeers(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t)
	for _, c := range []struct {
		name  string
		alert []byte
		tell  bool // the peer is told that we end, too
	}{{"close_notify", []byte{1, 0}, true}, {"user_canceled", []byte{1, 90}, false}, {"internal_error", []byte{2, 80}, false}} {
		t.Run(c.name, func(t *testing.T) {
			e := dialEchoOverTLS(t, srv, config)
			e.say("before")
			e.forger.Record(23, sent(fin|opText, "last"))
			e.forger.Record(21, c.alert)
			if got := e.hear(); got != "last" {
				t.Errorf("what came with it was answered with %q", got)
			}
			if c.name == "user_canceled" && !recordsInKernel() {
				e.forger.Record(21, []byte{1, 0}) // crypto/tls lets it pass
			}
			if _, err := e.in.ReadByte(); c.tell && !errors.Is(err, io.EOF) {
				t.Errorf("the peer saw %v, want the end", err)
			}
			eventually(t, "it is gone", func() bool { return metric(t, srv, "rookery_connections") == 0 })
		})
	}
	if n := metric(t, srv, `rookery_denied_total{reason="bad_tls"}`); n != 0 {
		t.Errorf("%v are denied", n)
	}
}

// TestRecordsThatAreNone: each ends its connection and is written down.
func TestRecordsThatAreNone(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t)
	for i, c := range []struct {
		name string
		send func(e *secureEcho)
	}{
		{"too long", func(e *secureEcho) { e.raw("\x17\x03\x03\xff\xff" + strings.Repeat("x", 100)) }},
		{"another version", func(e *secureEcho) { e.raw("\x17\x09\x09\x00\x20" + strings.Repeat("x", 100)) }},
		{"plain text", func(e *secureEcho) { e.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n") }},
		{"a hello", func(e *secureEcho) { e.forger.Record(22, append([]byte{1, 0, 0, 100}, make([]byte, 100)...)) }},
		{"of an unknown type", func(e *secureEcho) { e.forger.Record(99, []byte("x")) }},
		{"forged behind a good one", func(e *secureEcho) {
			e.forger.Record(23, sent(fin|opText, "good"))
			e.raw("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := dialEchoOverTLS(t, srv, config)
			e.say("before")
			c.send(e)
			eventually(t, "it is denied", func() bool { return metric(t, srv, `rookery_denied_total{reason="bad_tls"}`) == float64(i+1) })
			eventually(t, "it is gone", func() bool { return metric(t, srv, "rookery_connections") == 0 })
		})
	}
}

// raw sends what is no record of the client's.
func (e *secureEcho) raw(b string) {
	e.t.Helper()
	if _, err := e.forger.Conn.Write([]byte(b)); err != nil {
		e.t.Fatal(err)
	}
}

// TestRecordsInPieces: records and messages come together that were cut anywhere, those that come in one segment with the end of the handshake, too.
func TestRecordsInPieces(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t)
	held := &heldWrites{Conn: dialPlain(t, srv.SecureAddr(), "")}
	config.VerifyConnection = func(tls.ConnectionState) error {
		held.hold = true // before the client's Finished
		return nil
	}
	conn := tls.Client(held, config)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if len(held.kept) == 0 {
		t.Fatal("the client's handshake has ended with nothing")
	}
	text := strings.Repeat("0123456789", 5000)
	fmt.Fprint(conn, strings.Replace(handshake(), "/ws", "/echo", 1))
	for _, message := range []string{"short", text, ""} {
		if _, err := conn.Write(sent(fin|opText, message)); err != nil {
			t.Fatal(err)
		}
	}
	for kept := held.kept; len(kept) > 0; { // cut where it comes
		n := min(len(kept), 7001)
		if _, err := held.Conn.Write(kept[:n]); err != nil {
			t.Fatal(err)
		}
		kept = kept[n:]
	}
	in := bufio.NewReader(conn)
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	for _, want := range []string{"\x05short", "\x7e\xc3\x50" + text, "\x00"} {
		got := make([]byte, 1+len(want))
		if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got[1:], []byte(want)) {
			t.Fatalf("a message of %d bytes came back as %.20q, %v", len(want), got, err)
		}
	}
}

// TestAnAnswerEndsInOrderOverTLS: all of it comes, and then an end that nobody could have forged.
func TestAnAnswerEndsInOrderOverTLS(t *testing.T) {
	t.Parallel()
	const requests = 20
	srv, config := startSecure(t)
	conn := dialTLS(t, srv, config)
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	fmt.Fprint(conn, strings.Repeat(request, requests-1)+strings.Replace(request, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
	in := bufio.NewReader(conn)
	for i := range requests {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if n, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK || n != res.ContentLength {
			t.Fatalf("answer %d: %s with %d bytes of %d, %v", i, res.Status, n, res.ContentLength, err)
		}
	}
	if b, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the answers the peer saw %x, %v; want the end", b, err)
	}
}

// TestEmptyRecordsAreBounded: a peer with a good handshake that sends records without data is closed and written down, and others of its loop are served
// meanwhile.
func TestEmptyRecordsAreBounded(t *testing.T) {
	srv, config := startSecure(t, func(c *gateway.Config) { c.Loops = 1 })
	other := dialEchoOverTLS(t, srv, config)
	e := dialEchoOverTLS(t, srv, config)
	e.say("before")
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			if _, err := e.forger.Conn.Write(e.forger.Empty(1000)); err != nil {
				return
			}
		}
	}()
	for open := true; open; {
		select {
		case <-closed:
			open = false
		default:
		}
		if got := other.say("still here"); got != "still here" {
			t.Fatalf("another peer of the loop was answered with %q", got)
		}
	}
	eventually(t, "it is denied", func() bool { return metric(t, srv, `rookery_denied_total{reason="bad_tls"}`) == 1 })
	eventually(t, "it is gone", func() bool { return metric(t, srv, "rookery_connections") == 1 })
}
