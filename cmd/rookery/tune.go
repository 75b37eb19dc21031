package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"rookery/gateway"
	"rookery/tuning"
	"rookery/tuning/host"
)

const tuneUsage = `Usage: rookery tune check|plan|apply|rollback|explain|capacity|script [FLAGS]

Says what of this machine limits many connections, computes what should be set instead, sets it, and takes
that back. docs/tuning.md begins with five minutes for a machine that was never tuned.

  check      read this machine and say what limits it, in order; changes nothing
  plan       show what apply would set and write, as a difference; changes nothing
  apply      write files of its own, set the values, and look whether they took (as root)
  rollback   put everything back as it was before apply (as root)
  explain    say all that is known of one key
  capacity   say how many connections a machine holds
  script     write the plan as a shell script, for who does not run a binary as root

rookery tune check --help says more about one.
`

// tune is the command of what is below it.
func tune(ctx context.Context, args []string, p process) int {
	if len(args) == 0 {
		return p.refuse("tune", "say what to do: rookery tune check, plan, apply, rollback, explain, capacity or script")
	}
	switch args[0] {
	case "check":
		return tuneCheck(args[1:], p)
	case "plan":
		return tunePlan(args[1:], p)
	case "apply":
		return tuneApply(args[1:], p)
	case "rollback":
		return tuneRollback(args[1:], p)
	case "explain":
		return tuneExplain(args[1:], p)
	case "capacity":
		return tuneCapacity(args[1:], p)
	case "script":
		return tuneScript(args[1:], p)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(p.stdout, tuneUsage)
		return exitOK
	}
	return p.refuse("tune", "there is no %q; it is check, plan, apply, rollback, explain, capacity or script", args[0])
}

// tuneFlags say which machine is looked at, and what it should carry.
type tuneFlags struct {
	root   string
	state  string
	pid    int
	unit   string
	memory bytesFlag
	cores  int
	target tuning.Target
	role   string
	aims   bool   // the command has a target
	config string // with it
}

// bytesFlag is a size like 4GiB.
type bytesFlag int64

func (b *bytesFlag) String() string { return fmt.Sprint(int64(*b)) }

func (b *bytesFlag) Set(text string) error {
	for shift, unit := range map[int]string{10: "KiB", 20: "MiB", 30: "GiB", 40: "TiB"} {
		if digits, found := strings.CutSuffix(text, unit); found {
			var n int64
			if _, err := fmt.Sscanf(digits, "%d", &n); err != nil || fmt.Sprint(n) != digits || n < 1 || n >= 1<<(62-shift) {
				break
			}
			*b = bytesFlag(n << shift)
			return nil
		}
	}
	return fmt.Errorf("it is a whole number of MiB, GiB or TiB, like 4GiB")
}

// declareMachine makes the flags that say which machine it is.
func (f *tuneFlags) declareMachine(set *flag.FlagSet) {
	set.StringVar(&f.root, "root", "/", "`directory` that stands for /: a copy of another machine's files, of which only these are read")
	set.IntVar(&f.pid, "pid", 0, "`pid` of the gateway; 0 looks for a process of rookery serve")
	set.StringVar(&f.unit, "unit", "", "systemd `service` of the gateway where it does not run; empty is rookery.service")
}

// declareTarget makes the flags that say what it should carry.
func (f *tuneFlags) declareTarget(set *flag.FlagSet) {
	f.aims = true
	set.IntVar(&f.target.Connections, "connections", 0, "`number` of connections wanted; 0 is what this machine holds")
	set.Float64Var(&f.target.MessageRate, "message-rate", 0, "`per-second`: messages that come in and go out, together")
	f.declareRole(set)
	set.IntVar(&f.target.Sources, "sources", 1, "`number` of pairs of source and target address, of a load generator or a proxy")
	set.IntVar(&f.target.Port, "port", 0, "`port` of the gateway; 0 is that of its configuration file, or 8080")
	set.StringVar(&f.config, "config", "", "`file` of the gateway's settings, which say what it needs beside connections; empty is /etc/rookery/rookery.yaml, where there is one")
}

