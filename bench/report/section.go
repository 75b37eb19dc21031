package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rookery/bench/result"
)

// section is one table; the terminal and the page show the same ones.
type section struct {
	title   string
	columns []string // nil: rows are names and values, and need no heads
	rows    [][]string
	// words: the columns after the first are text, not numbers.
	words bool
}

// sections gives the tables that have something in them, without the verdict.
func sections(r *result.Result) []section {
	s := subjectOf(r)
	all := []section{runSection(r)}
	for _, g := range []group{groupCounts, groupLatency, groupRates, groupServer, groupClient, groupKernel} {
		if g == groupLatency {
			all = append(all, latencySection(s))
		} else {
			all = append(all, figureSection(g, s))
		}
	}
	all = append(all, stepSection(r), faultSection(r), checkSection(r))
	kept := all[:0]
	for _, section := range all {
		if len(section.rows) > 0 {
			kept = append(kept, section)
		}
	}
	return kept
}

func runSection(r *result.Result) section {
	p := r.Plan
	s := section{title: "Run", words: true}
	add := func(name, value string) {
		if value != "" {
			s.rows = append(s.rows, []string{name, value})
		}
	}
	add("scenario", p.Scenario)
	add("server", serverText(r))
	add("transport", transportText(r))
	add("connections", connectionsText(r))
	if p.Rooms.Count > 0 && p.Rooms.PerConnection > 0 {
		rooms := fmt.Sprintf("%s, %s for each connection", commas(int64(p.Rooms.Count)), commas(int64(p.Rooms.PerConnection)))
		if p.Rooms.Backlog > 0 {
			rooms += fmt.Sprintf(", %s messages in each before", commas(int64(p.Rooms.Backlog)))
		}
		add("rooms", rooms)
	}
	if p.Publish.Sends() {
		load := fmt.Sprintf("%s messages/s of %s, %s arrivals", formatCount(p.Publish.Rate), unitBytes.format(float64(p.Publish.Size)), p.Publish.Arrivals)
		if p.Publish.Closed > 0 {
			load = fmt.Sprintf("%s messages of %s under way in each room, a closed loop: latencies hide waiting", commas(int64(p.Publish.Closed)), unitBytes.format(float64(p.Publish.Size)))
		}
		if p.Publish.Ephemeral {
			load += ", ephemeral"
		}
		if p.Publish.Typing > 0 {
			load += fmt.Sprintf(", typing before %s", unitShare.format(p.Publish.Typing))
		}
		if p.Publish.Receipts > 0 {
			load += fmt.Sprintf(", marked as read within %v", p.Publish.Receipts)
		}
		if p.Rooms.Presence {
			load += ", watching who is there"
		}
		add("load", load)
	}
	add("trouble", troubleText(r))
	add("counted", countedText(r))
	if !r.Started.IsZero() {
		add("started", r.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	for i, host := range r.Hosts {
		name := "load host"
		if len(r.Hosts) > 1 {
			name = fmt.Sprintf("load host %d", i+1)
		}
		add(name, hostText(host, i > 0))
	}
	add("rookery", r.Rookery)
	return s
}

func serverText(r *result.Result) string {
	text := r.Plan.Server.Dialect
	if r.Plan.Server.Codec != "" {
		text += " (" + r.Plan.Server.Codec + ")"
	}
	if len(r.Plan.Server.Targets) > 0 {
		text += " at " + strings.Join(r.Plan.Server.Targets, ", ")
	}
	return text
}

// transportText says what is below the dialect: what was asked for, and of TLS what was agreed on.
func transportText(r *result.Result) string {
	text := transportsOf(r)
	for _, a := range r.TLS {
		text += fmt.Sprintf("; %s, %s, %s: %s %s", a.Version, a.Suite, a.Exchange, commas(a.Handshakes), plural(int(a.Handshakes), "handshake", "handshakes"))
		if a.Resumed > 0 {
			text += fmt.Sprintf(", %s resumed", commas(a.Resumed))
		}
	}
	if r.Plan.Server.TLS.Insecure {
		text += "; INSECURE: certificates were not checked"
	}
	return text
}

// transportsOf names the transports of the targets.
func transportsOf(r *result.Result) string {
	var kinds []string
	for _, target := range r.Plan.Server.Targets {
		scheme, _, _ := strings.Cut(target, ":")
		if kind := transports[strings.ToLower(scheme)]; kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return strings.Join(kinds, ", ")
}

var transports = map[string]string{"ws": "WebSocket", "tcp": "TCP", "wss": "WebSocket over TLS", "tls": "TCP over TLS"}

func connectionsText(r *result.Result) string {
	text := commas(int64(r.Plan.Clients.Connections))
	if r.Plan.Clients.Rate > 0 {
		text += fmt.Sprintf(", %s opened each second", formatCount(r.Plan.Clients.Rate))
	}
	return text
}

func troubleText(r *result.Result) string {
	t := r.Plan.Trouble
	var parts []string
	if t.Stall.Share > 0 {
		parts = append(parts, fmt.Sprintf("%s stop reading at %s for %s", unitShare.format(t.Stall.Share), formatDuration(t.Stall.At), formatDuration(t.Stall.For)))
	}
	if t.Cut.Share > 0 {
		cut := fmt.Sprintf("%s are cut (%s) at %s", unitShare.format(t.Cut.Share), t.Cut.How, formatDuration(t.Cut.At))
		if t.Cut.Within > 0 {
			cut += ", back within " + formatDuration(t.Cut.Within)
		}
		parts = append(parts, cut)
	}
	if t.Churn > 0 {
		parts = append(parts, formatCount(t.Churn)+" connections replaced each second")
	}
	if t.Moves > 0 {
		parts = append(parts, formatCount(t.Moves)+" moves between rooms each second")
	}
	return strings.Join(parts, "; ")
}

func countedText(r *result.Result) string {
	text := formatDuration(time.Duration(len(loadWindow(r)))*time.Second) + " of load"
	if warmup := r.Plan.Time.Warmup; warmup > 0 {
		text += " after a warm-up of " + formatDuration(warmup)
	}
	return text
}

func hostText(h result.Host, other bool) string {
	text := fmt.Sprintf("%s: %d × %s", h.Name, h.Cores, h.CPU)
	if h.MemoryBytes > 0 {
		text += ", " + unitBytes.format(float64(h.MemoryBytes))
	}
	if h.Kernel != "" {
		text += ", " + h.Kernel
	}
	if h.Workers > 0 {
		text += fmt.Sprintf(", %d %s", h.Workers, plural(h.Workers, "worker", "workers"))
	}
	if other {
		text += fmt.Sprintf(", clock off by %s ± %s", formatSeconds(h.ClockSeconds), formatSeconds(h.ClockErrorSeconds))
		if h.ClockDriftSeconds != 0 {
			text += fmt.Sprintf(", drifted by %s ± %s", formatSeconds(h.ClockDriftSeconds), formatSeconds(h.ClockDriftErrorSeconds))
		}
	}
	return text
}

// figureSection lists the figures of a group that were measured.
func figureSection(g group, s *subject) section {
	sec := section{title: string(g)}
	for _, f := range figures {
		if f.group != g {
			continue
		}
		if value, measured := f.value(s); measured && (value != 0 || !f.quiet) {
			sec.rows = append(sec.rows, []string{f.title, f.unit.format(value)})
		}
	}
	return sec
}

func latencySection(s *subject) section {
	sec := section{title: string(groupLatency), columns: []string{"from due to done"}}
	for _, q := range quantiles {
		sec.columns = append(sec.columns, q.name)
	}
	sec.columns = append(sec.columns, "count")
	for _, l := range latencies {
		summary := l.read(s)
		if summary.Count == 0 {
			continue
		}
		row := []string{l.title}
		for _, q := range quantiles {
			row = append(row, formatSeconds(seconds(q.read(summary))))
		}
		sec.rows = append(sec.rows, append(row, commas(summary.Count)))
	}
	return sec
}

// faultWords are the kinds of result.Fault for a reader.
var faultWords = map[string]string{
	"connect": "connect failed", "handshake": "handshake of TLS failed", "login": "login failed", "join": "join failed", "publish": "publish refused", "mark": "mark refused or not answered",
	"closed": "connection closed", "lost": "message lost", "missing": "message missing", "duplicated": "message duplicated", "reordered": "message out of order",
	"foreign": "foreign message", "worker": "worker failed",
}

func faultSection(r *result.Result) section {
	sec := section{title: "Faults", columns: []string{"what", "times", "the first"}, words: true}
	for _, fault := range r.Faults {
		what := faultWords[fault.What]
		if what == "" {
			what = fault.What
		}
		sec.rows = append(sec.rows, []string{what, commas(fault.Count), fault.Message})
	}
	return sec
}

func checkSection(r *result.Result) section {
	sec := section{title: "Conditions", columns: []string{"condition", "holds", "found"}, words: true}
	for _, check := range r.Asserts {
		sec.rows = append(sec.rows, []string{check.Condition, yesNo(check.Holds), found(check)})
	}
	return sec
}

func yesNo(holds bool) string {
	if holds {
		return "yes"
	}
	return "NO"
}

// raised names what a search raised.
func raised(r *result.Result) string {
	switch r.Plan.Find.What {
	case "publish.rate":
		return "messages/s"
	case "clients.connections":
		return "connections"
	}
	return "value"
}

// hasKnee says whether a step of the search held.
func hasKnee(r *result.Result) bool {
	return r.Knee >= 0 && r.Knee < len(r.Steps) && r.Steps[r.Knee].Holds
}

func stepSection(r *result.Result) section {
	sec := section{title: "Search", columns: []string{raised(r), "p50", "p99", "lost", "missing", "server CPU", "holds", ""}}
	for i, step := range r.Steps {
		s := subjectOfStep(step)
		row := []string{formatCount(step.Value)}
		for _, name := range []string{"p50", "p99", "lost", "missing", "server.cpu"} {
			f, cell := figureNamed(name), "-"
			if value, measured := f.value(s); measured {
				cell = f.unit.format(value)
			}
			row = append(row, cell)
		}
		row = append(row, yesNo(step.Holds))
		switch {
		case i == r.Knee && hasKnee(r):
			row = append(row, "knee")
		case !step.Verdict.Valid:
			row = append(row, "invalid: "+step.Verdict.Cause)
		default:
			row = append(row, broken(step))
		}
		sec.rows = append(sec.rows, row)
	}
	return sec
}

// broken gives the first condition of a step that does not hold.
func broken(step result.Step) string {
	for _, check := range step.Checks {
		if !check.Holds {
			return fmt.Sprintf("not %s: %s", check.Condition, found(check))
		}
	}
	return ""
}

// kneeText is the outcome of a search.
func kneeText(r *result.Result) string {
	if r.Broken != "" {
		text := "The search is not done: " + r.Broken + "."
		if hasKnee(r) {
			text += fmt.Sprintf(" Up to then %s %s held.", formatCount(r.Steps[r.Knee].Value), raised(r))
		}
		return text
	}
	if !hasKnee(r) {
		return fmt.Sprintf("No step held, from %s %s on: begin lower.", formatCount(r.Steps[0].Value), raised(r))
	}
	text := fmt.Sprintf("The knee is at %s %s", formatCount(r.Steps[r.Knee].Value), raised(r))
	if !everyStepHolds(r) {
		return text + "."
	}
	return text + ", the last step: the limit was not reached."
}

func everyStepHolds(r *result.Result) bool {
	for _, step := range r.Steps {
		if !step.Holds {
			return false
		}
	}
	return true
}
