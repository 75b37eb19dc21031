package tuning

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"rookery/tuning/host"
)

// Value is something that a plan sets.
type Value struct {
	Key    string
	Path   string // file of the kernel, with the first slash; "" for what only files set
	Now    string // as it is
	Wanted string
	Rule   Rule
	Reason string
}

// Plan is a profile for a machine: what is set there, and the files that make it last.
type Plan struct {
	Target  Target
	Machine string
	Values  []Value // in the order in which they are set
	Files   []File
	Misfits []string // why the target does not fit, and what would
	Left    []string // what can't be set from here, and how it is set
	Notes   []string
	Unit    string // that has to be started again for its limit
}

// Make computes the plan of a target. Before are the original values of what was applied earlier, by their paths, nil if nothing
// is: what is wanted follows from the machine as it was, so that the plan of a machine to which it was applied is the same plan.
func Make(h *host.Host, t Target, before map[string]string) Plan {
	v := newView(h, t)
	v.before = before
	p := Plan{Target: v.target, Machine: describe(h)}
	for _, c := range Checks() {
		if !c.Sets() || c.roles != nil && !slices.Contains(c.roles, v.target.Role) {
			continue
		}
		switch c.Key {
		case descriptorKey:
			p.addDescriptors(v, c)
		case steerKey:
			p.addSteering(v, c)
		default:
			p.addSysctl(v, c)
		}
	}
	p.addMisfits(v)
	if h.Place.Thrown() {
		p.Notes = append(p.Notes, fmt.Sprintf("this is a %s: what is written here is gone with it, so nothing is; what is listed above is set by who starts it", h.Place.Kind))
		for _, value := range p.Values {
			p.Left = append(p.Left, value.Key+" = "+value.Wanted+": "+elsewhere(h.Place, value.Key, value.Wanted))
		}
		p.Values = nil
		return p
	}
	p.Files = files(v, p, before != nil)
	p.noteOthers(v)
	return p
}

func (p *Plan) addSysctl(v *view, c Check) {
	name := host.SysctlPath(c.Key)
	live := v.host.Sysctl(c.Key)
	if live.Err != nil {
		return // check says so; there is nothing to set
	}
	wanted := c.want(v, v.was(c.Key))
	if wanted == "" {
		return
	}
	if why := v.host.WhyFixed(name); why != "" {
		p.Left = append(p.Left, fmt.Sprintf("%s = %s: %s; %s", c.Key, wanted, why, elsewhere(v.host.Place, c.Key, wanted)))
		return
	}
	p.Values = append(p.Values, Value{Key: c.Key, Path: "/" + name, Now: live.Text, Wanted: wanted, Rule: c.rule, Reason: c.Reason})
}

// addDescriptors sets the limit where it would fall short without a file of ours.
func (p *Plan) addDescriptors(v *view, c Check) {
	if v.target.Role == LoadGenerator {
		return // it starts as many processes as it takes
	}
	now := c.readNow(v)
	needed := v.descriptors() - 999
	short := c.want(v, now) != ""
	if !byLogin(v) {
		if limit, from := otherLimit(v); from {
			short = limit < needed
		} else if _, own := ownLimit(v); own {
			short = true // what it was without ours is not known
		}
	} else if _, own := ownLimit(v); own {
		short = true
	}
	if g := v.host.Gateway; g != nil && g.Hard < needed {
		p.Unit = g.Unit
	}
	if wanted := fmt.Sprint(v.descriptors()); short && v.bounded(wanted) {
		p.Left = append(p.Left, fmt.Sprintf("%s = %s: the most that can be set here is lower; %s", c.Key, wanted, elsewhere(v.host.Place, c.Key, wanted)))
		return
	}
	if short {
		p.Values = append(p.Values, Value{Key: c.Key, Now: cmp.Or(now.Text, "not known"), Wanted: fmt.Sprint(v.descriptors()), Reason: c.Reason})
	}
}

