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
	known := slices.Contains(dialect.Names(), p.Server.Dialect)
	if !known {
		faults = append(faults, fmt.Errorf("server.dialect is %q: use one of %s", p.Server.Dialect, strings.Join(dialect.Names(), ", ")))
	}
	for _, text := range p.Server.Targets {
		target, err := dialect.ParseTarget(text)
		if err == nil && known {
			_, err = dialect.New(dialect.Config{Server: p.Server, Prefix: p.Rooms.Prefix}, target)
		}
		faults = append(faults, err)
	}
	_, err := engine.ParseSources(p.Clients.Sources)
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
