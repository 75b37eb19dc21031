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
	for _, target := range p.Server.Targets {
		_, err := dialect.ParseTarget(target)
		faults = append(faults, err)
	}
	if !slices.Contains(dialect.Names(), p.Server.Dialect) {
		faults = append(faults, fmt.Errorf("server.dialect is %q: use one of %s", p.Server.Dialect, strings.Join(dialect.Names(), ", ")))
	}
	_, err := engine.ParseSources(p.Clients.Sources)
	faults = append(faults, err)
	_, err = report.ParseAll(p.Assert)
	faults = append(faults, err)
	until, err := report.ParseAll(p.Find.Until)
	faults = append(faults, err)
	for _, condition := range until {
		if !condition.OfSteps() {
			faults = append(faults, fmt.Errorf("find.until has %q, which is known of a whole run only, not of the steps of a search", condition))
		}
	}
	return errors.Join(faults...)
}
