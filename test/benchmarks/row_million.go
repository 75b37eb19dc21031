package main

import (
	"context"
	"fmt"
	"time"

	"rookery/test/benchmarks/collecting"
	"rookery/test/benchmarks/control"
)

// millionRow is one server process that holds a million connections, each of which answers a heartbeat.
func (e *equipment) millionRow() row {
	n := e.scaled(1_000_000)
	return row{
		name:  "million",
		what:  fmt.Sprintf("One server process with %s connections, each in a room of %d", grouped(float64(n)), roomSize),
		limit: limit(1, n, answerTime(heartbeatFor(n))),
		measure: func(ctx context.Context) ([]figure, error) {
			m, err := e.boot(ctx, n)
			if err != nil {
				return nil, err
			}
			defer m.off()
			here, there, err := m.collecting()
			if err != nil {
				return nil, err
			}
			s, err := m.serve("0.0.0.0:8080", heartbeatFor(n))
			if err != nil {
				return nil, err
			}
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
			memory, err := s.resident(s.program.pid)
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
			share := 100 * cpu.Seconds() / took.Seconds()
			slower, slowerStop := there.Took.Seconds()/here.Took.Seconds(), there.Stop.Seconds()/here.Stop.Seconds()
			return []figure{
				{what: "connections, joined, each of which has answered a heartbeat", value: float64(n), unit: number},
				{what: "answers to heartbeats while it was measured", value: answers, unit: number},
				{what: "resident memory of the server", value: float64(memory.resident), unit: byteSize, target: most(1.1e9 * e.scale)},
				{what: "collections of garbage meanwhile", value: float64(idle), unit: number},
				{what: "longest stop of the world meanwhile", value: inMilliseconds(longestIdle), unit: milliseconds, emulated: true},
				{what: "longest stop of the world, connecting included", value: inMilliseconds(longest), unit: milliseconds, emulated: true},
				{what: "collections' share of one core meanwhile", value: share, unit: percent, emulated: true},
				{what: "a collection beside a million objects, by the same on the host", value: slower, unit: times},
				{what: "its longest stop of the world, by the same on the host", value: slowerStop, unit: times},
				{what: "longest stop of the world meanwhile, by that", value: inMilliseconds(longestIdle) / slowerStop, unit: milliseconds, target: most(5), doubt: estimated},
				{what: "collections' share of one core meanwhile, by that", value: share / slower, unit: percent, target: most(3), doubt: estimated},
			}, nil
		},
	}
}

// estimated is the doubt about times of the host that follow from those of an emulated processor.
const estimated = "estimated"

// collecting measures what it costs to collect garbage on the host and in the machine, which has nothing else to do.
func (m *machine) collecting() (here, there collecting.Cost, err error) {
	said, err := collecting.Run(0)
	if err == nil {
		here, err = collecting.Parse(said)
	}
	if err != nil {
		return here, there, err
	}
	event, err := m.ask(control.Order{Kind: control.Collect, Processor: serverProcessor})
	if err == nil {
		there, err = collecting.Parse(event.Text)
	}
	m.tell("a collection beside a million objects takes %v here and %v in the machine, and stops the world for %v and %v", here.Took, there.Took, here.Stop, there.Stop)
	return here, there, err
}

func inMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