func (f *tuneFlags) declareRole(set *flag.FlagSet) {
	names := make([]string, 0, 3)
	for _, r := range tuning.Roles() {
		names = append(names, string(r))
	}
	set.StringVar(&f.role, "role", string(tuning.Gateway), "`role` of the machine: "+strings.Join(names, ", "))
}

// serviceName is the name of a unit that has limits: it becomes part of a file's name.
var serviceName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.service$`)

// open checks the flags and reads the machine.
func (f *tuneFlags) open() (*host.Host, error) {
	f.target.Role = tuning.Role(f.role)
	switch {
	case !slices.Contains(tuning.Roles(), f.target.Role):
		return nil, fmt.Errorf("--role %q: it is one of %v", f.role, tuning.Roles())
	case f.target.Connections < 0 || f.target.Connections > 100_000_000:
		return nil, fmt.Errorf("--connections %d: 0 to 100,000,000", f.target.Connections)
	case !(f.target.MessageRate >= 0 && f.target.MessageRate <= 1e9): // NaN is neither
		return nil, fmt.Errorf("--message-rate %g: 0 to 1,000,000,000", f.target.MessageRate)
	case f.target.Sources < 0 || f.target.Sources > 65536:
		return nil, fmt.Errorf("--sources %d: 1 to 65,536", f.target.Sources)
	case f.pid < 0:
		return nil, fmt.Errorf("--pid %d: 0 or the number of a process", f.pid)
	case f.cores < 0 || f.cores > 4096:
		return nil, fmt.Errorf("--cores %d: 1 to 4096", f.cores)
	case f.target.Port < 0 || f.target.Port > 65535:
		return nil, fmt.Errorf("--port %d: 0 to 65535", f.target.Port)
	}
	if f.unit != "" && !strings.Contains(f.unit, ".") {
		f.unit += ".service" // as systemctl takes it
	}
	if f.unit != "" && !serviceName.MatchString(f.unit) {
		return nil, fmt.Errorf("--unit %q: it is the name of a service, like rookery.service", f.unit)
	}
	o := host.Options{PID: f.pid, Unit: f.unit, Memory: int64(f.memory), Processors: f.cores}
	open, tree := host.Here, os.DirFS("/")
	if f.root != "/" {
		root, err := os.OpenRoot(f.root) // no link leads out of it
		if err != nil {
			return nil, err
		}
		tree = root.FS()
		open = func(o host.Options) (*host.Host, error) { return host.Open(tree, o) }
	}
	h, err := open(o)
	if err != nil {
		return nil, err
	}
	return h, f.readConfig(tree)
}

// usualConfig is where the package has the settings.
const usualConfig = "etc/rookery/rookery.yaml"

// readConfig takes from the gateway's settings what the target follows from. A machine that is computed with, and one that makes
// load, has none of its own.
func (f *tuneFlags) readConfig(tree fs.FS) error {
	name, text, err := f.config, []byte(nil), error(nil)
	switch {
	case name != "":
		text, err = os.ReadFile(name)
	case !f.aims || f.memory > 0 || f.target.Role == tuning.LoadGenerator:
		return nil
	default:
		name = "/" + usualConfig
		if text, err = fs.ReadFile(tree, usualConfig); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("the gateway's settings say what it needs beside connections: %w; --config names another file, /dev/null for none", err)
	}
	needs, err := gateway.ReadNeeds(name, text)
	if err != nil {
		return fmt.Errorf("the gateway's settings in %s are refused\n%w", name, err)
	}
	t := &f.target
	t.TLS, t.Socket, t.Webhooks = needs.TLS, needs.Socket, needs.Webhooks
	if t.Port == 0 {
		t.Port = needs.Port
	}
	return nil
}

const tuneCheckUsage = `Usage: rookery tune check [FLAGS]

Reads this machine and the running gateway, and says what limits them: first what stops the wanted number of
connections, in the order in which it is met, then what makes messages late, then what could be better. Each with
its value and where that comes from, what it should be, why, what it costs, and which document says so.

