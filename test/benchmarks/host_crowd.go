package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rookery/bench/result"
)

// beside is the same host with a file of its own for the result of a load that runs at the same time.
func (h *host) beside(name string) *host {
	other := *h
	other.name = name
	return &other
}

// alongside runs a load, and another in a process of its own that begins when the first has come. Both are a scenario and its flags.
func (h *host) alongside(ctx context.Context, s *hostServer, crowd, other []string) (crowded, beside result.Result, err error) {
	failed := make(chan error, 1)
	go func() {
		var err error
		crowded, err = h.beside("crowd").load(ctx, s, crowd[0], crowd[1:]...)
		failed <- err
	}()
	err = pause(ctx, 8*time.Second)
	if err == nil {
		beside, err = h.load(ctx, s, other[0], other[1:]...)
	}
	return crowded, beside, errors.Join(<-failed, err)
}

// asideRow is what a message to a very large room does to two people who talk.
func (h *host) asideRow() row {
	talk := []string{"--connections", "2", "--rooms", "1", "--rate", "20", "--warmup", seconds(2), "--duration", seconds(20)}
	return row{
		name:  "aside",
		what:  fmt.Sprintf("Two people talk, 20 messages/s, while a room of %s gets a message a second", grouped(hostConnections)),
		limit: 3 * time.Minute,
		measure: h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) {
			alone, err := h.load(ctx, s, "rooms", talk...)
			if err != nil {
				return nil, err
			}
			crowd, beside, err := h.alongside(ctx, s,
				[]string{"fanout", "--connections", fmt.Sprint(hostConnections), "--rate", "1", "--warmup", seconds(5), "--duration", seconds(30)},
				append([]string{"rooms"}, talk...))
			if err != nil {
				return nil, err
			}
			p99 := func(r result.Result) float64 { return 1e3 * r.Latencies.Delivery.Quantile(0.99).Seconds() }
			return []figure{
				{what: "p99 of the pair alone", value: p99(alone), unit: milliseconds},
				{what: "p99 of the pair beside the room", value: p99(beside), unit: milliseconds},
				{what: "the difference", value: p99(beside) - p99(alone), unit: milliseconds, target: most(10), doubt: doubt(beside)},
				{what: "p99 of the room", value: p99(crowd), unit: milliseconds, doubt: doubt(crowd)},
			}, nil
		}),
	}
}

// slowRow is what consumers that stop reading cost, and the others.
func (h *host) slowRow() row {
	const stalled = 1000
	plan := h.plan("slow.yaml", `scenario: slow
clients: {connections: 10000, pending: 1000, timeout: 30s}
rooms: {count: 100, per_connection: 1}
publish: {rate: 200, size: 128, arrivals: even}
trouble:
  stall: {share: 0.1, at: 15s, for: 60s}
time: {warmup: 3s, duration: 110s, drain: 60s}
`)
	return row{
		name:  "slow",
		what:  fmt.Sprintf("%s of 10,000 consumers stop reading for a minute; 100 rooms, 200 messages/s", grouped(stalled)),
		limit: 5 * time.Minute,
		// Who takes nothing is closed after a minute otherwise.
		measure: h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) {
			file, err := plan()
			if err != nil {
				return nil, err
			}
			r, err := h.load(ctx, s, file)
			if err != nil {
				return nil, err
			}
			begin := r.LoadFrom - 3 // the stall is counted from the begin of the warm-up
			mean := func(from, to int, of func(result.Second) float64) float64 {
				sum, n := 0.0, 0
				for i := begin + from; i < min(begin+to, len(r.Seconds)); i++ {
					sum, n = sum+of(r.Seconds[i]), n+1
				}
				return sum / max(1, float64(n))
			}
			p99 := func(s result.Second) float64 { return s.Delivery.P99 }
			memory := func(s result.Second) float64 { return float64(s.Server.MemoryBytes) }
			before, during := mean(5, 14, p99), mean(20, 70, p99)
			held := mean(65, 74, memory) - mean(5, 14, memory)
			back := mean(100, 110, memory) - mean(5, 14, memory)
			return []figure{
				{what: "memory of the server for each that is stalled", value: held / stalled, unit: byteSize, target: most(64 << 10)},
				{what: "of that still held half a minute after", value: max(0, back) / stalled, unit: byteSize, target: most(8 << 10)},
				{what: "messages lost", value: float64(r.Counts.Undelivered()), target: most(0)},
				{what: "p99 of the others before, mean of the seconds", value: before, unit: milliseconds},
				{what: "p99 of the others meanwhile, more than before", value: 100 * (during - before) / before, unit: percent, target: most(20), doubt: doubt(r)},
			}, nil
		}, "--limits.stall-timeout", "3m"),
	}
}

