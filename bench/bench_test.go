package bench

import (
	"context"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rookery/bench/benchtest"
	"rookery/bench/plan"
	"rookery/bench/report"
	"rookery/bench/result"
	"rookery/gateway/gatewaytest"
)

// workerVariable makes this test binary a worker.
const workerVariable = "ROOKERY_BENCH_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		if ServeWorker(context.Background(), "test", os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Setenv(workerVariable, "1") // for the workers
	// Under the race detector a worker would sleep for a second at its end, and go on after a race of which nobody is told: now it ends, and its run with it.
	os.Setenv("GORACE", "atexit_sleep_ms=0 halt_on_error=1")
	// Runs wait for their seconds most of the time.
	if err := flag.Set("test.parallel", "10"); err != nil {
		panic(err)
	}
	// What a gateway leaves, as in its own tests: gnet's pool, and a closed buntdb for a second.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/tidwall/buntdb.(*DB).backgroundManager"),
	)
}

// smallPlan is a load of a second: 12 connections in 3 rooms, 120 messages.
func smallPlan(target string) plan.Plan {
	p, err := plan.Named("chat")
	if err != nil {
		panic(err)
	}
	p.Server.Targets, p.Server.PID = []string{target}, -1
	p.Clients.Connections, p.Rooms.Count = 12, 3
	p.Publish.Rate, p.Publish.Arrivals, p.Publish.Typing, p.Publish.Receipts = 120, "even", 0, 0
	p.Trouble = plan.Trouble{}
	p.Time = plan.Time{Duration: time.Second, Drain: 20 * time.Second}
	return p
}

func runPlan(t *testing.T, p plan.Plan) *result.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := Run(ctx, p, Options{Version: "test", Worker: []string{os.Args[0]}, Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, r)
	return r
}

// addsUp: the seconds of every run are its counts.
func addsUp(t *testing.T, r *result.Result) {
	t.Helper()
	var sum result.Counts
	for _, second := range r.Seconds {
		sum.Add(second.Counts)
	}
	if sum != r.Counts {
		t.Errorf("the seconds add up to %+v\nthe counts are %+v", sum, r.Counts)
	}
}

// TestNothingIsWrongWithAGoodServer: no fault is found where none is, by every way to speak.
func TestNothingIsWrongWithAGoodServer(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*plan.Plan, *benchtest.Server)
	}{
		{"binary", func(*plan.Plan, *benchtest.Server) {}},
		{"JSON", func(p *plan.Plan, _ *benchtest.Server) { p.Server.Codec = "json" }},
		{"raw TCP", func(p *plan.Plan, s *benchtest.Server) { p.Server.Targets = []string{s.TCP()} }},
		{"two workers, two targets", func(p *plan.Plan, s *benchtest.Server) {
			p.Clients.Workers, p.Server.Targets = 2, []string{s.URL(), s.URL()}
		}},
		{"a rate of connects, sources, three rooms each", func(p *plan.Plan, _ *benchtest.Server) {
			p.Clients.Rate, p.Clients.Sources, p.Rooms.PerConnection = 50, []string{"127.0.0.0/29"}, 3
		}},
		{"poisson, one sender in each room", func(p *plan.Plan, _ *benchtest.Server) {
			p.Publish.Arrivals, p.Publish.Senders = "poisson", 1
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := benchtest.Start(t, benchtest.Faults{})
			p := smallPlan(s.URL())
			c.change(&p, s)
			r := runPlan(t, p)
			truth, got := s.Truth(), r.Counts
			members := int64(12 / 3 * p.Rooms.PerConnection)
			want := result.Counts{
				Connects: 12, Connected: 12, Joined: int64(12 * p.Rooms.PerConnection), Sent: truth.Published, Acknowledged: truth.Acknowledged,
				Expected: truth.Published * members, Delivered: truth.Delivered, BytesIn: got.BytesIn, BytesOut: got.BytesOut,
			}
			if got != want {
				t.Errorf("counts are %+v\nwant %+v", got, want)
			}
			if got.Expected != got.Delivered || truth.Published == 0 || got.BytesIn == 0 || got.BytesOut == 0 {
				t.Errorf("of %d published messages %d deliveries were owed and %d came", truth.Published, got.Expected, got.Delivered)
			}
			if p.Publish.Arrivals == "even" && got.Sent+got.Unsent != 120 {
				t.Errorf("%d messages were sent, 120 a second for a second are 120", got.Sent)
			}
			if r.Latencies.Delivery.Count() != got.Delivered || r.Latencies.Ack.Count() != got.Acknowledged || r.Latencies.Connect.Count() != 12 {
				t.Errorf("there are %d latencies of %d deliveries, %d of %d acknowledgements, %d of 12 connects", r.Latencies.Delivery.Count(),
					got.Delivered, r.Latencies.Ack.Count(), got.Acknowledged, r.Latencies.Connect.Count())
			}
			if r.Connect.Count != 12 || r.LoadTo-r.LoadFrom != 1 {
				t.Errorf("connect %+v, load from second %d to %d", r.Connect, r.LoadFrom, r.LoadTo)
			}
		})
	}
}

