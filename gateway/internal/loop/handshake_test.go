package loop

import (
	"testing"

	"rookery/proto"
)

func BenchmarkHandshake(b *testing.B) {
	head := []byte("GET /ws HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Protocol: " + proto.SubprotocolBinary + "\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, refused := readOpening(head, func(name string) bool { return name == proto.SubprotocolBinary }); refused != nil {
			b.Fatal(refused)
		}
	}
}
