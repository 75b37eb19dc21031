package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "rookery/proto/rookery/v1"
)

const (
	// roomSize is how many idle connections share a room.
	roomSize = 100
	// maxConnections leaves the server its reserve of descriptors.
	maxConnections = 18_000
	// dialing is how many connections are being opened at a time.
	dialing = 64
	// settling is how long memory is given to come to rest.
	settling = 15 * time.Second
)

// density is the memory of idle connections, each authenticated and a member of one room.
type density struct {
	Connections int     `json:"connections"`
	Before      memory  `json:"before"` // nobody connected, after a warm-up
	Idle        memory  `json:"idle"`   // all connected and at rest
	PerConn     float64 `json:"resident_bytes_per_connection"`
	// HeapPerConn is Go's account of live memory after a collection: what is left when no
	// garbage of the handshakes is counted.
	HeapPerConn float64       `json:"heap_bytes_per_connection"`
	Opened      time.Duration `json:"opened_ns"` // time to open them all
}

func measureDensity(ctx context.Context, o options) (d density, err error) {
	s, err := startServer(ctx, o.binary)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	// A first few make the server allocate what it needs whatever their number.
	first, err := hold(ctx, s, 2*roomSize)
	if err != nil {
		return d, err
	}
	first.release()
	if err := s.await(ctx, func(m metrics) bool { return m.value("rookery_connections") == 0 }); err != nil {
		return d, err
	}
	if d.Before, err = s.atRest(ctx); err != nil {
		return d, err
	}
	heapBefore, err := s.liveHeap(ctx)
	if err != nil {
		return d, err
	}

	begun := time.Now()
	idle, err := hold(ctx, s, o.connections)
	if err != nil {
		return d, err
	}
	defer idle.release()
	d.Opened = time.Since(begun)
	err = s.await(ctx, func(m metrics) bool { return int(m.value("rookery_subscriptions")) == o.connections })
	if err != nil {
		return d, err
	}
	if d.Idle, err = s.atRest(ctx); err != nil {
		return d, err
	}
	heap, err := s.liveHeap(ctx)
	if err != nil {
		return d, err
	}
	d.Connections = o.connections
	d.PerConn = float64(d.Idle.ResidentBytes-d.Before.ResidentBytes) / float64(o.connections)
	d.HeapPerConn = (heap - heapBefore) / float64(o.connections)
	return d, nil
}

// atRest samples the memory until it changes by less than a hundredth in two seconds, and
// takes the last sample. Go gives memory back to the kernel in the background.
func (s *server) atRest(ctx context.Context) (memory, error) {
	begun := time.Now()
	last, err := s.memory()
	for err == nil {
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return last, ctx.Err()
		}
		var now memory
		now, err = s.memory()
		change := now.ResidentBytes - last.ResidentBytes
		last = now
		if max(change, -change) < now.ResidentBytes/100 || time.Since(begun) > settling {
			break
		}
	}
	return last, err
}

// liveHeap has the server collect its garbage and returns what is left, with the stacks.
func (s *server) liveHeap(ctx context.Context) (float64, error) {
	if _, err := s.get(ctx, "/debug/pprof/heap?gc=1"); err != nil {
		return 0, err
	}
	m, err := s.metrics(ctx)
	return m.value("go_memstats_heap_alloc_bytes") + m.value("go_memstats_stack_inuse_bytes"), err
}

// holding is a number of connections that only answer pings.
type holding struct {
	connections []*connection
	running     sync.WaitGroup
}

// hold opens n connections in rooms of roomSize.
func hold(ctx context.Context, s *server, n int) (*holding, error) {
	h := &holding{connections: make([]*connection, n)}
	failed := make([]error, dialing)
	var opening sync.WaitGroup
	for worker := range dialing {
		opening.Go(func() {
			for i := worker; i < n && failed[worker] == nil; i += dialing {
				h.connections[i], failed[worker] = enter(ctx, s.address, i)
			}
		})
	}
	opening.Wait()
	if err := errors.Join(failed...); err != nil {
		h.release()
		return nil, err
	}
	for _, c := range h.connections {
		h.running.Go(func() {
			f := &v1.ServerFrame{}
			for c.next(f) == nil { // ends when release closes it
			}
		})
	}
	return h, nil
}

func enter(ctx context.Context, address string, i int) (*connection, error) {
	c, err := connect(ctx, address, i, 256)
	if err != nil {
		return nil, fmt.Errorf("connection %d: %w", i, err)
	}
	if err := c.join(fmt.Sprintf("idle-%d", i/roomSize)); err != nil {
		c.conn.Close()
		return nil, fmt.Errorf("connection %d: %w", i, err)
	}
	return c, nil
}

func (h *holding) release() {
	for _, c := range h.connections {
		if c != nil {
			c.conn.Close()
		}
	}
	h.running.Wait()
}