// catchUpRow is a crowd that comes back at once and has missed much.
func (h *host) catchUpRow() row {
	return row{
		name:  "catch-up",
		what:  fmt.Sprintf("%s clients come at once, each 100 messages behind, while 200 messages/s go on", grouped(hostConnections)),
		limit: 3 * time.Minute,
		measure: h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) {
			r, err := h.load(ctx, s, "catchup", "--connections", fmt.Sprint(hostConnections), "--rooms", "150", "--backlog", "100",
				"--rate", "200", "--duration", seconds(15), "--drain", seconds(30))
			if err != nil {
				return nil, err
			}
			highest, first := int64(0), r.ServerBefore.MemoryBytes
			for _, second := range r.Seconds {
				highest = max(highest, second.Server.MemoryBytes)
			}
			return []figure{
				{what: "messages lost", value: float64(r.Counts.Undelivered()), target: most(0), doubt: doubt(r)},
				{what: "until all were at the live edge, from the first connect", value: 1e3 * r.CatchUp.Seconds, unit: milliseconds},
				{what: "messages a second meanwhile", value: float64(r.CatchUp.Count) / r.CatchUp.Seconds},
				{what: "memory of the server, most, for each", value: float64(highest-first) / hostConnections, unit: byteSize, target: most(16 << 10)},
				{what: "p99 of an acknowledgement meanwhile and after", value: 1e3 * r.Latencies.Ack.Quantile(0.99).Seconds(), unit: milliseconds},
			}, nil
		}),
	}
}

// overloadRow asks for twice of what is carried, and compares what waits.
func (h *host) overloadRow() row {
	const rounds = 2
	return row{
		name: "overload",
		what: fmt.Sprintf("Twice the messages a second that the server carries; %d rounds in turn, together. The load tester shares the processors and reads each delivery that the server writes: "+
			"its loops are full then, and an acknowledgement that lies unread in its sockets counts as late. So acknowledgements are also timed by a second load tester beside it, of 100 connections "+
			"in rooms of the same size and 100 messages/s, which is refused and served as the others are and has time to read. Its connections come all at once when the others "+
			"publish already, and are there when they have joined", rounds),
		limit: 25 * time.Minute,
		measure: h.each([]publishes{{hundreds, 4000, 3}, {pairs, 8000, 3}}, func(ctx context.Context, s *hostServer, p publishes) ([]figure, error) {
			best, err := h.climb(ctx, s, p.shape, p.rate)
			if err != nil {
				return nil, err
			}
			rate := best.Plan.Publish.Rate
			normal, over := newOverloaded(), newOverloaded()
			for range rounds {
				if err := errors.Join(h.overload(ctx, s, p.shape, rate, normal), h.overload(ctx, s, p.shape, 2*rate, over)); err != nil {
					return nil, err
				}
			}
			of := p.shape.String() + ": "
			ms := func(what string, acks *result.Histogram) figure {
				return figure{what: of + what, value: 1e3 * acks.Quantile(0.99).Seconds(), unit: milliseconds}
			}
			return []figure{
				{what: of + "messages a second that are carried", value: rate},
				ms("p99 of an acknowledgement at that", normal.acks),
				ms("the same, timed beside", normal.beside),
				{what: of + "messages a second that are taken of twice as many", value: over.taken / float64(rounds)},
				{what: of + "refused with a code that says to come again", value: 100 * over.refused / max(1, over.sent), unit: percent},
				ms("p99 of an acknowledgement then", over.acks),
				ms("the same, timed beside", over.beside),
				{what: of + "the same by that before, timed beside", value: over.beside.Quantile(0.99).Seconds() / normal.beside.Quantile(0.99).Seconds(), unit: times, target: most(p.bound), doubt: cmp.Or(over.doubt, normal.doubt)},
				{what: of + "the same by that before, timed in the load tester that is full", value: over.acks.Quantile(0.99).Seconds() / normal.acks.Quantile(0.99).Seconds(), unit: times},
				normal.coming(of + "until the last connection beside is there, at what is carried"),
				over.coming(of + "the same at twice as many"),
				{what: of + "messages lost", value: over.lost, target: most(0)},
			}, nil
		}),
	}
}

// overloaded is what came of some loads of a rate.
type overloaded struct {
	acks, beside               *result.Histogram
	sent, taken, refused, lost float64 // taken: a second, of each load
	came                       float64 // seconds until the last connection beside had come, the longest of the loads
	doubt                      string  // of what was timed beside
}

