package tuning

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"rookery/tuning/host"
)

// Severity is how bad a finding is.
type Severity string

const (
	Stops   Severity = "stops"   // the target is not reached
	Hurts   Severity = "hurts"   // it is, and messages or connections are late or lost under load
	Advice  Severity = "advice"  // it is; another value is better
	Unknown Severity = "unknown" // it can't be read, or is not there
	Fine    Severity = "fine"
)

// severities in the order in which findings are told.
var severities = []Severity{Stops, Hurts, Advice, Unknown, Fine}

// Check is one thing that is looked at.
type Check struct {
	// Key is the name of a kernel's setting, or a word for what is none. Those that package bench/watch names have its words.
	Key    string
	Reason string // why it matters, in a sentence
	Cost   string // of the wanted value
	Avoid  string // when to leave it as it is
	// Computed says how the wanted value is computed, of a check that apply sets.
	Computed string
	Source   string // document and section
	Instead  string // what does, where the value is left as it is

	// severity is that of a value that falls short.
	severity Severity
	// read gives the value; nil reads the setting of the kernel with the name Key.
	read func(*view) current
	// want gives what the value should be, "" if it is good as it is. A check that has it is one that apply sets.
	want func(*view, current) string
	// at is from how many connections on a value limits; nil, or 0, if that does not depend on them.
	at func(*view, current) int
	// judge is for what no wanted value can be computed, or more is to be said.
	judge func(*view, current) verdict
	// roles that it is for; nil is all.
	roles []Role
	// rule says for a machine that is not read which values are good enough; the zero is that only the wanted one is.
	rule Rule
	// module that has the setting; where it is not loaded there is nothing to limit.
	module string
}

// Rule compares one number of a value with the same number of the wanted one.
type Rule struct {
	Kind  string // Least, Most, or "": it has to be the same
	Place int    // of the number, from 0
}

// Kinds of rules.
const (
	Least = "least"
	Most  = "most"
)

// Sets says whether apply sets it.
func (c Check) Sets() bool { return c.want != nil }

// current is a value as it is.
type current struct {
	host.Reading
	from string // where it comes from, "" for a kernel's setting: that is looked up
}

// known makes one that could be read.
func known(from, format string, values ...any) current {
	return current{host.Reading{Text: fmt.Sprintf(format, values...)}, from}
}

// missing makes one that could not.
func missing(err error) current { return current{host.Reading{Err: err}, ""} }

// verdict is what a judge says. The zero is fine.
type verdict struct {
	severity Severity
	at       int
	wanted   string
	says     string // with figures
	do       string
}

// view is what a check looks at.
type view struct {
	host   *host.Host
	target Target
	room   Room
	counts map[string]int64
	before map[string]string // values before anything was applied, by their paths

	// Measured when first asked for.
	syncs   []time.Duration
	syncErr error
}

func newView(h *host.Host, t Target) *view {
	t = t.complete(h)
	return &view{host: h, target: t, room: Capacity(h, t.Role), counts: h.Counters()}
}

// was is a setting as it was before anything was applied. What is wanted of one setting must not follow from what was made of another.
func (v *view) was(key string) current {
	now := current{v.host.Sysctl(key), ""}
	if text, applied := v.before["/"+host.SysctlPath(key)]; applied {
		now.Text = strings.Join(strings.Fields(text), " ")
	}
	return now
}

// Finding is what a check says of a machine.
type Finding struct {
	Key      string   `json:"key"`
	Severity Severity `json:"severity"`
	Current  string   `json:"current,omitempty"`
	From     string   `json:"from,omitempty"`   // where the current value comes from
	Wanted   string   `json:"wanted,omitempty"` // where one can be computed
	At       int      `json:"at,omitempty"`     // connections from which on it limits
	Says     string   `json:"says,omitempty"`   // what is wrong, with figures
	Do       string   `json:"do,omitempty"`
	Reason   string   `json:"reason"`
	Cost     string   `json:"cost,omitempty"`
	Source   string   `json:"source,omitempty"`
}

// Report is what all checks say.
type Report struct {
	Target   Target    `json:"target"`
	Machine  string    `json:"machine"`
	Gateway  string    `json:"gateway"`
	Findings []Finding `json:"findings"` // the worst first; of what stops the target, what is met first
}

// Worst is the severity of the worst finding.
func (r Report) Worst() Severity {
	if len(r.Findings) == 0 {
		return Fine
	}
	return r.Findings[0].Severity
}

// Examine goes through all checks.
func Examine(h *host.Host, t Target) Report {
	v := newView(h, t)
	r := Report{Target: v.target, Machine: describe(h), Gateway: describeGateway(h)}
	for _, c := range Checks() {
		if c.roles == nil || slices.Contains(c.roles, v.target.Role) {
			r.Findings = append(r.Findings, c.examine(v))
		}
	}
	r.Findings = append(r.Findings, badAdvice(v)...)
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if by := cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)); by != 0 || a.Severity != Stops {
			return by
		}
		return cmp.Compare(a.At, b.At)
	})
	return r
}

// readNow gives the value in force.
func (c Check) readNow(v *view) current {
	if c.read != nil {
		return c.read(v)
	}
	return current{v.host.Sysctl(c.Key), ""}
}

