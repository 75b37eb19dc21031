package gateway_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// BenchmarkBehind has 50 members of a room read again, all at once, that have read nothing for so many messages: as many as the kernel's buffers and
// a loop keep together, and far more. The CPU is that of the readers too, who do no more than count.
func BenchmarkBehind(b *testing.B) {
	const members = 50
	for _, messages := range []int{40_000, 100_000} {
		b.Run(fmt.Sprintf("messages=%d", messages), func(b *testing.B) {
			srv := gatewaytest.Start(b, func(c *gateway.Config) {
				c.Log.Sync = gateway.SyncNever
				c.Heartbeat = time.Hour
			})
			writer := login(b, srv.Addr(), wires[0], "writer")
			var readers []*peer
			for i := range members {
				p := login(b, srv.Addr(), wire{stream: true, codec: proto.Binary, buffer: 16 << 10}, fmt.Sprint("reader", i))
				p.enter("busy")
				p.conn.SetDeadline(time.Time{}) // many rounds may take longer than a test waits
				readers = append(readers, p)
			}
			text := strings.Repeat("m", 128)
			var used time.Duration
			for b.Loop() {
				b.StopTimer()
				for sent := 0; sent < messages; sent += 100 {
					for range 100 {
						writer.request(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: "busy", Content: &v1.Publish_Text{Text: text}}}})
					}
					for range 100 {
						if f := writer.must(); f.GetPublished() == nil {
							b.Fatalf("publish was answered with %v", f)
						}
					}
				}
				b.StartTimer()
				before := processTime(b)
				var reading sync.WaitGroup
				for _, p := range readers {
					reading.Go(func() {
						for range messages {
							size, err := binary.ReadUvarint(p.in)
							if err == nil {
								_, err = p.in.Discard(int(size))
							}
							if err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				reading.Wait()
				used += processTime(b) - before
			}
			deliveries := float64(b.N * members * messages)
			b.ReportMetric(deliveries/b.Elapsed().Seconds(), "deliveries/s")
			b.ReportMetric(float64(used.Nanoseconds())/deliveries, "cpu-ns/delivery")
			b.ReportMetric(metric(b, srv, "rookery_pages_total")/float64(b.N*members), "pages/member")
		})
	}
}

// processTime is the CPU that this process has used.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
