package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/gateway/internal/records/recordstest"
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