func (c Check) examine(v *view) Finding {
	now := c.readNow(v)
	f := Finding{Key: c.Key, Severity: Fine, Current: now.Text, From: now.from, Reason: c.Reason, Cost: c.Cost, Source: c.Source}
	if c.read == nil && now.Err == nil {
		f.From = origin(v.host, c.Key, now.Text)
	}
	if c.module != "" && errors.Is(now.Err, fs.ErrNotExist) && !v.host.Module(c.module) {
		f.Current, f.From = "not there: module "+c.module+" is not loaded", "/proc/modules"
		return f
	}
	if now.Err != nil {
		f.Severity, f.Says = Unknown, whyUnread(v.host, now.Err)
		return f
	}
	if c.want != nil {
		if f.Wanted = c.want(v, now); f.Wanted != "" {
			f.Severity, f.Do = c.severity, "rookery tune apply sets it"
			if c.Key == descriptorKey && (v.host.Place.Thrown() || v.bounded(f.Wanted)) {
				f.Do = elsewhere(v.host.Place, c.Key, f.Wanted)
			} else if later := limitsAfterOurs(v); c.Key == descriptorKey && len(later) > 0 {
				f.Do = takeOut(later[len(later)-1])
			}
			if file := c.file(f); file != "" {
				if why := v.host.WhyFixed(file); why != "" {
					f.Do = why + ": " + elsewhere(v.host.Place, c.Key, f.Wanted)
				}
			}
			if c.at != nil {
				if f.At = max(0, c.at(v, now)); f.At > 0 || c.severity == Stops {
					f.Says = "it holds " + number(f.At) + " connections"
				}
				if c.severity == Stops && f.At >= v.target.Connections {
					f.Severity = Hurts // the target is reached, and nothing is left
				}
			}
		}
	}
	if c.judge != nil {
		switch said := c.judge(v, now); {
		case said.severity == "":
			f.Says = cmp.Or(f.Says, said.says)
		case f.Severity == Fine || f.Severity == said.severity || slices.Index(severities, said.severity) < slices.Index(severities, f.Severity):
			f.Severity, f.Says = said.severity, said.says
			f.At, f.Wanted, f.Do = cmp.Or(said.at, f.At), cmp.Or(said.wanted, f.Wanted), cmp.Or(said.do, f.Do)
		}
	}
	if c.Instead != "" && f.Do != "" {
		f.Do += "; or " + c.Instead
	}
	return f
}

// file is that of the kernel whose value a finding is about, "" where it is about none.
func (c Check) file(f Finding) string {
	switch {
	case c.read == nil:
		return host.SysctlPath(c.Key)
	case c.Key == steerKey:
		return f.From
	}
	return ""
}

// whyUnread says why a value is not known.
func whyUnread(h *host.Host, err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "this user may not read it: run as root"
	case errors.Is(err, fs.ErrNotExist) && h.Place.Shared():
		return "it is not there in this " + h.Place.Kind + ": it belongs to the machine that runs it"
	case errors.Is(err, fs.ErrNotExist):
		return "this kernel does not have it, or its module is not loaded"
	}
	return err.Error()
}

// elsewhere says how a setting is made where the kernel is not ours.
func elsewhere(p host.Place, key, value string) string {
	ofNamespace := strings.HasPrefix(key, "net.")
	switch {
	case key == bucketsKey && !p.Shared(): // before Linux 4.8
		return fmt.Sprintf("echo %s > /sys/module/nf_conntrack/parameters/hashsize, and options nf_conntrack hashsize=%[1]s in a file of /etc/modprobe.d", value)
	case key == descriptorKey && p.Kind == host.LXC:
		return "set lxc.prlimit.nofile = " + value + " in the container's configuration on its host; LimitNOFILE of the unit then, too"
	case key == descriptorKey && (p.Kind == host.Docker || p.Kind == host.Podman):
		return fmt.Sprintf("start the container with --ulimit nofile=%s:%[1]s", value)
	case key == descriptorKey && p.Kind == host.Kubernetes:
		return "raise LimitNOFILE of the unit of the container runtime on the node"
	case ofNamespace && (p.Kind == host.Docker || p.Kind == host.Podman):
		return fmt.Sprintf("start the container with --sysctl '%s=%s'; what the namespace does not have is set on its host", key, value)
	case ofNamespace && p.Kind == host.Kubernetes:
		return fmt.Sprintf("name %s=%s in securityContext.sysctls of the pod, which the kubelet must allow", key, value)
	}
	return "set it on the machine that runs this one"
}

// origin says where the value of a kernel's setting comes from.
func origin(h *host.Host, key, now string) string {
	a, found := h.AtBoot(key)
	switch {
	case !found && len(h.Closed()) > 0:
		return "no file that this user may read sets it"
	case !found:
		return "no file sets it: the kernel's default, or set since boot"
	case a.Value == now:
		return fmt.Sprintf("%s:%d", a.File, a.Line)
	}
	return fmt.Sprintf("set since boot: %s:%d says %s", a.File, a.Line, a.Value)
}

func describe(h *host.Host) string {
	processors := "1 processor"
	if h.Processors != 1 {
		processors = fmt.Sprintf("%d processors", h.Processors)
	}
	return fmt.Sprintf("%s, Linux %s, %s, %s", h.Place, cmp.Or(h.Kernel.Release, "of an unknown version"), processors, size(h.Memory.Total))
}

func describeGateway(h *host.Host) string {
	g := h.Gateway
	switch {
	case g == nil && h.Unit.File == "":
		return "no process of rookery serve is seen, and there is no unit " + h.Unit.Name
	case g == nil:
		return "no process of rookery serve is seen; unit " + h.Unit.Name + " in " + h.Unit.File
	case g.Unit == "":
		return fmt.Sprintf("process %d, in no systemd unit", g.PID)
	}
	return fmt.Sprintf("process %d, of %s", g.PID, g.Unit)
}
