package main

import (
	"context"
	"fmt"

	"rookery/test/benchmarks/control"
)

// engineRow is what a connection costs the load tester: its workers with everybody there less those of a crowd of a hundred.
func (e *equipment) engineRow() row {
	const connections, workers = 500_000, 2
	n := e.scaled(connections)
	return row{
		name:  "engine",
		what:  fmt.Sprintf("Memory of the load tester's workers for an idle connection; %s of them in %d workers", grouped(float64(n)), workers),
		limit: limit(1, n, 0),
		measure: func(ctx context.Context) ([]figure, error) {
			s, err := e.serve(ctx, n, "0.0.0.0:8080", slowHeartbeat)
			if err != nil {
				return nil, err
			}
			defer s.off()
			load, few, err := s.holdWorkers(crowd{name: "engine-few", connections: roomSize, rooms: 1, roomsEach: 1, workers: workers})
			if err != nil {
				return nil, err
			}
			if err := s.interrupt(load); err != nil {
				return nil, err
			}
			_, all, err := s.holdWorkers(crowd{name: "engine", connections: n, rooms: max(1, n/roomSize), roomsEach: 1, workers: workers})
			if err != nil {
				return nil, err
			}
			each := float64(n - roomSize)
			return []figure{
				{what: "anonymous memory for each connection", value: float64(all.anonymous-few.anonymous) / each, unit: byteSize},
				{what: "resident memory for each connection", value: float64(all.resident-few.resident) / each, unit: byteSize},
				{what: "resident memory of all workers", value: float64(all.resident), unit: byteSize},
				{what: fmt.Sprintf("the same with %d connections", roomSize), value: float64(few.resident), unit: byteSize},
			}, nil
		},
	}
}

// holdWorkers gives the memory of a crowd's workers too, all together.
func (s *server) holdWorkers(c crowd) (load *program, sum memory, err error) {
	if load, err = s.hold(c); err != nil {
		return nil, sum, err
	}
	if err := s.settle(); err != nil {
		return nil, sum, err
	}
	pids, err := s.processes(load)
	if err != nil {
		return nil, sum, err
	}
	if len(pids) != 1+c.workers {
		return nil, sum, fmt.Errorf("the load tester has %d processes, want %d", len(pids), 1+c.workers)
	}
	for _, pid := range pids[1:] {
		m, err := s.resident(pid)
		if err != nil {
			return nil, sum, err
		}
		sum.resident += m.resident
		sum.anonymous += m.anonymous
	}
	return load, sum, nil
}

// processes are those of a program: the first is the one that was started.
func (m *machine) processes(p *program) ([]int, error) {
	event, err := m.ask(control.Order{Kind: control.Children, PID: p.pid})
	return append([]int{p.pid}, event.PIDs...), err
}
