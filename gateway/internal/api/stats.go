package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Figures are what the server counts. Those of Counts only grow.
type Figures struct {
	Connections    int64  `json:"connections" doc:"open now"`
	Capacity       int    `json:"capacity" doc:"most connections at once"`
	Sessions       int64  `json:"sessions" doc:"authenticated connections now"`
	Subscriptions  int64  `json:"subscriptions" doc:"rooms joined now, over all connections"`
	RoomsActive    int64  `json:"roomsActive" doc:"rooms held in memory: with somebody in them, or a publish under way"`
	RoomsStored    int64  `json:"roomsStored" doc:"rooms with messages"`
	LogBytes       int64  `json:"logBytes" doc:"size of the log"`
	CatalogEntries int64  `json:"catalogEntries" doc:"members, bans, settings, positions"`
	Counts         Counts `json:"counts" doc:"since the server started"`
}

// Counts are counters since the start.
type Counts struct {
	Connections int64 `json:"connections" doc:"accepted, refused ones among them"`
	Requests    int64 `json:"requests" doc:"frames taken from clients"`
	Published   int64 `json:"published" doc:"messages committed"`
	Ephemeral   int64 `json:"ephemeral" doc:"ephemeral messages taken"`
	Deliveries  int64 `json:"deliveries" doc:"messages handed to connections"`
	Refused     int64 `json:"refused" doc:"publishes refused, for load or because of the log"`
}

// Rates are per second, over the last ten to twenty seconds.
type Rates struct {
	Seconds     float64 `json:"seconds" doc:"the time that they are taken over, 0 if the server has just started"`
	Connections float64 `json:"connections"`
	Requests    float64 `json:"requests"`
	Published   float64 `json:"published"`
	Ephemeral   float64 `json:"ephemeral"`
	Deliveries  float64 `json:"deliveries"`
	Refused     float64 `json:"refused"`
}

// Stats are the figures of now.
type Stats struct {
	At uint64 `json:"at" doc:"Unix milliseconds"`
	Figures
	Rates Rates `json:"rates" doc:"per second"`
}

// sampleEvery is how often counters are noted down.
const sampleEvery = 10 * time.Second

// rates keeps two samples of the counters, so that the older is always ten seconds old.
type rates struct {
	mu           sync.Mutex // guards both, held for a copy
	older, newer sample
}

type sample struct {
	at     time.Time
	counts Counts
}

// take notes the counters down.
func (r *rates) take(s sample) {
	r.mu.Lock()
	r.older, r.newer = r.newer, s
	r.mu.Unlock()
}

// since are the rates from a sample up to now.
func (r *rates) since(now sample) Rates {
	r.mu.Lock()
	from := r.older
	if from.at.IsZero() {
		from = r.newer
	}
	r.mu.Unlock()
	seconds := now.at.Sub(from.at).Seconds()
	if from.at.IsZero() || seconds <= 0 {
		return Rates{}
	}
	per := func(now, then int64) float64 { return float64(now-then) / seconds }
	return Rates{
		Seconds:     seconds,
		Connections: per(now.counts.Connections, from.counts.Connections),
		Requests:    per(now.counts.Requests, from.counts.Requests),
		Published:   per(now.counts.Published, from.counts.Published),
		Ephemeral:   per(now.counts.Ephemeral, from.counts.Ephemeral),
		Deliveries:  per(now.counts.Deliveries, from.counts.Deliveries),
		Refused:     per(now.counts.Refused, from.counts.Refused),
	}
}

// sampleLoop notes the counters down every ten seconds: started by New, ended by Refuse.
func (a *API) sampleLoop() {
	a.rates.take(sample{time.Now(), a.cfg.Figures().Counts})
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case at := <-tick.C:
			a.rates.take(sample{at, a.cfg.Figures().Counts})
		case <-a.leaving.Done():
			return
		}
	}
}

func (a *API) registerStats() {
	register(a, ScopeStats, huma.Operation{
		OperationID: "get-stats", Method: http.MethodGet, Path: "/v1/stats",
		Summary: "What the server is doing",
	}, a.stats)
}

func (a *API) stats(context.Context, *struct{}) (*answer[Stats], error) {
	figures, now := a.cfg.Figures(), time.Now()
	return &answer[Stats]{Stats{At: uint64(now.UnixMilli()), Figures: figures, Rates: a.rates.since(sample{now, figures.Counts})}}, nil
}