// TestEveryFaultIsCounted: the report shows exactly what the server did wrong.
func TestEveryFaultIsCounted(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults benchtest.Faults
		want   func(truth benchtest.Truth) result.Counts // of what is wrong
		says   string                                    // a fault in words
	}{
		{"drop", benchtest.Faults{Drop: 7}, func(s benchtest.Truth) result.Counts { return result.Counts{Lost: s.Dropped} }, "lost"},
		{"drop the tail", benchtest.Faults{DropTail: 3}, func(s benchtest.Truth) result.Counts { return result.Counts{Missing: s.TailKept} }, "missing"},
		{"duplicate", benchtest.Faults{Duplicate: 5}, func(s benchtest.Truth) result.Counts { return result.Counts{Duplicated: s.Duplicated} }, "duplicated"},
		{"swap", benchtest.Faults{Swap: 6}, func(s benchtest.Truth) result.Counts { return result.Counts{Reordered: s.Swapped} }, "reordered"},
		{"garble", benchtest.Faults{Garble: 9}, func(s benchtest.Truth) result.Counts {
			return result.Counts{Foreign: s.Garbled, Lost: s.Garbled}
		}, "foreign"},
		{"wrong room", benchtest.Faults{WrongRoom: 9}, func(s benchtest.Truth) result.Counts {
			return result.Counts{Foreign: s.WrongRoom, Lost: s.WrongRoom}
		}, "foreign"},
		{"refuse", benchtest.Faults{Refuse: 4}, func(s benchtest.Truth) result.Counts { return result.Counts{Refused: s.Refused} }, "publish"},
		{"lose acknowledgements", benchtest.Faults{LoseAck: 4}, func(s benchtest.Truth) result.Counts { return result.Counts{Unanswered: s.AcksLost} }, ""},
		{"lie", benchtest.Faults{AckLie: 8}, func(s benchtest.Truth) result.Counts { return result.Counts{Lost: s.Withheld} }, "lost"},
		{"refuse connects", benchtest.Faults{RefuseConnect: 5}, func(s benchtest.Truth) result.Counts {
			return result.Counts{ConnectsFailed: s.ConnectsRefused}
		}, "connect"},
		{"reset connects", benchtest.Faults{ResetConnect: 5}, func(s benchtest.Truth) result.Counts {
			return result.Counts{ConnectsFailed: s.ConnectsReset}
		}, "connect"},
		{"close connections", benchtest.Faults{CloseAfter: 25}, func(s benchtest.Truth) result.Counts { return result.Counts{Disconnected: s.Closed} }, "closed"},
		{"refuse joins", benchtest.Faults{RefuseJoin: 5}, func(s benchtest.Truth) result.Counts { return result.Counts{JoinsRefused: s.JoinsRefused} }, "join"},
		{"all at once", benchtest.Faults{Drop: 7, Duplicate: 11, Swap: 13, LoseAck: 5}, func(s benchtest.Truth) result.Counts {
			return result.Counts{Lost: s.Dropped, Duplicated: s.Duplicated, Reordered: s.Swapped, Unanswered: s.AcksLost}
		}, "lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := benchtest.Start(t, c.faults)
			p := smallPlan(s.URL())
			p.Time.Drain = 2 * time.Second // for what never comes
			if c.faults.RefuseJoin > 0 {
				p.Trouble.Moves = 30 // four of each room join, and the first that moves is refused
			}
			r := runPlan(t, p)
			truth, counts := s.Truth(), r.Counts
			got := result.Counts{
				ConnectsFailed: counts.ConnectsFailed, Disconnected: counts.Disconnected, Refused: counts.Refused, Unanswered: counts.Unanswered,
				JoinsRefused: counts.JoinsRefused, Lost: counts.Lost, Duplicated: counts.Duplicated, Reordered: counts.Reordered, Foreign: counts.Foreign,
			}
			if c.faults.CloseAfter > 0 {
				got.Unanswered = 0 // a reset takes the acknowledgements along that were not read yet
			}
			// Which message is a room's last, so that nothing behind it shows that it was lost, is left to the schedule.
			if got.Missing = counts.Missing; c.want(truth).Lost > 0 && got.Lost > 0 {
				got.Lost, got.Missing = counts.Undelivered(), 0
			}
			if want := c.want(truth); got != want {
				t.Errorf("found %+v\nwant  %+v\ntruth %+v\nfaults %v", got, want, truth, r.Faults)
			}
			if c.want(truth) == (result.Counts{}) {
				t.Errorf("the server did nothing wrong: %+v", truth)
			}
			if counts.Delivered != counts.Expected-counts.Undelivered() {
				t.Errorf("of %d deliveries %d came and %d did not", counts.Expected, counts.Delivered, counts.Undelivered())
			}
			said := c.says == ""
			for _, f := range r.Faults {
				said = said || f.What == c.says
			}
			if !said {
				t.Errorf("no fault says %q: %v", c.says, r.Faults)
			}
		})
	}
}

