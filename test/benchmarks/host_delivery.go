package main

import (
	"context"
	"fmt"
	"time"

	"rookery/bench/result"
)

// crowdShape is how many connections are in how many rooms.
type crowdShape struct {
	connections, rooms int
}

func (c crowdShape) String() string {
	if c.rooms == 1 {
		return fmt.Sprintf("1 room of %s", grouped(float64(c.connections)))
	}
	return fmt.Sprintf("%s rooms of %s", grouped(float64(c.rooms)), grouped(float64(c.connections/c.rooms)))
}

func (c crowdShape) flags() []string {
	return []string{"--connections", fmt.Sprint(c.connections), "--rooms", fmt.Sprint(c.rooms), "--size", "128"}
}

var (
	hundreds = crowdShape{10_000, 100}
	large    = crowdShape{5000, 1}
	pairs    = crowdShape{10_000, 5000}
)

// publishing runs a crowd whose members publish so many messages a second, all together.
func (h *host) publishing(ctx context.Context, s *hostServer, c crowdShape, rate float64, period int, more ...string) (result.Result, error) {
	flags := append(c.flags(), "--rate", fmt.Sprint(rate), "--warmup", seconds(3), "--duration", seconds(period), "--floor")
	return h.load(ctx, s, "rooms", append(flags, more...)...)
}

// deliveryRow is what a delivery costs where each is a write of its own.
func (h *host) deliveryRow() row {
	return row{
		name: "delivery",
		what: "CPU of the server for each delivery of 128 bytes, all messages synced, at rates at which little is gathered, as a multiple of the floor's write to one of as many sockets (`docs/bench.md`)",
		// Each has rounds of its own, because the floor and the load are not measured at one moment.
		limit: 6 * time.Minute,
		measure: func(ctx context.Context) (figures []figure, err error) {
			for _, c := range []struct {
				shape crowdShape
				rate  float64
				most  float64
			}{{hundreds, 700, 1.15}, {large, 14, 1.15}, {pairs, 15_000, 1.45}} {
				s, err := h.serve(ctx)
				if err != nil {
					return nil, err
				}
				var used, multiple []float64
				var last result.Result
				for range 3 {
					if last, err = h.publishing(ctx, s, c.shape, c.rate, 8); err != nil {
						break
					}
					used = append(used, 1e6*perDelivery(last))
					multiple = append(multiple, perDelivery(last)/last.Floor.WriteSeconds)
				}
				if stopped := s.stop(); err == nil {
					err = stopped
				}
				if err != nil {
					return nil, err
				}
				what := fmt.Sprintf("%v, %s messages/s", c.shape, grouped(c.rate))
				figures = append(figures,
					figure{what: what + ": deliveries for each write", value: perWrite(last), unit: times},
					figure{what: what + ": CPU for a delivery", value: median(used), unit: microseconds},
					figure{what: what + ": the same, by the floor's write", value: median(multiple), unit: times, target: most(c.most), doubt: doubt(last)})
			}
			return figures, nil
		},
	}
}

// busyRow is what a delivery costs where what waits for a connection leaves in one write.
func (h *host) busyRow() row {
	return row{
		name:  "busy",
		what:  "Deliveries for each second of the server's CPU when it is busy, as a multiple of the writes that the floor does in it",
		limit: 3 * time.Minute,
		measure: func(ctx context.Context) (figures []figure, err error) {
			for _, c := range []struct {
				shape crowdShape
				rate  float64
				least float64
			}{{large, 500, 12}, {hundreds, 15_000, 7}} {
				s, err := h.serve(ctx)
				if err != nil {
					return nil, err
				}
				r, err := h.publishing(ctx, s, c.shape, c.rate, 10)
				if stopped := s.stop(); err == nil {
					err = stopped
				}
				if err != nil {
					return nil, err
				}
				what := fmt.Sprintf("%v, %s messages/s", c.shape, grouped(c.rate))
				figures = append(figures,
					figure{what: what + ": deliveries a second", value: deliveriesPerSecond(r), doubt: doubt(r)},
					figure{what: what + ": deliveries for each write of the floor", value: r.Floor.WriteSeconds / perDelivery(r), unit: times, target: least(c.least)})
			}
			return figures, nil
		},
	}
}