// addSteering spreads the packets of cards with one queue.
func (p *Plan) addSteering(v *view, c Check) {
	if !v.steers() {
		return
	}
	for _, card := range v.host.Cards {
		if card.Receive != 1 || card.Driver == "" {
			continue
		}
		for _, file := range []struct {
			name   string
			wanted func(now string) string
		}{
			{card.RPSFile(0), func(now string) string { return host.Mask(v.host.Processors, now) }},
			{card.FlowFile(0), func(string) string { return fmt.Sprint(v.flowEntries()) }},
		} {
			live, err := v.host.Text(file.name)
			was := live
			if text, applied := v.before["/"+file.name]; applied {
				was = text
			}
			if err != nil || strings.Trim(was, "0,") != "" || v.host.WhyFixed(file.name) != "" {
				continue // somebody has set it, or it can't be
			}
			p.Values = append(p.Values, Value{Key: path.Base(file.name) + " of " + card.Name, Path: "/" + file.name, Now: live, Wanted: file.wanted(was), Reason: c.Reason})
		}
	}
}

// addMisfits says what no setting can give.
func (p *Plan) addMisfits(v *view) {
	for _, key := range []string{"memory", "memory.max", "processors", "net.ipv4.ip_local_port_range"} {
		c, _ := Find(key)
		if c.roles != nil && !slices.Contains(c.roles, v.target.Role) {
			continue
		}
		now := c.readNow(v)
		if said := c.judge(v, now); said.severity == Stops || said.severity == Hurts {
			p.Misfits = append(p.Misfits, fmt.Sprintf("%s is %s: %s. What would do: %s", key, now.Text, said.says, said.do))
		}
	}
}

// noteOthers tells of lines that are read after ours and would undo it at the next boot.
func (p *Plan) noteOthers(v *view) {
	for _, a := range v.host.Assignments() {
		last := a.File == "/etc/sysctl.conf" // where it is read at all
		if a.Ignored != "" || a.File == "/"+SysctlFile || path.Base(a.File) < path.Base(SysctlFile) && !last {
			continue
		}
		for _, value := range p.Values {
			if value.Key == a.Key && a.Value != value.Wanted {
				p.Notes = append(p.Notes, fmt.Sprintf("%s:%d sets %s = %s and is read after our file: at the next boot that counts; take the line out", a.File, a.Line, a.Key, a.Value))
			}
		}
	}
	for _, s := range limitsAfterOurs(v) {
		if slices.ContainsFunc(p.Values, func(value Value) bool { return value.Key == descriptorKey }) {
			p.Notes = append(p.Notes, fmt.Sprintf("%s:%d gives a limit of %s open files and is read after our file: take the line out", s.File, s.Line, s.Value))
		}
	}
	if p.Unit != "" {
		p.Notes = append(p.Notes, fmt.Sprintf("the running gateway keeps its limit of open files: systemctl restart %s", p.Unit))
	}
	for _, value := range p.Values {
		if value.Key == "net.core.somaxconn" && v.host.Gateway != nil && value.Now != value.Wanted {
			p.Notes = append(p.Notes, "the running gateway keeps the length of its accept queues until it is started again")
		}
	}
}

// Fits says whether the machine can carry the target once the plan is applied.
func (p Plan) Fits() bool { return len(p.Misfits) == 0 }

// Changed says whether applying the plan changes anything.
func (p Plan) Changed() bool {
	return slices.ContainsFunc(p.Values, func(v Value) bool { return v.Path != "" && v.Now != v.Wanted }) ||
		slices.ContainsFunc(p.Files, func(f File) bool { return f.Changed() })
}

// Write shows the values as a table, and the files as a difference.
func (p Plan) Write(w io.Writer) error {
	fmt.Fprintf(w, "# machine: %s\n# target: %s\n", p.Machine, p.Target)
	for _, line := range p.Misfits {
		wrap(w, "# does not fit: ", "#   ", line)
	}
	fmt.Fprintln(w, "#")
	if len(p.Values) == 0 {
		fmt.Fprintln(w, "# Nothing has to be set here.")
	} else {
		table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		fmt.Fprint(table, "# key\tnow\twanted\n")
		for _, v := range p.Values {
			wanted := v.Wanted
			if v.Now == v.Wanted {
				wanted += ", as it is"
			}
			fmt.Fprintf(table, "# %s\t%s\t%s\n", v.Key, v.Now, wanted)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		name  string
		lines []string
	}{{"# not from here: ", p.Left}, {"# note: ", p.Notes}} {
		if len(part.lines) > 0 {
			fmt.Fprintln(w, "#")
		}
		for _, line := range part.lines {
			wrap(w, part.name, "#   ", line)
		}
	}
	for _, f := range p.Files {
		if _, err := io.WriteString(w, f.Diff()); err != nil {
			return err
		}
	}
	return nil
}