// TestLatencyInAStall: what was due while the server stood still waited until it went on, whoever would have sent it. A tool that
// waits for answers would see one late message for each sender.
func TestLatencyInAStall(t *testing.T) {
	t.Parallel()
	const stall = time.Second
	s := benchtest.Start(t, benchtest.Faults{Stalls: []benchtest.Stall{{After: 500 * time.Millisecond, For: stall}}})
	p := smallPlan(s.URL())
	p.Publish.Rate, p.Time.Duration = 300, 3*time.Second
	r := runPlan(t, p)
	if r.Counts.Undelivered()+r.Counts.Unsent != 0 {
		t.Fatalf("%d lost or missing, %d not sent", r.Counts.Undelivered(), r.Counts.Unsent)
	}
	const members = 12 / 3
	for _, late := range []time.Duration{stall / 10, stall / 4, stall / 2, stall * 3 / 4} {
		// Messages that were due in the stall, but not in its last part of this length.
		want := int64((stall-late).Seconds()*300)*members - 2*members
		got := int64(0)
		for _, b := range r.Latencies.Delivery.Buckets() {
			if b.From >= late-late/50 {
				got += b.Count
			}
		}
		if got < want {
			t.Errorf("%d deliveries took %v or longer, want %d at least: 300 messages/s to %d members in a stall of %v", got, late, want, members, stall)
		}
	}
	if got := r.Latencies.Delivery.Quantile(1); got < stall-stall/20 {
		t.Errorf("the longest delivery took %v, and the server stood still for %v", got, stall)
	}
}