Nothing is changed. As root it sees more, and says what it could not see.

The exit status is 0 if nothing limits the target, 1 if something stops it, 3 if something hurts it, 4 if nothing
of that but something could be better. What could not be read does not count: it is told.

`

// Exit statuses of check beyond those of all commands.
const (
	exitHurts  = 3
	exitAdvice = 4
)

func tuneCheck(args []string, p process) int {
	f := tuneFlags{}
	set := newFlagSet("tune check", p)
	f.declareTarget(set)
	f.declareMachine(set)
	set.StringVar(&f.target.Data, "data", "", "`directory` of the log: measures how long a sync takes there, by writing a file of 200 KiB")
	all := set.Bool("all", false, "show what is fine, too")
	asJSON := set.Bool("json", false, "print JSON")
	rest, status, done := parse(set, tuneCheckUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("tune check", "argument %q: everything is a flag", rest[0])
	}
	h, err := f.open()
	if err != nil {
		return p.refuse("tune check", "%v", err)
	}
	report := tuning.Examine(h, f.target)
	switch {
	case *asJSON:
		err = writeJSON(p, report)
	case *all:
		err = report.WriteAll(p.stdout)
	default:
		err = report.Write(p.stdout)
	}
	if err != nil {
		return p.fail("tune check", err)
	}
	switch report.Worst() {
	case tuning.Stops:
		return exitFailed
	case tuning.Hurts:
		return exitHurts
	case tuning.Advice:
		return exitAdvice
	}
	return exitOK
}

func writeJSON(p process, value any) error {
	encoder := json.NewEncoder(p.stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

const tuneExplainUsage = `Usage: rookery tune explain KEY [FLAGS]

Says all that is known of a key: why it matters, what it costs, when to leave it alone, how it stands on this
machine, and which document says so. Without a key it lists them.

`

func tuneExplain(args []string, p process) int {
	f := tuneFlags{}
	set := newFlagSet("tune explain", p)
	f.declareTarget(set)
	f.declareMachine(set)
	rest, status, done := parse(set, tuneExplainUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 1:
		return p.refuse("tune explain", "argument %q: one key; put quotes around one with blanks", rest[1])
	case len(rest) == 0:
		for _, key := range tuning.Keys() {
			fmt.Fprintln(p.stdout, key)
		}
		return exitOK
	}
	h, err := f.open()
	if err != nil {
		return p.refuse("tune explain", "%v", err)
	}
	if !tuning.Explain(p.stdout, h, f.target, rest[0]) {
		return p.refuse("tune explain", "%q is no key that is looked at; rookery tune explain lists them", rest[0])
	}
	return exitOK
}

const tuneCapacityUsage = `Usage: rookery tune capacity [FLAGS]

Says how many connections this machine, or one with --memory and --cores, holds when they are idle, chatty or busy,
with the memory of the kernel, and shows the formula and what it rests on.

`

func tuneCapacity(args []string, p process) int {
	f := tuneFlags{}
	set := newFlagSet("tune capacity", p)
	f.declareMachine(set)
	f.declareRole(set)
	f.declareSize(set)
	asJSON := set.Bool("json", false, "print JSON")
	rest, status, done := parse(set, tuneCapacityUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("tune capacity", "argument %q: everything is a flag", rest[0])
	}
	h, err := f.open()
	if err != nil {
		return p.refuse("tune capacity", "%v", err)
	}
	room := tuning.Capacity(h, f.target.Role)
	if *asJSON {
		err = writeJSON(p, room)
	} else {
		err = room.Write(p.stdout)
	}
	if err != nil {
		return p.fail("tune capacity", err)
	}
	return exitOK
}

func (f *tuneFlags) declareSize(set *flag.FlagSet) {
	set.Var(&f.memory, "memory", "`size` of the memory that a machine is rented with, like 4GiB, to compute with instead of this machine's")
	set.IntVar(&f.cores, "cores", 0, "`number` of processors to compute with, instead of this machine's")
}
