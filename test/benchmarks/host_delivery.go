package main

import (
	"cmp"
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

// publishes are the flags of a crowd whose members publish so many messages a second, all together; 0: one in each room when the last
// is back.
func (c crowdShape) publishes(rate float64, period int) []string {
	flags := append(c.flags(), "--rate", fmt.Sprint(rate))
	if rate == 0 {
		flags = append(c.flags(), "--closed", "1")
	}
	return append(flags, "--warmup", seconds(3), "--duration", seconds(period), "--floor")
}

// publishing puts that load on the gateway.
func (h *host) publishing(ctx context.Context, s *hostServer, c crowdShape, rate float64, period int) (result.Result, error) {
	return h.load(ctx, s, "rooms", c.publishes(rate, period)...)
}

// publishes is a crowd, so many messages a second, or one under way in each room, and what a figure of it should be.
type publishes struct {
	shape crowdShape
	rate  float64 // 0: a closed loop
	bound float64
}

func (p publishes) String() string {
	if p.rate == 0 {
		return p.shape.String()
	}
	return fmt.Sprintf("%v, %s messages/s", p.shape, grouped(p.rate))
}

// each measures several loads, with a server of its own for each.
func (h *host) each(loads []publishes, measure func(context.Context, *hostServer, publishes) ([]figure, error)) func(context.Context) ([]figure, error) {
	return func(ctx context.Context) (figures []figure, err error) {
		for _, p := range loads {
			more, err := h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) { return measure(ctx, s, p) })(ctx)
			if err != nil {
				return nil, err
			}
			figures = append(figures, more...)
		}
		return figures, nil
	}
}

// deliveryRow is what a delivery costs in a closed loop, which is as busy as it can be.
func (h *host) deliveryRow() row {
	return row{
		name:  "delivery",
		what:  "CPU of the server for each delivery of 128 bytes, all messages synced, in a closed loop: in each room the next message is sent when its sender has the last one back; as a multiple of the floor's write to one of as many sockets (`docs/bench.md`); median of 3 rounds. A bare server is one with the same event loops that only reads and writes (`test/benchmarks/bare`), measured in turn with the gateway",
		limit: 12 * time.Minute,
		measure: h.each([]publishes{{hundreds, 0, 1.15}, {large, 0, 1.15}, {pairs, 0, 1.45}},
			func(ctx context.Context, s *hostServer, p publishes) ([]figure, error) {
				var used, multiple, system, gathered, rates, bare, bareMultiple, bareSystem []float64
				doubted := ""
				for range 3 {
					r, err := h.publishing(ctx, s, p.shape, p.rate, 8)
					if err != nil {
						return nil, err
					}
					// The floor is that of the same run: it is measured before and after the load.
					used, multiple = append(used, 1e6*perDelivery(r)), append(multiple, perDelivery(r)/r.Floor.WriteSeconds)
					system = append(system, systemPerDelivery(r)/r.Floor.WriteSeconds)
					gathered, rates = append(gathered, perWrite(r)), append(rates, deliveriesPerSecond(r))
					doubted = cmp.Or(doubted, doubt(r))
					if r, err = h.bare(ctx, "rooms", p.shape.publishes(p.rate, 8)...); err != nil {
						return nil, err
					}
					bare, bareMultiple = append(bare, 1e6*perDelivery(r)), append(bareMultiple, perDelivery(r)/r.Floor.WriteSeconds)
					bareSystem = append(bareSystem, systemPerDelivery(r)/r.Floor.WriteSeconds)
				}
				return []figure{
					{what: p.String() + ": deliveries a second", value: median(rates)},
					{what: p.String() + ": deliveries for each write", value: median(gathered), unit: times},
					{what: p.String() + ": CPU for a delivery", value: median(used), unit: microseconds},
					{what: p.String() + ": the same, by the floor's write", value: median(multiple), unit: times, target: most(p.bound), doubt: doubted},
					{what: p.String() + ": of that in the kernel", value: median(system), unit: times},
					{what: p.String() + ": CPU of a bare server for one", value: median(bare), unit: microseconds},
					{what: p.String() + ": the same, by the floor's write", value: median(bareMultiple), unit: times},
					{what: p.String() + ": of that in the kernel", value: median(bareSystem), unit: times},
				}, nil
			}),
	}
}