// TestDelay: latencies are what the server adds, at least.
func TestDelay(t *testing.T) {
	t.Parallel()
	s := benchtest.Start(t, benchtest.Faults{Delay: 80 * time.Millisecond, AckDelay: 30 * time.Millisecond})
	r := runPlan(t, smallPlan(s.URL()))
	if got := r.Latencies.Delivery.Quantile(0); got < 79*time.Millisecond {
		t.Errorf("a delivery took %v, and each was kept for 80 ms", got)
	}
	if got := r.Latencies.Ack.Quantile(0); got < 29*time.Millisecond {
		t.Errorf("an acknowledgement took %v, and each was kept for 30 ms", got)
	}
}

// TestTroubleOnPurpose runs every kind of it against the real gateway, with two workers.
func TestTroubleOnPurpose(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*plan.Plan)
		also   func(t *testing.T, r *result.Result)
	}{
		{"stall", func(p *plan.Plan) {
			p.Trouble.Stall = plan.Stall{Share: 0.5, At: 200 * time.Millisecond, For: time.Second}
		}, func(t *testing.T, r *result.Result) {
			if got := r.Latencies.Delivery.Quantile(1); got < 500*time.Millisecond {
				t.Errorf("who did not read for a second got everything in %v", got)
			}
		}},
		{"cut by reset", func(p *plan.Plan) { p.Trouble.Cut = plan.Cut{Share: 1, At: 500 * time.Millisecond, How: "reset"} }, reconnected},
		{"cut by close", func(p *plan.Plan) { p.Trouble.Cut = plan.Cut{Share: 1, At: 500 * time.Millisecond, How: "close"} }, reconnected},
		{"cut silently, back within a second", func(p *plan.Plan) {
			p.Trouble.Cut = plan.Cut{Share: 1, At: 500 * time.Millisecond, How: "silent", Within: time.Second}
		}, reconnected},
		{"churn", func(p *plan.Plan) { p.Trouble.Churn = 20 }, func(t *testing.T, r *result.Result) {
			if r.Counts.Connected < 30 {
				t.Errorf("%d connections in all, 12 and 20 a second were planned", r.Counts.Connected)
			}
		}},
		{"moves", func(p *plan.Plan) { p.Trouble.Moves = 20 }, func(t *testing.T, r *result.Result) {
			if r.Counts.Joined < 30 {
				t.Errorf("%d joins in all, 12 and 20 a second were planned", r.Counts.Joined)
			}
		}},
		{"backlog", func(p *plan.Plan) { p.Rooms.Backlog = 700 }, func(t *testing.T, r *result.Result) {
			if r.CatchUp.Count != 12*700 || r.CatchUp.Failed != 0 {
				t.Errorf("caught up: %+v, want 12 times 700 messages", r.CatchUp)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := gatewaytest.Start(t)
			p := smallPlan(g.URL())
			p.Clients.Workers, p.Time.Duration = 2, 2*time.Second
			c.change(&p)
			r := runPlan(t, p)
			if n := r.Counts; n.Undelivered()+n.Duplicated+n.Reordered+n.Foreign+n.Gaps+n.Disconnected+n.ConnectsFailed != 0 || n.Delivered == 0 || n.Delivered != n.Expected {
				t.Errorf("the gateway did something wrong: %+v, %v", n, r.Faults)
			}
			c.also(t, r)
		})
	}
}

func reconnected(t *testing.T, r *result.Result) {
	if r.Counts.Connected != 24 {
		t.Errorf("%d connections in all, want 12 and the same again", r.Counts.Connected)
	}
	if r.Counts.CameBack != 12 || r.Counts.StayedAway != 0 || r.Latencies.Away.Count() != 12 {
		t.Errorf("%d came back and %d did not, %d times away are known; want 12, 0 and 12", r.Counts.CameBack, r.Counts.StayedAway, r.Latencies.Away.Count())
	}
}

