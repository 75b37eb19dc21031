package plan

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// MinBody is the shortest body: what makes a message known again.
const MinBody = 52

const (
	maxConnections = 1 << 24
	maxRooms       = 1 << 24
	maxBody        = 512 << 10
	maxRate        = 1e7
)

// Check refuses what can't be run, all faults together.
func (p *Plan) Check() error {
	var faults []error
	refuse := func(bad bool, format string, values ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, values...))
		}
	}
	share := func(name string, v float64) {
		refuse(!(v >= 0 && v <= 1), "%s is %v: a share is between 0 and 1", name, v)
	}
	rate := func(name string, v float64) {
		refuse(!(v >= 0 && v <= maxRate), "%s is %v: a rate is between 0 and %d a second", name, v, int(maxRate))
	}
	duration := func(name string, v, least time.Duration) {
		refuse(v < least || v > 30*24*time.Hour, "%s is %v: use %v to 30 days", name, v, least)
	}

	refuse(len(p.Server.Targets) == 0, "server.targets is empty: name an address, like ws://127.0.0.1:8080/ws")
	refuse(p.Server.Codec != "" && p.Server.Codec != "binary" && p.Server.Codec != "json", "server.codec is %q: use binary or json", p.Server.Codec)
	refuse(p.Server.Token != "" && p.Server.Key != "", "server.token and server.key are both set: connections show one token, or one of their own each")

	p.Server.TLS.check(refuse)

	c := &p.Clients
	refuse(c.Connections < 1 || c.Connections > maxConnections, "clients.connections is %d: use 1 to %d", c.Connections, maxConnections)
	rate("clients.rate", c.Rate)
	refuse(c.Pending < 0, "clients.pending is %d: say how many connections may be under way at once, 0: as many as fit", c.Pending)
	duration("clients.timeout", c.Timeout, 100*time.Millisecond)
	duration("clients.retry.first", c.Retry.First, time.Millisecond)
	duration("clients.retry.most", c.Retry.Most, time.Millisecond)
	duration("clients.retry.for", c.Retry.For, 0)
	refuse(c.Retry.Most < c.Retry.First, "clients.retry.most is %v: use clients.retry.first, %v, at least", c.Retry.Most, c.Retry.First)
	refuse(c.Workers < 0, "clients.workers is %d", c.Workers)

	r, f := &p.Rooms, &p.Find
	refuse(r.Count < 1 || r.Count > maxRooms, "rooms.count is %d: use 1 to %d", r.Count, maxRooms)
	refuse(r.PerConnection < 0 || r.PerConnection > r.Count, "rooms.per_connection is %d: use 0 to rooms.count, %d", r.PerConnection, r.Count)
	refuse(r.PerConnection > math.MaxInt16, "rooms.per_connection is %d: use %d at most", r.PerConnection, math.MaxInt16)
	refuse(len(r.Prefix) > 100, "rooms.prefix has %d bytes: use 100 at most", len(r.Prefix))
	refuse(r.Backlog < 0, "rooms.backlog is %d", r.Backlog)

	rate("publish.rate", p.Publish.Rate)
	refuse(!slices.Contains([]string{"even", "poisson"}, p.Publish.Arrivals), "publish.arrivals is %q: use even or poisson", p.Publish.Arrivals)
	refuse(p.Publish.Size < MinBody || p.Publish.Size > maxBody, "publish.size is %d: use %d to %d bytes", p.Publish.Size, MinBody, maxBody)
	refuse(p.Publish.Senders < 0, "publish.senders is %d", p.Publish.Senders)
	share("publish.typing", p.Publish.Typing)
	refuse(p.Publish.Ephemeral && p.Publish.Typing > 0, "publish.ephemeral and publish.typing are both set: typing is told before stored messages")
	duration("publish.receipts", p.Publish.Receipts, 0)
	refuse(p.Publish.Ephemeral && p.Publish.Receipts > 0, "publish.ephemeral and publish.receipts are both set: nobody can say how far they have come among messages without numbers")
	refuse(p.Publish.Ephemeral && r.Backlog > 0, "publish.ephemeral is set, but rooms.backlog is %d: an ephemeral message is in no backlog", r.Backlog)
	refuse(p.Publish.Closed < 0 || p.Publish.Closed > 1000, "publish.closed is %d: use 0 to 1000 messages", p.Publish.Closed)
	refuse(p.Publish.Closed > 0 && f.What == "publish.rate", "publish.closed and find.what publish.rate are both set: a closed load has no rate")
	refuse(p.Publish.Sends() && r.PerConnection == 0, "publish.rate or publish.closed is set, but rooms.per_connection is 0: nobody would get a message")

	t := &p.Trouble
	share("trouble.stall.share", t.Stall.Share)
	share("trouble.cut.share", t.Cut.Share)
	refuse(t.Stall.Share > 0 && t.Stall.For <= 0, "trouble.stall.for is %v: say how long the reading stops", t.Stall.For)
	refuse(t.Cut.Share > 0 && !slices.Contains([]string{"close", "reset", "silent"}, t.Cut.How), "trouble.cut.how is %q: use close, reset or silent", t.Cut.How)
	load := p.Time.Warmup + p.Time.Duration
	refuse(t.Stall.At < 0 || t.Stall.Share > 0 && t.Stall.At+t.Stall.For > load, "trouble.stall ends at %v, after the load of %v", t.Stall.At+t.Stall.For, load)
	refuse(t.Cut.At < 0 || t.Cut.Share > 0 && t.Cut.At > load, "trouble.cut is at %v, after the load of %v", t.Cut.At, load)
	refuse(t.Cut.Within < 0, "trouble.cut.within is %v", t.Cut.Within)
	rate("trouble.churn", t.Churn)
	rate("trouble.moves", t.Moves)

	duration("time.warmup", p.Time.Warmup, 0)
	duration("time.duration", p.Time.Duration, time.Second)
	duration("time.drain", p.Time.Drain, 0)

	refuse(f.What != "" && f.What != "publish.rate" && f.What != "clients.connections", "find.what is %q: use publish.rate or clients.connections", f.What)
	if f.What != "" {
		refuse(!(f.From > 0), "find.from is %v: say with which value to begin", f.From)
		refuse(!(f.Factor > 1 && f.Factor <= 10), "find.factor is %v: use more than 1, 10 at most", f.Factor)
		refuse(f.Refine < 0 || f.Refine > 10, "find.refine is %d: use 0 to 10", f.Refine)
		refuse(len(f.Until) == 0, "find.until is empty: name a condition, like p99<100ms")
	}
	return errors.Join(faults...)
}
