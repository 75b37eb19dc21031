package main

import (
	"context"
	"errors"
	"fmt"
)

// takeoverRow is what a takeover costs with hundreds of thousands of connections: nobody may leave, and each has to answer the new
// process. Both processes share one of the machine's processors.
func (e *equipment) takeoverRow() row {
	n := e.scaled(300_000)
	return row{
		name:  "takeover",
		what:  fmt.Sprintf("Another process takes over from a server with %s connections, each in a room of %d, and %d more who talk", grouped(float64(n)), roomSize, watcherCount),
		limit: limit(1, n, answerTime(heartbeatFor(n))),
		measure: func(ctx context.Context) ([]figure, error) {
			// A quarter more than others: all sessions are there twice for a moment.
			s, err := e.serve(ctx, n+n/4, "0.0.0.0:8080", heartbeatFor(n))
			if err != nil {
				return nil, err
			}
			defer s.off()
			if _, err := s.hold(crowd{name: "takeover", connections: n, rooms: max(1, n/roomSize), roomsEach: 1, workers: 1}); err != nil {
				return nil, err
			}
			before, err := s.resident(s.program.pid)
			if err != nil {
				return nil, err
			}
			first := s.program.pid
			h, p, seen, err := s.succeeded(n)
			if err != nil {
				return nil, err
			}
			if s.program.pid == first {
				return nil, errors.New("the server is the same process as before")
			}
			answers, err := s.answered(n)
			if err != nil {
				return nil, err
			}
			after, err := s.resident(s.program.pid)
			if err != nil {
				return nil, err
			}
			return []figure{
				{what: "connections that are with the new process, each of which has answered it a heartbeat", value: float64(n), unit: number, target: least(float64(n))},
				{what: "answers to heartbeats meanwhile", value: answers, unit: number},
				{what: "from the freeze until the log is closed", value: inMilliseconds(h.closed), unit: milliseconds, emulated: true},
				{what: "until it is open in the new process, which has all connections", value: inMilliseconds(h.opened), unit: milliseconds, emulated: true},
				{what: "until that has read what clients have sent meanwhile", value: inMilliseconds(h.reading), unit: milliseconds, emulated: true},
				{what: "longest wait of a delivery of those who talk", value: inMilliseconds(seen.Latencies.Delivery.Quantile(1)), unit: milliseconds, emulated: true},
				{what: "deliveries of theirs, none lost, repeated or reordered", value: float64(seen.Counts.Delivered), unit: number},
				{what: "bytes that were handed over", value: float64(h.bytes), unit: byteSize},
				{what: "the same for each connection", value: float64(h.bytes) / float64(h.given), unit: byteSize},
				{what: "resident memory of the old process before", value: float64(before.resident), unit: byteSize},
				{what: "resident memory of both, at most", value: float64(p.both), unit: byteSize},
				{what: "resident memory of the new process, at most meanwhile", value: float64(p.heir), unit: byteSize},
				{what: "resident memory of the new process, after the heartbeats", value: float64(after.resident), unit: byteSize},
			}, nil
		},
	}
}
