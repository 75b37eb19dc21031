package main

import (
	"context"
	"fmt"
)

// densityConnections is those of the rows that divide the server's memory among connections.
const densityConnections = 100_000

// densityRow is what a connection costs the server's process: resident memory with everybody there less that without anybody.
func (e *equipment) densityRow() row {
	n := e.scaled(densityConnections)
	return row{
		name:  "density",
		what:  fmt.Sprintf("Memory of the server for an idle connection, authenticated by HS256, in one room of %d, with heartbeats; %s of them", roomSize, grouped(float64(n))),
		limit: limit(1, n, answerTime(heartbeatFor(n))),
		measure: func(ctx context.Context) ([]figure, error) {
			d, err := e.measureDensity(ctx, "density", n, 1)
			if err != nil {
				return nil, err
			}
			return []figure{
				{what: "resident memory for each connection", value: float64(d.idle.resident-d.empty.resident) / float64(n), unit: byteSize, target: most(1024)},
				{what: "the same without the program's pages", value: float64(d.idle.anonymous-d.empty.anonymous) / float64(n), unit: byteSize},
				{what: "resident before the first", value: float64(d.empty.resident), unit: byteSize},
				{what: "resident with all", value: float64(d.idle.resident), unit: byteSize},
				{what: "answers to heartbeats meanwhile", value: d.answers, unit: number},
			}, nil
		},
	}
}

// roomsRow is what a connection costs that is in more rooms than one.
func (e *equipment) roomsRow() row {
	const more = 10
	n := e.scaled(densityConnections)
	return row{
		name:  "rooms",
		what:  fmt.Sprintf("Memory of the server for each further room of a connection: %s connections with %d rooms each against 1", grouped(float64(n)), more),
		limit: limit(2, n, answerTime(heartbeatFor(n))),
		measure: func(ctx context.Context) ([]figure, error) {
			one, err := e.measureDensity(ctx, "rooms-1", n, 1)
			if err != nil {
				return nil, fmt.Errorf("with one room each: %w", err)
			}
			many, err := e.measureDensity(ctx, "rooms-10", n, more)
			if err != nil {
				return nil, fmt.Errorf("with %d rooms each: %w", more, err)
			}
			further := float64(many.idle.resident - many.empty.resident - one.idle.resident + one.empty.resident)
			return []figure{
				{what: "resident memory for each further room", value: further / float64(n*(more-1)), unit: byteSize, target: most(48)},
				{what: "resident with one room each", value: float64(one.idle.resident), unit: byteSize},
				{what: fmt.Sprintf("resident with %d rooms each", more), value: float64(many.idle.resident), unit: byteSize},
			}, nil
		},
	}
}

// density is the server's memory without and with connections.
type density struct {
	empty, idle memory
	answers     float64 // to heartbeats
}

// measureDensity has connections come and answer heartbeats. No collection is asked for: memory is what the process has after
// them, with what its collector has not given back.
func (e *equipment) measureDensity(ctx context.Context, name string, connections, roomsEach int) (d density, err error) {
	s, err := e.serve(ctx, connections, "0.0.0.0:8080", heartbeatFor(connections))
	if err != nil {
		return d, err
	}
	defer s.off()
	if d.empty, err = s.resident(s.program.pid); err != nil {
		return d, err
	}
	_, err = s.hold(crowd{name: name, connections: connections, rooms: max(roomsEach, connections/roomSize), roomsEach: roomsEach, workers: 2})
	if err != nil {
		return d, err
	}
	if d.answers, err = s.answered(connections); err != nil {
		return d, err
	}
	d.idle, err = s.resident(s.program.pid)
	return d, err
}
