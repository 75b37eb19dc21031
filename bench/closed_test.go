package bench

import (
	"strings"
	"testing"
	"time"

	"rookery/bench/benchtest"
	"rookery/bench/plan"
)

// TestClosedLoop: so many messages are under way in each room as were asked for, and no rate is kept.
func TestClosedLoop(t *testing.T) {
	t.Parallel()
	const delay = 50 * time.Millisecond
	s := benchtest.Start(t, benchtest.Faults{Delay: delay})
	p := smallPlan(s.URL())
	p.Publish.Rate, p.Publish.Closed, p.Clients.Workers = 1000, 2, 2
	r := runPlan(t, p)
	c := r.Counts
	// 3 rooms with 2 messages under way: each round of at least 50 ms in 2 s sends 6, and the first and the last are there too.
	most := int64(6 * (p.Time.Duration/delay + 2))
	if c.Sent < 12 || c.Sent > most || c.Sent != s.Truth().Published {
		t.Errorf("%d messages were sent, %d at most can be", c.Sent, most)
	}
	if c.Expected != c.Delivered || c.Delivered != 4*c.Sent || c.Undelivered()+c.Unanswered+c.Unsent != 0 {
		t.Errorf("counts are %+v", c)
	}
}

func TestClosedPlans(t *testing.T) {
	for want, change := range map[string]func(*plan.Plan){
		"publish.closed is -1": func(p *plan.Plan) { p.Publish.Closed = -1 },
		"a closed load has no": func(p *plan.Plan) { p.Publish.Closed, p.Find.What = 1, "publish.rate" },
		"nobody gets a message of": func(p *plan.Plan) {
			p.Publish.Closed, p.Server.Dialect, p.Server.Template.Reaches, p.Rooms.Count = 1, "websocket", "others", 1
		},
	} {
		p := smallPlan("ws://127.0.0.1:1/")
		change(&p)
		if err := Check(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the check says %v, want %q", err, want)
		}
	}
}
