package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/test/measure"
)

const (
	pageRecords = 50
	// pagesRate is how many messages a second are published meanwhile, each of them synced.
	pagesRate = 1000
)

// pages is how long the newest messages of a room take to be read.
type pages struct {
	Quiet      measure.Percentiles // nobody publishes
	Busy       measure.Percentiles
	PerSecond  float64 // committed meanwhile
	SyncMillis float64 // mean of their syncs
}

func measurePages(ctx context.Context, o options, r *report) (err error) {
	if err := warm(o.task().Dir); err != nil {
		return err
	}
	r.Pages, err = measured[pages](ctx, "pages", o.task())
	return err
}

func pagesChild(t task, _ io.Writer) (any, error) {
	l, err := t.open(commitlog.SyncAlways)
	if err != nil {
		return nil, err
	}
	var p pages
	random := rand.New(rand.NewPCG(seed, 1))
	if p.Quiet, err = readNewest(l, t, random); err != nil {
		return nil, err
	}
	before, begun := l.Stats(), time.Now()
	started, stop, stopped := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() { stopped <- publishSteadily(l, t.Made.Rooms, started, stop) }()
	<-started
	p.Busy, err = readNewest(l, t, random)
	took := time.Since(begun).Seconds()
	close(stop)
	if published := <-stopped; err == nil {
		err = published
	}
	if err != nil {
		return nil, err
	}
	after := l.Stats()
	p.PerSecond = float64(after.Records-before.Records) / took
	p.SyncMillis = 1000 * (after.SyncSeconds.Sum - before.SyncSeconds.Sum) / max(1, float64(after.Syncs-before.Syncs))
	return p, l.Close()
}

// readNewest reads a page of each of many random rooms.
func readNewest(l *commitlog.Log, t task, random *rand.Rand) (measure.Percentiles, error) {
	samples := make([]time.Duration, t.Reads)
	for i := range samples {
		name := roomName(random.IntN(t.Made.Rooms))
		head := l.Head(name)
		n := uint64(0)
		begun := time.Now()
		err := l.ReadBefore(name, 0, storage.PageLimit{Records: pageRecords}, func(storage.Record) bool {
			n++
			return true
		})
		samples[i] = time.Since(begun)
		if err == nil && n < min(pageRecords, head) {
			err = fmt.Errorf("%s has %d messages, a page gave %d", name, head, n)
		}
		if err != nil {
			return measure.Percentiles{}, err
		}
	}
	return measure.PercentilesOf(samples), nil
}

// publishSteadily publishes until stop is closed, and closes started when the first message is committed. A
// message that is late is left out, not sent later.
func publishSteadily(l *commitlog.Log, rooms int, started, stop chan struct{}) error {
	traffic := newTraffic(rooms, seed+2)
	for i, room := range traffic.rooms {
		traffic.heads[i] = l.Head(room)
	}
	a := newAppender(l, pagesRate)
	first := errors.Join(a.append(traffic.message(traffic.any(), time.Now())), a.await(0))
	close(started)
	if first != nil {
		return first
	}
	ticker := time.NewTicker(time.Second / pagesRate)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return a.await(0)
		case <-ticker.C:
		}
		if err := a.append(traffic.message(traffic.any(), time.Now())); err != nil {
			return err
		}
	}
}
