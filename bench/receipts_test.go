package bench

import (
	"strings"
	"testing"
	"time"

	"rookery/bench/benchtest"
	"rookery/bench/plan"
	"rookery/bench/result"
	"rookery/gateway/gatewaytest"
)

// faultNamed gives how often something went wrong whose words hold a text.
func faultNamed(r *result.Result, text string) (times int64) {
	for _, f := range r.Faults {
		if strings.Contains(f.What+" "+f.Message, text) {
			times += f.Count
		}
	}
	return times
}

// TestReceipts: members mark what they have read, and what the server makes of it is seen.
func TestReceipts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults benchtest.Faults
		codec  string
	}{
		"well":          {codec: "binary"},
		"well, in JSON": {codec: "json"},
		"lies":          {benchtest.Faults{MarkLie: 5}, "binary"},
		"no answers":    {benchtest.Faults{LoseMark: 5}, "binary"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := benchtest.Start(t, c.faults)
			p := smallPlan(s.URL())
			p.Server.Codec = c.codec
			p.Publish.Receipts, p.Clients.Workers, p.Time.Duration = 400*time.Millisecond, 2, 2*time.Second
			if c.faults.LoseMark > 0 {
				p.Time.Drain = time.Second
			}
			r := runPlan(t, p)
			truth, got := s.Truth(), r.Counts
			// Each of 12 members marks at least once, and then every 200 to 400 ms while messages come.
			if got.Marks != truth.Marks || got.Marks < 12 {
				t.Errorf("%d marks were sent, %d came", got.Marks, truth.Marks)
			}
			if got.Marked != truth.Marked-truth.MarksLied {
				t.Errorf("%d marks were stored, of %d answered ones with %d lies", got.Marked, truth.Marked, truth.MarksLied)
			}
			if got.Foreign != truth.MarksLied || faultNamed(r, "less than was marked") != truth.MarksLied {
				t.Errorf("%d lies were seen as %d: %v", truth.MarksLied, got.Foreign, r.Faults)
			}
			if faultNamed(r, "not answered") != truth.MarksLost {
				t.Errorf("%d marks were not answered: %v", truth.MarksLost, r.Faults)
			}
			// The receipts of the last marks may be on their way when everything that is owed has come.
			if got.Receipts > truth.Receipts || got.Receipts < truth.Receipts/2 || truth.Receipts != 4*truth.Marks {
				t.Errorf("%d receipts of %d came, for %d marks in rooms of 4", got.Receipts, truth.Receipts, truth.Marks)
			}
			if got.Undelivered()+got.Duplicated+got.Reordered+got.Unanswered != 0 {
				t.Errorf("counts are %+v", got)
			}
		})
	}
}

// TestReceiptsWithTheRealServer: also where members come and go.
func TestReceiptsWithTheRealServer(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t)
	for name, change := range map[string]func(*plan.Plan){
		"plain":   func(*plan.Plan) {},
		"raw TCP": func(p *plan.Plan) { p.Server.Targets = []string{"tcp://" + g.Addr()} },
		"JSON":    func(p *plan.Plan) { p.Server.Codec = "json" },
		"chat":    func(p *plan.Plan) { p.Publish.Typing, p.Trouble.Moves, p.Trouble.Churn = 1, 20, 5 },
		"watched": func(p *plan.Plan) { p.Rooms.Presence, p.Trouble.Moves, p.Trouble.Churn = true, 20, 5 },
		"backlog": func(p *plan.Plan) { p.Rooms.Backlog, p.Trouble.Moves, p.Trouble.Churn = 20, 20, 5 },
		"cut": func(p *plan.Plan) {
			p.Trouble.Cut = plan.Cut{Share: 0.5, At: time.Second, How: "reset"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := smallPlan(g.URL())
			p.Publish.Receipts, p.Time.Duration = 400*time.Millisecond, 2*time.Second // the server tells of a second's marks together
			change(&p)
			r := runPlan(t, p)
			c := r.Counts
			if c.Undelivered()+c.Reordered+c.Duplicated+c.Foreign+c.Refused != 0 || faultNamed(r, "mark") != 0 {
				t.Errorf("counts are %+v\nfaults %v", c, r.Faults)
			}
			if c.Marks < 12 || c.Receipts == 0 || c.Marked > c.Marks || p.Trouble.Cut.Share == 0 && p.Trouble.Churn == 0 && c.Marked != c.Marks {
				t.Errorf("%d marks, %d stored, %d receipts", c.Marks, c.Marked, c.Receipts)
			}
			// Each is answered once for each room, and told when another comes or goes.
			if watched := c.Presence >= c.Joined; watched != p.Rooms.Presence || !watched && c.Presence != 0 {
				t.Errorf("members were told of presence %d times, after %d joins", c.Presence, c.Joined)
			}
		})
	}
}
