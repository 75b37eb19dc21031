package main

import (
	"context"
	"fmt"

	"rookery/tuning"
	tuned "rookery/tuning/host"
)

// rentedRow is the idle column of the table in docs/tuning.md for a machine of one processor: all connections of the table are there at
// the same time.
func (e *equipment) rentedRow(gibibytes int) row {
	table := tableOf(gibibytes)
	n := e.scaled(table)
	// The cable costs two emulated processors what loopback does not, and a crowd of which many have not answered in time is sent its
	// heartbeats again and again by the kernel, which leaves no time for answers: with 2,100 a second 115,000 connections were lost so.
	heartbeat := heartbeatFor(3 * n)
	return row{
		name: fmt.Sprintf("rented-%dgb", gibibytes),
		what: fmt.Sprintf("A server in a machine with %d GB, set by `rookery tune apply`, with %s idle connections, where docs/tuning.md gives it %s, each in a room of %d; clients are in another machine",
			gibibytes, grouped(float64(n)), grouped(float64(table)), roomSize),
		limit: limit(2, n, answerTime(heartbeat)),
		measure: func(ctx context.Context) ([]figure, error) {
			r, err := e.rent(ctx, gibibytes, table, n, heartbeat)
			if err != nil {
				return nil, err
			}
			defer r.off()
			before, err := r.look()
			if err != nil {
				return nil, err
			}
			if _, err := r.hold(crowd{name: "rented", connections: n, rooms: max(1, n/roomSize), roomsEach: 1, workers: 1}); err != nil {
				return nil, err
			}
			answers, err := r.answered(n)
			if err != nil {
				return nil, err
			}
			after, err := r.look()
			if err != nil {
				return nil, err
			}
			return rentedFigures(n, answers, r.itself, before, after), nil
		},
	}
}

// tableOf is how many idle connections the table gives by memory.
func tableOf(gibibytes int) int {
	h, err := tuned.Typical(int64(gibibytes)<<30, 1)
	if err != nil {
		panic("BUG: " + err.Error()) // its files are ours
	}
	return tuning.Capacity(h, tuning.Gateway).Untracked().Loads[0].ByMemory
}

// looked is what is seen of a rented machine at one moment.
type looked struct {
	remains
	server memory
	closed float64 // connections, ever
}

func (r rented) look() (l looked, err error) {
	if l.remains, err = r.remains(); err != nil {
		return l, err
	}
	if l.server, err = r.resident(r.program.pid); err != nil {
		return l, err
	}
	now, err := r.state()
	l.closed = now.closed
	return l, err
}

func rentedFigures(n int, answers float64, itself tuning.Room, before, after looked) []figure {
	each := func(what string, bytes int64) figure {
		return figure{what: what, value: float64(bytes) / float64(n), unit: byteSize}
	}
	inAll := func(what string, bytes int64) figure {
		return figure{what: what, value: float64(bytes), unit: byteSize}
	}
	idle := itself.Loads[0]
	return []figure{
		{what: "connections, joined, each of which has answered a heartbeat", value: float64(n), unit: number},
		{what: "answers to heartbeats meanwhile", value: answers, unit: number},
		{what: "connections that `rookery tune capacity` gives by memory on the machine itself", value: float64(idle.ByMemory), unit: number},
		inAll("memory that the kernel says the machine has", after.total),
		inAll("available, with the server, before the first connection", before.available),
		inAll("available with all", after.available),
		inAll("free with all", after.free),
		each("less available for each connection", before.available-after.available),
		{what: "the same as the formula has it", value: float64(idle.Process + idle.Kernel), unit: byteSize},
		inAll("resident memory of the server before", before.server.resident),
		inAll("resident memory of the server with all", after.server.resident),
		each("the same for each connection", after.server.resident-before.server.resident),
		each("caches of the kernel for each connection", after.slab-before.slab),
		each("all of the kernel for each connection: all but what is free or of programs and files", after.own-before.own),
		inAll("buffers of all sockets", after.buffers),
		inAll("page tables", after.pageTables),
		{what: "processes that were killed for want of memory", value: float64(after.killed), unit: number, target: most(0)},
		{what: "times that memory of sockets was short", value: float64(after.pressed), unit: number, target: most(0)},
		{what: "connects that were dropped", value: float64(after.dropped - before.dropped), unit: number},
		{what: "connections that were closed", value: after.closed - before.closed, unit: number, target: most(0)},
	}
}
