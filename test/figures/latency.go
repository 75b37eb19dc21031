package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	v1 "rookery/proto/rookery/v1"
	"rookery/test/measure"
)

const (
	latencyRooms   = 10
	latencyMembers = 10
	latencyRate    = 200 // messages a second, all rooms together
)

// latency is from the moment at which a message was to be sent to its arrival at a member:
// a sender that is late makes the figure worse, not the load smaller. The publisher is a
// member, too. Messages are synced before they are delivered.
type latency struct {
	Rooms      int                 `json:"rooms"`
	Members    int                 `json:"members_per_room"`
	Rate       int                 `json:"messages_per_second"`
	Deliveries measure.Percentiles `json:"deliveries"`
	Lost       int                 `json:"lost"`
}

func measureLatency(ctx context.Context, o options) (l latency, err error) {
	l = latency{Rooms: latencyRooms, Members: latencyMembers, Rate: latencyRate}
	s, err := startServer(ctx, o.binary)
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	var rooms [latencyRooms][]*connection
	defer func() {
		for _, members := range rooms {
			for _, c := range members {
				c.conn.Close()
			}
		}
	}()
	for i := range rooms {
		for j := range latencyMembers {
			c, err := connect(ctx, s.address, i*latencyMembers+j, 4<<10)
			if err != nil {
				return l, err
			}
			rooms[i] = append(rooms[i], c)
			if err := c.join(latencyRoom(i)); err != nil {
				return l, err
			}
		}
	}

	each := int(o.period.Seconds()) * latencyRate / latencyRooms
	begin := time.Now().Add(100 * time.Millisecond)
	samples := make([][]time.Duration, latencyRooms*latencyMembers)
	failed := make([]error, latencyRooms*(latencyMembers+1))
	var running sync.WaitGroup
	for i, members := range rooms {
		// The rooms take turns, so that the load is even.
		first := begin.Add(time.Duration(i) * time.Second / latencyRate)
		running.Go(func() {
			failed[latencyRooms*latencyMembers+i] = publishSteadily(members[0], latencyRoom(i), begin, first, each)
		})
		for j, c := range members {
			n := i*latencyMembers + j
			running.Go(func() { samples[n], failed[n] = receive(c, begin, each) })
		}
	}
	running.Wait()
	if err := errors.Join(failed...); err != nil {
		return l, err
	}
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s...)
	}
	l.Deliveries = measure.PercentilesOf(all)
	l.Lost = each*latencyRooms*latencyMembers - len(all)
	return l, nil
}

func latencyRoom(i int) string { return fmt.Sprintf("steady-%d", i) }

// publishSteadily sends n messages, each at its moment or, when that has passed, at once.
// The content is the moment, from begin.
func publishSteadily(c *connection, room string, begin, first time.Time, n int) error {
	const interval = time.Second * latencyRooms / latencyRate
	for k := range n {
		due := first.Add(time.Duration(k) * interval)
		time.Sleep(time.Until(due))
		if err := c.send(publishRequest(room, "", strconv.FormatInt(int64(due.Sub(begin)), 10))); err != nil {
			return err
		}
	}
	return nil
}

// receive takes n messages.
func receive(c *connection, begin time.Time, n int) ([]time.Duration, error) {
	samples := make([]time.Duration, 0, n)
	f := &v1.ServerFrame{}
	for len(samples) < n {
		if err := c.next(f); err != nil {
			return nil, fmt.Errorf("after %d of %d messages: %w", len(samples), n, err)
		}
		switch op := f.Op.(type) {
		case *v1.ServerFrame_Message:
			due, err := strconv.ParseInt(op.Message.GetText(), 10, 64)
			if err != nil || op.Message.Seq != uint64(len(samples)+1) {
				return nil, fmt.Errorf("message %d arrived as %v", len(samples)+1, op.Message)
			}
			samples = append(samples, time.Since(begin)-time.Duration(due))
		case *v1.ServerFrame_Error:
			return nil, fmt.Errorf("publish was answered with %v", op.Error)
		}
	}
	return samples, nil
}