// busyRow is what a delivery costs where what waits for a connection leaves in one write.
func (h *host) busyRow() row {
	return row{
		name:  "busy",
		what:  "Deliveries for each second of the server's CPU when it is busy, as a multiple of the writes that the floor does in it",
		limit: 3 * time.Minute,
		measure: h.each([]publishes{{large, 500, 12}, {hundreds, 15_000, 7}},
			func(ctx context.Context, s *hostServer, p publishes) ([]figure, error) {
				r, err := h.publishing(ctx, s, p.shape, p.rate, 10)
				if err != nil {
					return nil, err
				}
				return []figure{
					{what: p.String() + ": deliveries a second", value: deliveriesPerSecond(r), doubt: doubt(r)},
					{what: p.String() + ": deliveries for each write of the floor", value: r.Floor.WriteSeconds / perDelivery(r), unit: times, target: least(p.bound), doubt: doubt(r)},
				}, nil
			}),
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
		what:  "The most that is carried without loss, without a refusal and with a p99 under 500 ms; rates grow by a quarter, and the way to the first that was too much is halved twice; what is not carried is tried a second time, since what else the machine does decides there",
		limit: 12 * time.Minute,
		measure: h.each([]publishes{{large, 300, 2_500_000}, {hundreds, 3000, 1_500_000}},
			func(ctx context.Context, s *hostServer, p publishes) ([]figure, error) {
				best, err := h.climb(ctx, s, p.shape, p.rate)
				if err != nil {
					return nil, err
				}
				return []figure{
					{what: p.shape.String() + ": deliveries a second", value: deliveriesPerSecond(best), target: least(p.bound), doubt: doubt(best)},
					{what: p.shape.String() + ": p99 at that", value: 1e3 * best.Latencies.Delivery.Quantile(0.99).Seconds(), unit: milliseconds},
				}, nil
			}),
	}
}

// climb raises the rate until it is not carried, then twice halves the way between the last that was and the first that was not, and gives the largest that
// was; the first must be. A rate counts as not carried when it was not in two tries.
func (h *host) climb(ctx context.Context, s *hostServer, c crowdShape, from float64) (best result.Result, err error) {
	carries := func(rate float64) (bool, error) {
		for try := range 2 {
			r, err := h.load(ctx, s, "rooms", append(c.flags(), "--rate", fmt.Sprint(rate), "--warmup", seconds(3), "--duration", seconds(8))...)
			if err != nil {
				return false, err
			}
			n := r.Counts
			if n.Undelivered()+n.Duplicated+n.Reordered+n.Refused+n.Unanswered+n.Unsent == 0 && r.Latencies.Delivery.Quantile(0.99) < 500*time.Millisecond {
				best = r
				return true, nil
			}
			if rate == from && try == 1 {
				return false, fmt.Errorf("%v: %s messages a second are not carried: %s", c, grouped(rate), summary(r))
			}
		}
		return false, nil
	}
	carried, broken := 0.0, from
	for ; ; broken *= 1.25 {
		ok, err := carries(broken)
		if err != nil {
			return best, err
		}
		if !ok {
			break
		}
		carried = broken
	}
	for range 2 {
		middle := (carried + broken) / 2
		ok, err := carries(middle)
		if err != nil {
			return best, err
		}
		if ok {
			carried = middle
		} else {
			broken = middle
		}
	}
	return best, nil
}

// latencyRow is what the server adds to what a commit takes. A message that comes while a batch is synced waits for it and then for its own
// sync, so a commit is up to two syncs.
func (h *host) latencyRow() row {
	const rounds = 3
	bounds := []struct {
		name     string
		at, most float64
	}{{"p50", 0.5, 1.2}, {"p99", 0.99, 2.4}}
	return row{
		name:  "latency",
		what:  fmt.Sprintf("From the moment a message is due to its delivery, %v, 200 messages/s, all synced; above the commits of the same run, from a message's place in its room to its acknowledgement; median of %d rounds. The quantiles of commits and of syncs alone are of histograms with bounds that double. A bare server is one with the same event loops that only reads and writes, and commits nothing (`test/benchmarks/bare`), measured in turn with the gateway", hundreds, rounds),
		limit: 4 * time.Minute,
		measure: h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) {
			values, doubted := map[string][]float64{}, ""
			for range rounds {
				before, err := s.histograms(ctx)
				if err != nil {
					return nil, err
				}
				r, err := h.publishing(ctx, s, hundreds, 200, 20)
				if err != nil {
					return nil, err
				}
				after, err := s.histograms(ctx)
				if err != nil {
					return nil, err
				}
				bare, err := h.bare(ctx, "rooms", hundreds.publishes(200, 20)...)
				if err != nil {
					return nil, err
				}
				doubted = cmp.Or(doubted, doubt(r))
				for _, q := range bounds {
					delivery, commit := r.Latencies.Delivery.Quantile(q.at).Seconds(), quantile(before.commits, after.commits, q.at)
					for what, seconds := range map[string]float64{
						" of a delivery":                  delivery,
						" of a sync":                      quantile(before.syncs, after.syncs, q.at),
						" of a commit":                    commit,
						" of a delivery above that":       delivery - commit,
						" of a delivery by a bare server": bare.Latencies.Delivery.Quantile(q.at).Seconds(),
					} {
						values[q.name+what] = append(values[q.name+what], 1e3*seconds)
					}
				}
			}
			var figures []figure
			for _, q := range bounds {
				for _, what := range []string{" of a delivery", " of a sync", " of a commit", " of a delivery above that", " of a delivery by a bare server"} {
					figures = append(figures, figure{what: q.name + what, value: median(values[q.name+what]), unit: milliseconds})
				}
				judged := &figures[len(figures)-2]
				judged.target, judged.doubt = most(q.most), doubted
			}
			return figures, nil
		}),
	}
}
