package main

import (
	"context"
	"fmt"
	"time"
)

// millionRow is one server process that holds a million connections, each of which answers a heartbeat.
func (e *equipment) millionRow() row {
	n := e.scaled(1_000_000)
	return row{
		name:  "million",
		what:  fmt.Sprintf("One server process with %s connections, each in a room of %d", grouped(float64(n)), roomSize),
		limit: limit(1, n, answerTime(heartbeatFor(n))),
		measure: func(ctx context.Context) ([]figure, error) {
			s, err := e.serve(ctx, n, "0.0.0.0:8080", heartbeatFor(n))
			if err != nil {
				return nil, err
			}
			defer s.off()
			if _, err := s.hold(crowd{name: "million", connections: n, rooms: max(1, n/roomSize), roomsEach: 1, workers: 1}); err != nil {
				return nil, err
			}
			coming := s.collections.count()
			begun := time.Now()
			answers, err := s.answered(n)
			if err != nil {
				return nil, err
			}
			took := time.Since(begun)
			m, err := s.resident(s.program.pid)
			if err != nil {
				return nil, err
			}
			_, longest, _, err := s.collections.since(0)
			if err != nil {
				return nil, err
			}
			idle, longestIdle, cpu, err := s.collections.since(coming)
			if err != nil {
				return nil, err
			}
			return []figure{
				{what: "connections, joined, each of which has answered a heartbeat", value: float64(n), unit: number},
				{what: "answers to heartbeats while it was measured", value: answers, unit: number},
				{what: "resident memory of the server", value: float64(m.resident), unit: byteSize, target: most(1.1e9 * e.scale)},
				{what: "collections of garbage meanwhile", value: float64(idle), unit: number},
				{what: "longest stop of the world meanwhile", value: inMilliseconds(longestIdle), unit: milliseconds, target: most(5), emulated: true},
				{what: "longest stop of the world, connecting included", value: inMilliseconds(longest), unit: milliseconds, emulated: true},
				{what: "collections' share of one core meanwhile", value: 100 * cpu.Seconds() / took.Seconds(), unit: percent, target: most(3), emulated: true},
			}, nil
		},
	}
}

func inMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