// perWrite is how many deliveries leave in a write, replies to publishers and all: 1 where nothing is gathered and nobody is answered.
func perWrite(r result.Result) float64 {
	delivered, writes := 0.0, 0.0
	for _, s := range loaded(r) {
		delivered += float64(s.Counts.Delivered)
		writes += s.Server.Metrics["rookery_writes_total"]
	}
	return delivered / max(1, writes)
}

func deliveriesPerSecond(r result.Result) float64 {
	delivered := int64(0)
	for _, s := range loaded(r) {
		delivered += s.Counts.Delivered
	}
	return float64(delivered) / max(1, float64(len(loaded(r))))
}

// mostRow is the largest load that is carried.
func (h *host) mostRow() row {
	return row{
		name:  "most",
		what:  "The most that is carried without loss, without a refusal and with a p99 under 500 ms; rates grow by a quarter",
		limit: 8 * time.Minute,
		measure: func(ctx context.Context) (figures []figure, err error) {
			for _, c := range []struct {
				shape crowdShape
				from  float64
				least float64
			}{{large, 300, 2_500_000}, {hundreds, 3000, 1_500_000}} {
				s, err := h.serve(ctx)
				if err != nil {
					return nil, err
				}
				best, err := h.climb(ctx, s, c.shape, c.from)
				if stopped := s.stop(); err == nil {
					err = stopped
				}
				if err != nil {
					return nil, err
				}
				figures = append(figures,
					figure{what: c.shape.String() + ": deliveries a second", value: deliveriesPerSecond(best), target: least(c.least)},
					figure{what: c.shape.String() + ": p99 at that", value: 1e3 * best.Latencies.Delivery.Quantile(0.99).Seconds(), unit: milliseconds})
			}
			return figures, nil
		},
	}
}

// climb raises the rate until it is not carried, and gives the last that was; the first must be.
func (h *host) climb(ctx context.Context, s *hostServer, c crowdShape, from float64) (best result.Result, err error) {
	for rate := from; ; rate *= 1.25 {
		r, err := h.load(ctx, s, "rooms", append(c.flags(), "--rate", fmt.Sprint(rate), "--warmup", seconds(3), "--duration", seconds(8))...)
		if err != nil {
			return best, err
		}
		n := r.Counts
		carried := n.Lost+n.Duplicated+n.Reordered+n.Refused+n.Unanswered+n.Unsent == 0 && r.Latencies.Delivery.Quantile(0.99) < 500*time.Millisecond
		if !carried && rate == from {
			return best, fmt.Errorf("%v: %s messages a second are not carried: %s", c, grouped(rate), summary(r))
		}
		if !carried {
			return best, nil
		}
		best = r
	}
}

// latencyRow is what the server adds to what the disk takes.
func (h *host) latencyRow() row {
	return row{
		name:  "latency",
		what:  fmt.Sprintf("From the moment a message is due to its delivery, %v, 200 messages/s, all synced; above the syncs of the same run, whose quantiles are of a histogram with bounds that double", hundreds),
		limit: 2 * time.Minute,
		measure: func(ctx context.Context) ([]figure, error) {
			s, err := h.serve(ctx)
			if err != nil {
				return nil, err
			}
			defer s.stop()
			const syncs = "rookery_log_sync_seconds"
			before, err := s.histogram(ctx, syncs)
			if err != nil {
				return nil, err
			}
			r, err := h.publishing(ctx, s, hundreds, 200, 30)
			if err != nil {
				return nil, err
			}
			after, err := s.histogram(ctx, syncs)
			if err != nil {
				return nil, err
			}
			var figures []figure
			for _, q := range []struct {
				name string
				at   float64
				most float64
			}{{"p50", 0.5, 1.2}, {"p99", 0.99, 2.4}} {
				delivery, sync := 1e3*r.Latencies.Delivery.Quantile(q.at).Seconds(), 1e3*quantile(before, after, q.at)
				figures = append(figures,
					figure{what: q.name + " of a delivery", value: delivery, unit: milliseconds},
					figure{what: q.name + " of a sync", value: sync, unit: milliseconds},
					figure{what: q.name + " of a delivery above that", value: delivery - sync, unit: milliseconds, target: most(q.most), doubt: doubt(r)})
			}
			return figures, nil
		},
	}
}
