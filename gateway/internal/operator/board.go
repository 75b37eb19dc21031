package operator

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

const (
	// mostViewers are those who look at once.
	mostViewers = 8
	// lookEvery is the time between two looks, surveyEvery after how many the loops are asked again, surveyTime how long their
	// answers are awaited.
	lookEvery   = time.Second
	surveyEvery = 2
	surveyTime  = time.Second
	// Rates are those of the last rateSpan looks, quantiles of the last keptReadings.
	rateSpan     = 5
	keptReadings = 60
)

// ErrViewers: as many look as may.
var ErrViewers = errors.New("as many look at the operator's page already as may; close one of the others")

// Config says what is read.
type Config struct {
	Read   func() Reading
	Survey func(context.Context) Survey
	// Settings are the settings in force as text, without secrets.
	Settings func() []byte
}

// Board gives looks to who watches. Its methods are safe for concurrent use.
type Board struct {
	// Set at construction.
	cfg     Config
	leaving context.Context // done when viewers have to go
	leave   context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex // guards all below, held for memory work only
	viewers  map[*viewer]struct{}
	watching bool // watchLoop runs
	closed   bool
}

// viewer is one who looks.
type viewer struct{ looks chan []byte } // holds one

// New makes a Board at which nobody looks yet. Close ends it.
func New(cfg Config) *Board {
	b := &Board{cfg: cfg, viewers: map[*viewer]struct{}{}}
	b.leaving, b.leave = context.WithCancel(context.Background())
	return b
}

// Close ends all looking, and waits for the goroutine.
func (b *Board) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.leave()
	b.running.Wait()
}

// view begins to look; end is to be called once.
func (b *Board) view() (v *viewer, end func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.viewers) == mostViewers {
		return nil, nil, ErrViewers
	}
	v = &viewer{looks: make(chan []byte, 1)}
	b.viewers[v] = struct{}{}
	if !b.watching && !b.closed {
		b.watching = true
		b.running.Go(b.watchLoop)
	}
	return v, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.viewers, v)
	}, nil
}

// watchLoop makes a look each second: started by the first who looks, ended a second after the last, or by Close.
func (b *Board) watchLoop() {
	var readings []Reading
	var survey Survey
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		if n%surveyEvery == 0 {
			ctx, cancel := context.WithTimeout(b.leaving, surveyTime)
			survey = b.cfg.Survey(ctx)
			cancel()
		}
		readings = append(readings, b.cfg.Read())
		if len(readings) > keptReadings+1 {
			readings = append(readings[:0], readings[1:]...)
		}
		look, err := json.Marshal(lookAt(readings, survey))
		if err != nil {
			panic("BUG: a look can't be written as JSON: " + err.Error())
		}
		if !b.give(look) {
			return
		}
		select {
		case <-tick.C:
		case <-b.leaving.Done():
			return
		}
	}
}

// give hands a look to everybody, in the place of one that was not taken; false: nobody looks any more.
func (b *Board) give(look []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watching = len(b.viewers) > 0
	for v := range b.viewers {
		select {
		case <-v.looks:
		default:
		}
		v.looks <- look
	}
	return b.watching
}