func newOverloaded() *overloaded {
	return &overloaded{acks: result.NewHistogram(), beside: result.NewHistogram()}
}

// overload adds a load of a rate.
func (h *host) overload(ctx context.Context, s *hostServer, c crowdShape, rate float64, to *overloaded) error {
	few := crowdShape{100, 100 * c.rooms / c.connections}
	r, beside, err := h.alongside(ctx, s,
		slices.Concat([]string{"rooms"}, c.flags(), []string{"--workers", "2", "--rate", fmt.Sprint(rate), "--warmup", seconds(3), "--duration", seconds(30), "--drain", seconds(30)}),
		slices.Concat([]string{"rooms"}, few.flags(), []string{"--rate", "100", "--warmup", seconds(1), "--duration", seconds(8), "--drain", seconds(30)}))
	if err != nil {
		return err
	}
	if err := to.add(r, beside); err != nil {
		return fmt.Errorf("%v, %s messages/s: %w", c, grouped(rate), err)
	}
	return nil
}

// coming is how long those beside took to come.
func (o *overloaded) coming(what string) figure {
	return figure{what: what, value: 1e3 * o.came, unit: milliseconds, doubt: o.doubt}
}

// add adds a load and what was timed beside it.
func (o *overloaded) add(r, beside result.Result) error {
	ends := func(r result.Result) time.Time { return r.Started.Add(time.Duration(r.LoadTo) * time.Second) }
	if late := ends(beside).Sub(ends(r)); late > 0 {
		return fmt.Errorf("the load beside ended %v after that of the crowd, so it was not timed in it: %s", late, summary(beside))
	}
	o.acks.Add(r.Latencies.Ack)
	o.beside.Add(beside.Latencies.Ack)
	o.came = max(o.came, beside.Connect.Seconds)
	if absent := int64(beside.Plan.Clients.Connections) - beside.Connect.Count; absent > 0 {
		o.doubt = cmp.Or(o.doubt, fmt.Sprintf("%d had not come when the load began", absent))
	}
	o.doubt = cmp.Or(o.doubt, doubt(beside))
	o.sent += float64(r.Counts.Sent)
	o.taken += float64(r.Counts.Acknowledged) / float64(max(1, r.LoadTo-r.LoadFrom+3))
	o.refused += float64(r.Counts.Refused)
	o.lost += float64(r.Counts.Undelivered() + beside.Counts.Undelivered())
	return nil
}

// ephemeralRow is a room of cursors.
func (h *host) ephemeralRow() row {
	return row{
		name:  "ephemeral",
		what:  "60 ephemeral messages a second to a room of 1,000",
		limit: 2 * time.Minute,
		measure: h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) {
			r, err := h.load(ctx, s, "ephemeral")
			if err != nil {
				return nil, err
			}
			return []figure{
				{what: "deliveries a second", value: deliveriesPerSecond(r)},
				{what: "messages lost, or left out for newer ones", value: float64(r.Counts.Undelivered() + r.Counts.Dropped), target: most(0)},
				{what: "p99 of a delivery", value: 1e3 * r.Latencies.Delivery.Quantile(0.99).Seconds(), unit: milliseconds, doubt: doubt(r)},
				{what: "CPU of the server for each delivery", value: 1e6 * perDelivery(r), unit: microseconds},
			}, nil
		}),
	}
}

// durableRow is how much is acknowledged as synced when nobody listens but the publishers.
func (h *host) durableRow() row {
	alone := crowdShape{100, 100}
	return row{
		name:  "durable",
		what:  "Messages of 128 bytes from 100 publishers that are acknowledged as synced, with a p99 under 500 ms; rates grow by a quarter, and the way to the first that was too much is halved twice; what is not carried is tried a second time",
		limit: 6 * time.Minute,
		measure: h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) {
			best, err := h.climb(ctx, s, alone, 20_000)
			if err != nil {
				return nil, err
			}
			return []figure{
				{what: "messages a second", value: float64(best.Counts.Acknowledged) / float64(max(1, best.LoadTo-best.LoadFrom+3))},
				{what: "p50 of an acknowledgement at that", value: 1e3 * best.Latencies.Ack.Quantile(0.5).Seconds(), unit: milliseconds},
				{what: "p99 of an acknowledgement at that", value: 1e3 * best.Latencies.Ack.Quantile(0.99).Seconds(), unit: milliseconds},
			}, nil
		}),
	}
}
