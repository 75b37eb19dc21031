package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"rookery/proto"
	"rookery/storage"
	"rookery/storage/commitlog"
)

const (
	users = 20_000
	// texts is how many different bodies there are.
	texts = 4096
	// seed makes a log the same in every run, but for the times.
	seed = 1
	// skew is the exponent of Zipf's law; the library wants more than 1.
	skew = 1.01
)

// traffic makes up messages.
type traffic struct {
	random *rand.Rand
	zipf   *rand.Zipf
	rooms  []string
	users  []string
	bodies [][]byte
	heads  []uint64 // of the rooms: the number given out last
	keys   int
}

func newTraffic(rooms int, seed uint64) *traffic {
	t := &traffic{
		random: rand.New(rand.NewPCG(seed, 0)),
		rooms:  make([]string, rooms),
		users:  make([]string, users),
		bodies: make([][]byte, texts),
		heads:  make([]uint64, rooms),
	}
	t.zipf = rand.NewZipf(t.random, skew, 1, uint64(rooms-1))
	for i := range t.rooms {
		t.rooms[i] = roomName(i)
	}
	for i := range t.users {
		t.users[i] = fmt.Sprintf("user-%05d", i)
	}
	for i := range t.bodies {
		body := make([]byte, 100+t.random.IntN(29))
		for j := range body {
			body[j] = "etaoin shrdlu cmfwyp"[t.random.IntN(20)]
		}
		t.bodies[i] = proto.AppendTextContent(nil, body) // as the server stores it
	}
	return t
}

func roomName(i int) string { return fmt.Sprintf("room-%06d", i) }

// any gives the number of a room, by the skew.
func (t *traffic) any() int { return int(t.zipf.Uint64()) }

// message makes the next message of a room. Its key is as long as those of the clients.
func (t *traffic) message(room int, at time.Time) storage.Record {
	t.heads[room]++
	t.keys++
	key := append(make([]byte, 0, 25), "1f0c3b5a7d9e2846-"...)
	return storage.Record{
		Room: t.rooms[room],
		Seq:  t.heads[room],
		At:   at.UnixMilli(),
		From: t.users[t.random.IntN(users)],
		Key:  string(strconv.AppendInt(key, int64(t.keys), 10)),
		Body: t.bodies[t.random.IntN(texts)],
	}
}

// appender appends as fast as the log takes it, some at a time, and less where the disk is slow and the log's queue short.
type appender struct {
	producer *commitlog.Producer
	window   int

	mu       sync.Mutex
	changed  *sync.Cond
	inFlight int
	err      error
}

func newAppender(l *commitlog.Log, window int) *appender {
	a := &appender{window: window}
	a.changed = sync.NewCond(&a.mu)
	a.producer = l.NewProducer(func(n int, err error) {
		a.mu.Lock()
		a.inFlight -= n
		a.err = err
		a.mu.Unlock()
		a.changed.Signal()
	})
	return a
}

func (a *appender) append(r storage.Record) error {
	for limit := a.window - 1; ; limit /= 2 {
		if err := a.await(limit); err != nil {
			return err
		}
		err := a.producer.Append(r)
		if err == nil {
			break
		}
		if !errors.Is(err, storage.ErrFull) || limit == 0 {
			return err
		}
	}
	a.mu.Lock()
	a.inFlight++
	a.mu.Unlock()
	return nil
}

// await returns when no more than n messages wait for their commit.
func (a *appender) await(n int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.inFlight > n && a.err == nil {
		a.changed.Wait()
	}
	return a.err
}

// filled is what making the log came to.
type filled struct {
	Took  time.Duration
	Bytes int64
}

// fill makes the log, unless it is there.
func fill(ctx context.Context, o options, r *report) error {
	if found, err := kept(o); found || err != nil {
		return err
	}
	var err error
	if r.Filled, err = measured[filled](ctx, "fill", o.task()); err != nil {
		return err
	}
	b, err := json.Marshal(o.made)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.dir, madeName), b, 0o600)
}

func (o options) task() task {
	return task{Dir: filepath.Join(o.dir, logName), Made: o.made, Reads: o.reads}
}

func fillChild(t task, _ io.Writer) (any, error) {
	begun := time.Now()
	l, err := t.open(commitlog.SyncNever)
	if err != nil {
		return nil, err
	}
	traffic := newTraffic(t.Made.Rooms, seed)
	a := newAppender(l, 20_000)
	first := begun.Add(-t.Made.Span)
	step := t.Made.Span / time.Duration(t.Made.Messages)
	for i := range t.Made.Messages {
		room := i // each has one at least
		if i >= t.Made.Rooms {
			room = traffic.any()
		}
		if err := a.append(traffic.message(room, first.Add(time.Duration(i)*step))); err != nil {
			return nil, err
		}
	}
	if err := a.await(0); err != nil {
		return nil, err
	}
	bytes := l.Stats().Bytes
	if err := l.Close(); err != nil {
		return nil, err
	}
	return filled{Took: time.Since(begun), Bytes: bytes}, nil
}
