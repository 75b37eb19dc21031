package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/internal/records/recordstest"
	"rookery/proto"
)

// TestPiecesOfMessagesAreBounded: a peer with a good handshake sends half a message that is for TLS itself. Little of it has a time limit, much of it is an end.
func TestPiecesOfMessagesAreBounded(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			session := func(frameTimeout time.Duration) (*gatewaytest.Server, *recordstest.Forger, *bufio.Reader) {
				srv, config := startSecure(t, func(c *gateway.Config) { c.Limits.FrameTimeout = frameTimeout })
				config.MaxVersion = version
				raw, err := net.DialTimeout("tcp", srv.SecureAddr(), waitLimit)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { raw.Close() })
				if err := raw.SetDeadline(time.Now().Add(waitLimit)); err != nil {
					t.Fatal(err)
				}
				forger, conn := recordstest.New(t, raw, config)
				fmt.Fprintf(conn, "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
					"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
				in := bufio.NewReader(conn)
				if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
					t.Fatal(res, err)
				}
				return srv, forger, in
			}

			if version == tls.VersionTLS13 && recordsInKernel() {
				// It gathers no messages: the first piece is one too many.
				srv, forger, in := session(waitLimit)
				forger.PieceOfMessage(version, recordstest.BeginsCertificate())
				if _, err := in.ReadByte(); err == nil || !strings.Contains(err.Error(), "unexpected message") {
					t.Errorf("with a piece of a message the peer saw %v", err)
				}
				eventually(t, "it is denied", func() bool {
					return metric(t, srv, `rookery_denied_total{reason="bad_tls"}`) == 1 && srv.Logged("access denied", "reason=bad_tls", "type 22")
				})
				return
			}
			_, forger, in := session(300 * time.Millisecond)
			forger.PieceOfMessage(version, recordstest.BeginsCertificate())
			forger.PieceOfMessage(version, make([]byte, 1000))
			head := make([]byte, 4)
			if _, err := io.ReadFull(in, head); err != nil || head[0] != fin|opClose || int(head[2])<<8|int(head[3]) != int(proto.CloseFrameTimeout.Code) {
				t.Errorf("with half a message the peer saw %x, %v; want a Close with %d", head, err, proto.CloseFrameTimeout.Code)
			}

			srv, forger, _ := session(waitLimit)
			forger.PieceOfMessage(version, recordstest.BeginsCertificate())
			for range 31 { // the last is over 32 KiB
				forger.PieceOfMessage(version, make([]byte, 1020))
			}
			eventually(t, "it is denied", func() bool {
				return metric(t, srv, `rookery_denied_total{reason="bad_tls"}`) == 1 && srv.Logged("access denied", "reason=bad_tls", "32 KiB of records")
			})
		})
	}
}

// TestAForgedRecordBehindARequest: the request is answered, and the record is not overlooked because the answer ends the connection.
func TestAForgedRecordBehindARequest(t *testing.T) {
	t.Parallel()
	srv, config := startSecure(t)
	held := &heldWrites{Conn: dialPlain(t, srv.SecureAddr(), "")}
	conn := tls.Client(held, config)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	held.hold = true
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if _, err := held.Conn.Write(append(held.kept, "\x17\x03\x03\x00\x20"+strings.Repeat("x", 32)...)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is denied", func() bool {
		return metric(t, srv, `rookery_denied_total{reason="bad_tls"}`) == 1 && srv.Logged("access denied", "reason=bad_tls", "bad record MAC")
	})
}

// heldWrites keeps what is written once it holds.
type heldWrites struct {
	net.Conn
	hold bool
	kept []byte
}

func (h *heldWrites) Write(b []byte) (int, error) {
	if !h.hold {
		return h.Conn.Write(b)
	}
	h.kept = append(h.kept, b...)
	return len(b), nil
}