func TestStopEndsTheLoadEarly(t *testing.T) {
	t.Parallel()
	s := benchtest.Start(t, benchtest.Faults{})
	p := smallPlan(s.URL())
	p.Time.Duration = time.Hour
	stop := make(chan struct{})
	seen := false
	r, err := Run(t.Context(), p, Options{Version: "test", Worker: []string{os.Args[0]}, Stop: stop, Progress: func(p report.Progress) {
		if !seen && p.Phase == report.Load && p.Second.Counts.Delivered > 0 {
			seen = true
			close(stop)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Counts; n.Delivered == 0 || n.Delivered != n.Expected || n.Lost != 0 {
		t.Errorf("counts are %+v", n)
	}
}

func TestWhatEndsARun(t *testing.T) {
	s := benchtest.Start(t, benchtest.Faults{})
	for _, c := range []struct {
		name    string
		change  func(*plan.Plan)
		options Options
		want    string
	}{
		{"a plan that is none", func(p *plan.Plan) { p.Rooms.Count = 0 }, Options{}, "rooms.count"},
		{"a target that is none", func(p *plan.Plan) { p.Server.Targets = []string{"http://x"} }, Options{}, "scheme"},
		{"a condition that is none", func(p *plan.Plan) { p.Assert = []string{"p99"} }, Options{}, "p99"},
		{"a dialect that is none", func(p *plan.Plan) { p.Server.Dialect = "latin" }, Options{}, "latin"},
		{"a target that the dialect can't use", func(p *plan.Plan) {
			p.Server.Targets, p.Server.Dialect = []string{"tcp://127.0.0.1:1"}, "centrifugo"
		}, Options{}, "use a ws:// target instead of tcp://127.0.0.1:1"},
		{"a search until nothing that is known", func(p *plan.Plan) {
			p.Find = plan.Find{What: findRate, From: 1, Factor: 2, Until: []string{"p99", "ack.p99<1s", "p98<1s"}}
		}, Options{}, "p98"},
		{"a source that is none", func(p *plan.Plan) { p.Clients.Sources = []string{"nowhere0"} }, Options{}, "nowhere0"},
		{"raw TCP with JSON", func(p *plan.Plan) { p.Server.Targets, p.Server.Codec = []string{s.TCP()}, "json" }, Options{}, "binary frames only"},
		{"rooms where there is one", func(p *plan.Plan) { p.Server.Dialect = "websocket" }, Options{}, "use one room"},
		{"a backlog that nobody keeps", func(p *plan.Plan) { p.Server.Dialect, p.Rooms.Backlog = "socket.io", 5 }, Options{}, "rooms.backlog"},
		{"a worker that is none", func(*plan.Plan) {}, Options{Worker: []string{"/bin/false"}}, "worker 0 ended"},
		{"a worker of another version", func(*plan.Plan) {}, Options{Version: "other"}, "use the same program"},
		{"a load host that is none", func(p *plan.Plan) { p.Clients.Hosts = []string{"127.0.0.1:1"} }, Options{}, "bench agent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := smallPlan(s.URL())
			c.change(&p)
			if c.options.Version == "" {
				c.options.Version = "test"
			}
			if c.options.Worker == nil {
				c.options.Worker = []string{os.Args[0]}
			}
			if _, err := Run(t.Context(), p, c.options); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the run ended with %v, want something on %q", err, c.want)
			}
		})
	}
}

// TestNobodyListens: a run against nothing is a result, and says so, soon: although users would try to its end.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	p := smallPlan("ws://127.0.0.1:1/ws")
	p.Time.Duration, p.Time.Drain = time.Hour, time.Hour
	r := runPlan(t, p)
	if r.Counts.Connected != 0 || r.Counts.ConnectsFailed < 12 || r.Counts.Unsent != 0 || r.Counts.Sent != 0 {
		t.Errorf("counts are %+v", r.Counts)
	}
	if len(r.Faults) == 0 || !strings.Contains(r.Faults[0].Message, "connection refused") {
		t.Errorf("faults are %v", r.Faults)
	}
}
