package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

// kernelRow is what the kernel holds for a connection, on both kinds of listeners. Both ends are in the machine.
func (e *equipment) kernelRow() row {
	n := e.scaled(densityConnections)
	return row{
		name:  "kernel",
		what:  fmt.Sprintf("Memory of the kernel for an idle connection, with both ends in the machine; %s of them", grouped(float64(n))),
		limit: limit(2, n, 0),
		measure: func(ctx context.Context) ([]figure, error) {
			var figures []figure
			for _, listener := range []struct {
				address string
				both    bool
			}{{":8080", true}, {"0.0.0.0:8080", false}} {
				g, err := e.measureKernel(ctx, n, listener.address, listener.both)
				if err != nil {
					return nil, fmt.Errorf("listening at %s: %w", listener.address, err)
				}
				accepting, connecting := g.split()
				each := func(what string, bytes int64) {
					figures = append(figures, figure{what: fmt.Sprintf("%s, `%s`", what, listener.address), value: float64(bytes) / float64(n), unit: byteSize})
				}
				each("both ends, caches of the kernel", g.slab)
				each("both ends, all but what is free or of programs and files", g.own)
				each("the server's end, of the caches", accepting)
				each("the client's end, of the caches", connecting)
				each("the socket of the server's end", socketBytes(g))
			}
			return figures, nil
		},
	}
}

// socketBytes is what the sockets of the accepting ends take of accepting.
func socketBytes(g grown) int64 {
	if g.bothKind {
		return g.caches["TCPv6"]
	}
	return g.caches["TCP"] / 2
}

// measureKernel has connections come to a listener.
func (e *equipment) measureKernel(ctx context.Context, connections int, listen string, both bool) (g grown, err error) {
	s, err := e.serve(ctx, connections, listen, slowHeartbeat)
	if err != nil {
		return g, err
	}
	defer s.off()
	// A few come first, so that the programs and the kernel have what they need whatever the number.
	load, err := s.hold(crowd{name: "kernel-1", connections: roomSize, rooms: 1, roomsEach: 1, workers: 2})
	if err != nil {
		return g, err
	}
	if err := errors.Join(s.interrupt(load), s.settle()); err != nil {
		return g, err
	}
	before, err := s.kernelMemory()
	if err != nil {
		return g, err
	}
	_, err = s.hold(crowd{name: "kernel", connections: connections, rooms: max(1, connections/roomSize), roomsEach: 1, workers: 2})
	if err != nil {
		return g, err
	}
	if err := s.settle(); err != nil {
		return g, err
	}
	after, err := s.kernelMemory()
	if err != nil {
		return g, err
	}
	if has := after.tcp6 >= int64(connections); has != both {
		return g, fmt.Errorf("%d sockets are of IPv6, with %d connections: the listener is not what it should be", after.tcp6, connections)
	}
	g = grown{slab: after.slab - before.slab, own: after.own - before.own, caches: maps.Clone(after.caches), bothKind: both}
	for name, bytes := range before.caches {
		g.caches[name] -= bytes
	}
	return g, nil
}
