package dialect

import (
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// readable is a message of each dialect, of a body of 100 bytes, and a session that can read it.
func readable(tb testing.TB, name string) (d Dialect, s *Session, stream []byte) {
	body := Stamp + strings.Repeat("b", 96)
	frame := &v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{
		Room: "p3", Seq: 123_456, At: 1_763_839_392_456, From: "p12345", Content: &v1.Message_Text{Text: body}}}}
	binary, text := proto.AppendServerFrame(nil, proto.Binary, frame), proto.AppendServerFrame(nil, proto.JSON, frame)
	mqtt := appendString(appendFixed(nil, packetPublish, 0, 4+len(body)), "p3")
	mqtt = append(mqtt, body...)
	switch name {
	case "rookery-binary":
		d, s = open(tb, rookeryConfig(""), "ws://h:1")
		stream = serverFrame(ws.OpBinary, true, binary)
	case "rookery-json":
		d, s = open(tb, rookeryConfig("json"), "ws://h:1")
		stream = serverFrame(ws.OpText, true, text)
	case "rookery-tcp":
		d, s = open(tb, rookeryConfig(""), "tcp://h:1")
		stream = binary
	case "websocket":
		d, s = open(tb, config(name), "ws://h:1")
		stream = serverText(`{"room":"p3","body":"` + body + `"}`)
	case "socket.io":
		d, s = open(tb, config(name), "ws://h:1")
		stream = serverText(`42["message",{"room":"p3","body":"` + body + `"}]`)
	case "centrifugo":
		d, s = open(tb, config(name), "ws://h:1")
		stream = serverText(`{"push":{"channel":"p3","pub":{"data":"` + body + `"}}}`)
	case "mqtt":
		d, s = open(tb, config(name), "ws://h:1")
		stream = serverFrame(ws.OpBinary, true, mqtt)
	default:
		tb.Fatal(name)
	}
	s.stage = stageReady
	return d, s, stream
}

var readables = []string{"rookery-binary", "rookery-json", "rookery-tcp", "websocket", "socket.io", "centrifugo", "mqtt"}

// BenchmarkRead is what the generator pays for a delivery beside the system's calls.
func BenchmarkRead(b *testing.B) {
	for _, name := range readables {
		b.Run(name, func(b *testing.B) {
			d, s, stream := readable(b, name)
			var e Event
			b.ReportAllocs()
			for b.Loop() {
				for in := stream; len(in) > 0; {
					n, err := d.Read(s, in, &e)
					if err != nil {
						b.Fatal(err)
					}
					in = in[n:]
				}
			}
			if e.Kind != Message {
				b.Fatalf("%+v", e)
			}
		})
	}
}

// BenchmarkPublish is what the generator pays to send.
func BenchmarkPublish(b *testing.B) {
	for _, name := range readables {
		b.Run(name, func(b *testing.B) {
			d, s, _ := readable(b, name)
			buffer, body := make([]byte, 0, 1000), []byte(Stamp+strings.Repeat("b", 96))
			b.ReportAllocs()
			for b.Loop() {
				buffer = d.AppendPublish(buffer[:0], s, Publish{ID: 12345, Room: 3, Key: 12345, Body: body})
			}
		})
	}
}
