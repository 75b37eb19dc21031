package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"rookery/bench/result"
)

// peoplePlan is a chat of 10,000 people in rooms of ten, who write as often as those of the scenario chat.
const peoplePlan = `scenario: rooms
clients: {connections: 10000, rate: 2000}
rooms: {count: 1000, per_connection: 1, presence: %t}
publish: {rate: 2500, arrivals: poisson, receipts: %v}
trouble: {churn: %d}
time: {warmup: 8s, duration: 20s, drain: 5s}
`

// peopleRow is what it costs that people see who is there and who has read what.
func (h *host) peopleRow() row {
	return row{
		name:  "people",
		what:  "CPU of the server for a chat of 10,000 people in 1,000 rooms, 2,500 messages/s in all, everything synced: for the messages alone; with receipts, where who gets a message marks it as read after two to four seconds, with all that came meanwhile, and each mark is answered, stored and told to the room; and with presence of every room watched by everybody as well, while 20 people a second go for good and others come, which they do in all three; median of 3 rounds in turn",
		limit: 10 * time.Minute,
		measure: h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) {
			loads := []struct {
				what     string
				presence bool
				receipts time.Duration
				used     []float64
			}{{what: "messages alone"}, {what: "with receipts", receipts: 4 * time.Second}, {what: "with receipts and presence", presence: true, receipts: 4 * time.Second}}
			doubted, marks, receipts := "", int64(0), int64(0)
			for range 3 {
				for i := range loads {
					l := &loads[i]
					plan, err := h.plan("people.yaml", fmt.Sprintf(peoplePlan, l.presence, l.receipts, 20))()
					if err != nil {
						return nil, err
					}
					r, err := h.load(ctx, s, plan)
					if err != nil {
						return nil, err
					}
					l.used = append(l.used, perSecond(r))
					doubted, marks, receipts = cmp.Or(doubted, doubt(r)), r.Counts.Marks, r.Counts.Receipts
				}
			}
			alone := median(loads[0].used)
			var figures []figure
			for _, l := range loads {
				figures = append(figures, figure{what: l.what + ": CPU in a second", value: 1e3 * median(l.used), unit: milliseconds})
			}
			return append(figures,
				figure{what: "marks in a run", value: float64(marks)},
				figure{what: "receipts that members were told in it", value: float64(receipts)},
				figure{what: "with receipts and presence, more than messages alone", value: 100 * (median(loads[2].used)/alone - 1), unit: percent, target: most(25), doubt: doubted},
			), nil
		}),
	}
}

// perSecond is the server's CPU time in a second of the counted load.
func perSecond(r result.Result) float64 {
	used := 0.0
	for _, s := range loaded(r) {
		used += s.Server.CPUSeconds
	}
	return used / max(1, float64(len(loaded(r))))
}
