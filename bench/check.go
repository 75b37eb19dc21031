package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/plan"
	"rookery/bench/report"
)

// Check refuses a plan that can't be run, all faults together.
func Check(p plan.Plan) error {
	faults := []error{p.Check()}
	traits, err := traitsOf(p)
	switch everyone := traits.Reaches == dialect.Everyone || traits.Reaches == dialect.Others; {
	case err != nil:
		faults = append(faults, err)
	case everyone && p.Publish.Rate > 0 && p.Rooms.PerConnection < p.Rooms.Count:
		faults = append(faults, fmt.Errorf("rooms.count is %d and rooms.per_connection %d, but a message reaches everyone: use one room",
			p.Rooms.Count, p.Rooms.PerConnection))
	case p.Publish.Closed > 0 && (traits.Reaches == dialect.RoomOthers || traits.Reaches == dialect.Others):
		faults = append(faults, fmt.Errorf("publish.closed is %d, but nobody gets a message of their own back from servers of the dialect %s",
			p.Publish.Closed, p.Server.Dialect))
	case p.Rooms.Backlog > 0 && !traits.Resumes:
		faults = append(faults, fmt.Errorf("rooms.backlog is %d, but servers of the dialect %s give nothing that was sent before a join",
			p.Rooms.Backlog, p.Server.Dialect))
	}
	if !p.Server.Secure() && p.Server.TLS != (plan.TLS{}) {
		faults = append(faults, errors.New("server.tls is set, but no target has TLS: use wss:// or tls://"))
	}
	_, err = engine.ParseSources(p.Clients.Sources)
	faults = append(faults, err)
	_, err = report.ParseAll(p.Assert)
	faults = append(faults, err)
	for _, text := range p.Find.Until {
		condition, err := report.Parse(text)
		faults = append(faults, err)
		if err == nil && !condition.OfSteps() {
			faults = append(faults, fmt.Errorf("find.until has %q, which is known of a whole run only, not of the steps of a search", condition))
		}
	}
	return errors.Join(faults...)
}

// traitsOf gives the traits of a plan's server. It makes the dialect for every target, as the workers do, and gives all faults
// together.
func traitsOf(p plan.Plan) (traits dialect.Traits, err error) {
	var faults []error
	known := slices.Contains(dialect.Names(), p.Server.Dialect)
	if !known {
		faults = append(faults, fmt.Errorf("server.dialect is %q: use one of %s", p.Server.Dialect, strings.Join(dialect.Names(), ", ")))
	}
	for _, text := range p.Server.Targets {
		target, err := dialect.ParseTarget(text)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if !known {
			continue
		}
		d, err := dialect.New(dialect.Config{Server: p.Server, Prefix: p.Rooms.Prefix, Ephemeral: p.Publish.Ephemeral}, target)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		traits = d.Traits()
	}
	return traits, errors.Join(faults...)
}
