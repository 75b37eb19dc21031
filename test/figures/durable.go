package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	v1 "rookery/proto/rookery/v1"
	"rookery/test/measure"
)

const (
	durablePublishers = 100
	durableBytes      = 128
)

// durable is how many messages a second are acknowledged, each of them synced before. Every
// publisher has a room of its own and a number of messages in flight; nobody listens.
type durable struct {
	Publishers int                 `json:"publishers"`
	InFlight   int                 `json:"in_flight"`
	Bytes      int                 `json:"bytes"`
	PerSecond  float64             `json:"messages_per_second"`
	Replies    measure.Percentiles `json:"replies"` // from send to acknowledgement
	// Of the server, while it was measured.
	Syncs      uint64  `json:"syncs"`
	Batch      float64 `json:"messages_per_sync"`
	SyncMean   float64 `json:"sync_mean_ms"`
	SyncMedian float64 `json:"sync_p50_at_most_ms"` // the bucket's bound
	SyncP99    float64 `json:"sync_p99_at_most_ms"`
}

func measureDurable(ctx context.Context, o options, inFlight int) (d durable, err error) {
	d = durable{Publishers: durablePublishers, InFlight: inFlight, Bytes: durableBytes}
	s, err := startServer(ctx, o.binary)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	var publishers []*connection
	defer func() {
		for _, c := range publishers {
			c.conn.Close()
		}
	}()
	for i := range durablePublishers {
		c, err := connect(ctx, s.address, i, 4<<10)
		if err != nil {
			return d, err
		}
		publishers = append(publishers, c)
	}
	before, err := s.metrics(ctx)
	if err != nil {
		return d, err
	}
	samples := make([][]time.Duration, durablePublishers)
	failed := make([]error, durablePublishers)
	begun := time.Now()
	var running sync.WaitGroup
	for i, c := range publishers {
		running.Go(func() {
			samples[i], failed[i] = publishClosely(c, fmt.Sprintf("durable-%d", i), inFlight, begun.Add(o.period))
		})
	}
	running.Wait()
	took := time.Since(begun)
	if err := errors.Join(failed...); err != nil {
		return d, err
	}
	after, err := s.metrics(ctx)
	if err != nil {
		return d, err
	}
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s...)
	}
	d.Replies = measure.PercentilesOf(all)
	d.PerSecond = float64(len(all)) / took.Seconds()
	syncs := grown(before.histogram("rookery_log_sync_seconds"), after.histogram("rookery_log_sync_seconds"))
	d.Syncs = syncs.count
	d.Batch = grown(before.histogram("rookery_log_batch_records"), after.histogram("rookery_log_batch_records")).mean()
	d.SyncMean, d.SyncMedian, d.SyncP99 = 1000*syncs.mean(), 1000*syncs.atMost(50), 1000*syncs.atMost(99)
	return d, nil
}

// publishClosely keeps inFlight messages on their way until the end, and takes the last
// replies. Replies that came in one message are followed by as many publishes in one.
func publishClosely(c *connection, room string, inFlight int, end time.Time) ([]time.Duration, error) {
	var samples []time.Duration
	sent := map[uint64]time.Time{}
	text := strings.Repeat("x", durableBytes)
	publish := func(n int) error {
		requests := make([]*v1.ClientFrame, n)
		for i := range requests {
			id := c.nextID + 1 + uint64(i)
			requests[i] = publishRequest(room, fmt.Sprintf("k%d", id), text)
			sent[id] = time.Now()
		}
		return c.send(requests...)
	}
	if err := publish(inFlight); err != nil {
		return nil, err
	}
	f := &v1.ServerFrame{}
	for len(sent) > 0 {
		answered := 0
		for answered == 0 || c.more() {
			if err := c.next(f); err != nil {
				return nil, err
			}
			at, ours := sent[f.Id]
			if !ours || f.GetPublished() == nil {
				return nil, fmt.Errorf("publish was answered with %v", f)
			}
			samples = append(samples, time.Since(at))
			delete(sent, f.Id)
			answered++
		}
		if time.Now().Before(end) {
			if err := publish(answered); err != nil {
				return nil, err
			}
		}
	}
	return samples, nil
}
