package report

import (
	"errors"
	"fmt"
	"strings"

	"rookery/bench/result"
)

// Condition is one statement about a figure: p99<50ms, lost==0, server.rss<1GB. Times have a unit (us, ms, s), sizes may have
// one (kB, MB, GiB), shares may be percentages; everything else is a number.
type Condition struct {
	text     string
	figure   *figure
	operator string
	bound    float64
}

// operators, those that begin like another before it.
var operators = []string{"<=", ">=", "==", "!=", "<", ">"}

// Parse reads a condition.
func Parse(text string) (Condition, error) {
	at := strings.IndexAny(text, "<>=!")
	if at < 0 {
		return Condition{}, fmt.Errorf("condition %q has no operator; write it like p99<50ms or lost==0", text)
	}
	c := Condition{text: strings.TrimSpace(text)}
	for _, operator := range operators {
		if strings.HasPrefix(text[at:], operator) {
			c.operator = operator
			break
		}
	}
	if c.operator == "" {
		return Condition{}, fmt.Errorf("condition %q has no operator of %s", text, strings.Join(operators, " "))
	}
	name := strings.TrimSpace(text[:at])
	if c.figure = figureNamed(name); c.figure == nil {
		return Condition{}, fmt.Errorf("condition %q: there is no figure %q; there are %s", text, name, figureNames())
	}
	var err error
	if c.bound, err = c.figure.unit.parse(strings.TrimSpace(text[at+len(c.operator):])); err != nil {
		return Condition{}, fmt.Errorf("condition %q: %w; write it like %s%s%s", text, err, name, c.operator, c.figure.unit.example())
	}
	return c, nil
}

// String gives the condition as it was written.
func (c Condition) String() string { return c.text }

// Figure is what the condition is about.
func (c Condition) Figure() string { return c.figure.name }

// OfSteps says whether the condition can be about a step of a search, which has fewer figures than a run.
func (c Condition) OfSteps() bool { return c.figure.ofStep }

func (c Condition) check(s *subject) result.Check {
	check := result.Check{Condition: c.text}
	value, measured := c.figure.value(s)
	if !measured {
		check.Reason = c.figure.absent
		if s.step && !c.figure.ofStep {
			check.Reason = "a step of a search does not have this figure"
		}
		return check
	}
	check.Value, check.Holds = value, c.holds(value)
	return check
}

func (c Condition) holds(value float64) bool {
	switch c.operator {
	case "<":
		return value < c.bound
	case "<=":
		return value <= c.bound
	case ">":
		return value > c.bound
	case ">=":
		return value >= c.bound
	case "==":
		return value == c.bound
	case "!=":
		return value != c.bound
	}
	panic("BUG: condition with the operator " + c.operator)
}

// Conditions are judged together.
type Conditions []Condition

// ParseAll reads conditions; the error has all faults.
func ParseAll(texts []string) (Conditions, error) {
	var all Conditions
	var faults []error
	for _, text := range texts {
		c, err := Parse(text)
		all, faults = append(all, c), append(faults, err)
	}
	return all, errors.Join(faults...)
}

// Check judges a run. A figure that was not measured makes its condition fail, with the reason.
func (cs Conditions) Check(r *result.Result) []result.Check { return cs.check(subjectOf(r)) }

// CheckStep judges a step of a search.
func (cs Conditions) CheckStep(step result.Step) []result.Check { return cs.check(subjectOfStep(step)) }

func (cs Conditions) check(s *subject) []result.Check {
	var checks []result.Check
	for _, c := range cs {
		checks = append(checks, c.check(s))
	}
	return checks
}

// found says what a check saw, in the unit of its figure.
func found(check result.Check) string {
	if check.Reason != "" {
		return "not measured: " + check.Reason
	}
	c, err := Parse(check.Condition)
	if err != nil {
		return formatCount(check.Value) // written by a version that had other figures
	}
	return c.figure.unit.format(check.Value)
}
