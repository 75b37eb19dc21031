package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"rookery/bench/plan"
	"rookery/bench/report"
	"rookery/bench/result"
)

const (
	findRate        = "publish.rate"
	findConnections = "clients.connections"
	// maxSteps ends a search that nothing breaks.
	maxSteps = 40
)

// Find raises the load of a plan by steps, a run each, until a condition breaks, then halves the way between the last
// that held and the first that did not. The result is that of the knee, with all steps in it; of the first step if
// none held. A step that was stopped says nothing of its load and is left out, unless it is the first.
//
// A step that ends in an error ends the search: the result is then that of the steps before it, if there are any, and
// the error comes with it.
//
// Whatever the plan's conditions are, a step that did not deliver every message once and in order does not hold; see rightDelivery.
func Find(ctx context.Context, p plan.Plan, o Options) (*result.Result, error) {
	return find(ctx, p, o, Run)
}

// find is Find with another Run, for tests.
func find(ctx context.Context, p plan.Plan, o Options, run func(context.Context, plan.Plan, Options) (*result.Result, error)) (*result.Result, error) {
	if err := Check(p); err != nil {
		return nil, err
	}
	p.Find.Until = rightDelivery(p)
	conditions, err := report.ParseAll(p.Find.Until)
	if err != nil {
		return nil, err
	}
	s := &search{ctx: ctx, run: run, plan: p, options: o, conditions: conditions, broken: math.Inf(1)}
	err = s.climb()
	if s.first == nil {
		return nil, cmp.Or(err, errors.New("stopped before the first step of the search was done"))
	}
	return s.result(err), err
}

// rightDelivery gives a search's conditions, and with them that nothing is lost or missing, comes twice, in the wrong order or damaged:
// a load at which a server loses messages is none that it carries. A condition of the plan on the same count stands for
// it, for servers that lose by design. Where nothing is sent, nothing can be delivered wrong, and a condition would fail for want of
// a figure.
func rightDelivery(p plan.Plan) []string {
	until := slices.Clone(p.Find.Until)
	if !p.Publish.Sends() && p.Rooms.Backlog == 0 && p.Find.What != findRate {
		return until
	}
	for _, count := range []string{"lost", "missing", "duplicated", "reordered", "foreign"} {
		named := slices.ContainsFunc(p.Find.Until, func(text string) bool {
			condition, err := report.Parse(text) // Check has taken it
			return err == nil && condition.Figure() == count
		})
		if !named {
			until = append(until, count+"==0")
		}
	}
	return until
}

// search is the state of Find.
type search struct {
	ctx        context.Context
	run        func(context.Context, plan.Plan, Options) (*result.Result, error)
	plan       plan.Plan
	options    Options
	conditions report.Conditions

	steps  []result.Step
	held   float64 // the largest value that did
	broken float64 // the smallest that did not
	best   *result.Result
	knee   int // of steps
	first  *result.Result
}

// climb goes up, then between.
func (s *search) climb() error {
	find := s.plan.Find
	for value := find.From; len(s.steps) < maxSteps; value *= find.Factor {
		if holds, err := s.step(value); err != nil || !holds || s.stopped() {
			if err != nil {
				return err
			}
			break
		}
	}
	for range find.Refine {
		value := s.round((s.held + s.broken) / 2)
		if s.best == nil || math.IsInf(s.broken, 1) || value <= s.held || value >= s.broken || s.stopped() {
			break
		}
		if _, err := s.step(value); err != nil {
			return err
		}
	}
	return nil
}

func (s *search) stopped() bool {
	select {
	case <-s.options.Stop:
		return true
	default:
		return s.ctx.Err() != nil
	}
}

// round gives a value that a plan can have.
func (s *search) round(value float64) float64 {
	if s.plan.Find.What == findConnections {
		return math.Round(value)
	}
	return value
}

// step runs the plan with a value. One that was stopped does not hold.
func (s *search) step(value float64) (holds bool, err error) {
	value = s.round(value)
	p, o := s.plan, s.options
	if p.Find.What == findConnections {
		p.Clients.Connections = int(value)
		o.Step = fmt.Sprintf("%.0f connections", value)
	} else {
		p.Publish.Rate = value
		o.Step = fmt.Sprintf("%.6g messages/s", value)
	}
	r, err := s.run(s.ctx, p, o)
	if err != nil {
		return false, fmt.Errorf("step of %s: %w", o.Step, err)
	}
	if s.stopped() && len(s.steps) > 0 {
		return false, nil // it had less than its load, so it says nothing of the limit
	}
	step := stepOf(value, r)
	step.Checks = s.conditions.CheckStep(step)
	step.Holds = step.Verdict.Valid
	for _, check := range step.Checks {
		step.Holds = step.Holds && check.Holds
	}
	s.steps = append(s.steps, step)
	if s.first == nil {
		s.first = r
	}
	if !step.Holds {
		s.broken = min(s.broken, value)
		return false, nil
	}
	if value > s.held {
		s.held, s.best, s.knee = value, r, len(s.steps)-1
	}
	return true, nil
}

func stepOf(value float64, r *result.Result) result.Step {
	step := result.Step{Value: value, Seconds: float64(r.LoadTo - r.LoadFrom), Delivery: r.Latencies.Delivery.Summary(), Verdict: r.Verdict}
	for _, second := range r.Seconds[r.LoadFrom:r.LoadTo] {
		step.Counts.Add(second.Counts)
		step.ServerCPU += second.Server.CPUSeconds
	}
	if step.Seconds > 0 {
		step.ServerCPU /= step.Seconds
	}
	// What is only known in the end belongs to the step as well, and so does what went wrong before and after the counted load.
	whole := &r.Counts
	step.Counts.Expected, step.Counts.Lost, step.Counts.Missing, step.Counts.Unanswered = whole.Expected, whole.Lost, whole.Missing, whole.Unanswered
	step.Counts.StayedAway = whole.StayedAway
	step.Counts.Duplicated, step.Counts.Reordered, step.Counts.Foreign = whole.Duplicated, whole.Reordered, whole.Foreign
	step.Counts.Dropped = whole.Dropped
	return step
}

// result is that of the knee so far; err ended the search.
func (s *search) result(err error) *result.Result {
	r := s.best
	if r == nil {
		r, s.knee = s.first, -1
	}
	r.Steps, r.Knee = s.steps, s.knee
	if err != nil {
		r.Broken = err.Error()
	}
	return r
}
