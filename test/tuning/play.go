package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"rookery/tuning"
	"rookery/tuning/host"
)

// queueFile is the length of accept queues, and untunedQueue the default of kernels before 5.4; a current one has 4096.
const (
	queueFile    = "/proc/sys/net/core/somaxconn"
	untunedQueue = "128"
)

// play is what happens on a stage. What it remembers survives a boot of the stage.
type play struct {
	stage        stage
	binary, work string
	connections  int
	rate         int // connects a second; 0: as fast as it goes
	out          io.Writer
	memory       memory
}

type memory struct {
	Done     int               // steps
	Original map[string]string // snapshots, before everything and after apply
	Applied  map[string]string
	Figures  figures
}

// errBoots means that the stage is about to boot: the play goes on then.
var errBoots = errors.New("the machine boots")

func (p *play) memoryFile() string { return filepath.Join(p.work, "memory.json") }

// recall reads what was done before a boot.
func (p *play) recall() error {
	b, err := os.ReadFile(p.memoryFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, json.Unmarshal(b, &p.memory))
}

func (p *play) remember() error {
	b, err := json.Marshal(p.memory)
	if err != nil {
		return err
	}
	return os.WriteFile(p.memoryFile(), b, 0o600)
}

func (p *play) tell(format string, values ...any) { fmt.Fprintf(p.out, format+"\n", values...) }

func (p *play) run(ctx context.Context) error {
	if err := errors.Join(p.recall(), p.stage.settle(p.work)); err != nil {
		return err
	}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"an untuned gateway stops where check says", p.untuned},
		{"apply sets what the plan says, and nothing else", p.apply},
		{"the files are loaded as at boot", p.boot},
		{"they give the same values", p.booted},
		{"the tuned gateway holds the target", p.tuned},
		{"rollback leaves nothing changed", p.rollBack},
		{"the script does the same in dash", func(ctx context.Context) error { return p.script(ctx, "dash") }},
		{"the script does the same in busybox", func(ctx context.Context) error { return p.script(ctx, "busybox", "sh") }},
	}
	for p.memory.Done < len(steps) {
		step := steps[p.memory.Done]
		p.tell("== %s", step.name)
		p.memory.Done++
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	f := &p.memory.Figures
	f.Kernel, f.Connections, f.Stage = strings.TrimSpace(string(release)), p.connections, p.stage.name()
	return errors.Join(err, p.remember())
}

// checkReport is what check says of the running gateway.
func (p *play) checkReport(ctx context.Context) (tuning.Report, error) {
	var r tuning.Report
	said, _, err := p.rookery(ctx, "tune", "check", "--connections", strconv.Itoa(p.connections), "--json")
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal([]byte(said), &r); err != nil {
		return r, fmt.Errorf("check says no JSON: %w\n%s", err, said)
	}
	return r, nil
}

// nearEnough is by how much a limit that others share may be off: the tracker's table has some connections of the machine's own.
const nearEnough = 16

// untuned meets one limit after the other, as somebody does who raises each by hand when it is met.
func (p *play) untuned(ctx context.Context) error {
	if err := errors.Join(p.stage.untune(p.connections), os.WriteFile(queueFile, []byte(untunedQueue), 0o644)); err != nil {
		return err
	}
	var err error
	if p.memory.Original, err = snapshot(); err != nil {
		return err
	}
	for {
		stop, err := p.startGateway(ctx)
		if err != nil {
			return err
		}
		r, err := p.checkReport(ctx)
		if err != nil {
			return err
		}
		first := r.Findings[0]
		if first.Severity != tuning.Stops {
			return fmt.Errorf("check says that nothing stops an untuned gateway; first it names %+v", first)
		}
		p.tell("check names %s first, which is %s and holds %d connections", first.Key, first.Current, first.At)
		l, err := p.putLoad(ctx, min(p.connections, int(first.At)+beyond))
		if err != nil {
			return err
		}
		p.tell("the gateway held %d connections", l.Held)
		if off := l.Held - int64(first.At); off > 0 || off < -nearEnough || off != 0 && first.Key == lastLimit {
			return fmt.Errorf("check said that %s holds %d connections, and the gateway held %d; %s", first.Key, first.At, l.Held, strings.Join(l.faults, "; "))
		}
		f := &p.memory.Figures
		f.Before = append(f.Before, met{first.Key, first.Current, first.At, l})
		if first.Key == lastLimit {
			if f.BurstBefore, err = putBurst(); err != nil {
				return err
			}
			p.tell("of a burst %d connections were made at once, and an accept queue was full %d times", f.BurstBefore.Made, f.BurstBefore.Overflows)
			if f.SteeredBefore, err = steered(); err != nil {
				return err
			}
			return errors.Join(stop(), p.restore(p.memory.Original))
		}
		if err := errors.Join(stop(), p.stage.lift(first.Key, p.connections)); err != nil {
			return err
		}
	}
}

// lastLimit is the one that is met last on every stage.
const lastLimit = "RLIMIT_NOFILE"

// restore sets values of the kernel as they were in a snapshot.
func (p *play) restore(was map[string]string) error {
	now, err := snapshot()
	if err != nil {
		return err
	}
	for _, name := range differences(values(was), values(now)) {
		_, text, _ := strings.Cut(was[name], " ")
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (p *play) apply(ctx context.Context) error {
	h, err := host.Here(host.Options{})
	if err != nil {
		return err
	}
	plan := tuning.Make(h, tuning.Target{Connections: p.connections}, nil)
	allowed := map[string]bool{}
	for _, v := range plan.Values {
		if v.Path != "" && !p.stage.owns(v.Path) {
			return fmt.Errorf("the plan sets %s, which is shared with the machine that this runs on: use fewer connections", v.Path)
		}
		if name, err := filepath.EvalSymlinks(v.Path); v.Path != "" && err == nil {
			allowed[name] = true
		}
	}
	allowed["/proc/sys/net/nf_conntrack_max"] = true // another name of one of these
	for _, f := range plan.Files {
		for name := f.Path; name != "/"; name = filepath.Dir(name) { // and the directories that are made for it
			allowed[name] = true
		}
	}
	for range 2 { // the second time changes nothing
		said, status, err := p.rookery(ctx, "tune", "apply", "--connections", strconv.Itoa(p.connections))
		if err := failed("tune apply", said, status, 0, err); err != nil {
			return err
		}
		p.tell("%s", strings.TrimSpace(said))
	}
	if p.memory.Applied, err = snapshot(); err != nil {
		return err
	}
	for _, name := range differences(p.memory.Original, p.memory.Applied) {
		if !allowed[name] {
			return fmt.Errorf("apply changed %s, which is not in the plan", name)
		}
	}
	return p.stage.verify(ctx, p)
}

func (p *play) boot(ctx context.Context) error { return p.stage.boot(ctx, p) }

func (p *play) booted(context.Context) error {
	now, err := snapshot()
	if err != nil {
		return err
	}
	if wrong := differences(p.memory.Applied, now); len(wrong) > 0 {
		return fmt.Errorf("these differ: %s", told(wrong, p.memory.Applied, now))
	}
	p.tell("%d values that apply had set are set", len(differences(values(p.memory.Original), values(now))))
	return nil
}

// told shows what differs.
func told(names []string, before, after map[string]string) string {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "\n  %s was %.100q, is %.100q", name, before[name], after[name])
	}
	return b.String()
}

func (p *play) tuned(ctx context.Context) error {
	stop, err := p.startGateway(ctx)
	if err != nil {
		return err
	}
	r, err := p.checkReport(ctx)
	if err != nil {
		return err
	}
	if first := r.Findings[0]; first.Severity == tuning.Stops {
		return fmt.Errorf("check says that the tuned gateway is stopped by %+v", first)
	}
	f := &p.memory.Figures
	if f.After, err = p.putLoad(ctx, p.connections); err != nil {
		return err
	}
	p.tell("the gateway held %d connections", f.After.Held)
	if f.After.Held != int64(p.connections) {
		return fmt.Errorf("the tuned gateway held %d connections, want %d; %s", f.After.Held, p.connections, strings.Join(f.After.faults, "; "))
	}
	if f.BurstAfter, err = putBurst(); err != nil {
		return err
	}
	if b := f.BurstAfter; b.Made != burstSize || b.Overflows != 0 {
		return fmt.Errorf("of a burst of %d the tuned gateway's kernel made %d connections at once, and an accept queue was full %d times", burstSize, b.Made, b.Overflows)
	}
	if f.BurstBefore.Overflows == 0 {
		return errors.New("the burst did not fill the accept queues of the untuned gateway: it shows nothing")
	}
	p.tell("of a burst %d connections were made at once", f.BurstAfter.Made)
	queue, err := os.ReadFile(queueFile)
	if err != nil {
		return err
	}
	f.Queue = strings.TrimSpace(string(queue))
	if f.SteeredAfter, err = steered(); err != nil {
		return err
	}
	return stop()
}

func (p *play) rollBack(ctx context.Context) error {
	said, status, err := p.rookery(ctx, "tune", "rollback")
	if err := failed("tune rollback", said, status, 0, err); err != nil {
		return err
	}
	return p.unchanged()
}

func (p *play) unchanged() error {
	now, err := snapshot()
	if err != nil {
		return err
	}
	if wrong := differences(p.memory.Original, now); len(wrong) > 0 {
		return fmt.Errorf("these differ from what was there: %s", told(wrong, p.memory.Original, now))
	}
	p.memory.Figures.Compared = len(now)
	p.tell("%d files of /proc/sys, /sys/class/net and /etc are as they were", len(now))
	return nil
}

func (p *play) script(ctx context.Context, shell ...string) error {
	text, status, err := p.rookery(ctx, "tune", "script", "--connections", strconv.Itoa(p.connections))
	if err := failed("tune script", text, status, 0, err); err != nil {
		return err
	}
	file := filepath.Join(p.work, "tune.sh")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	for _, step := range []struct {
		command string
		status  int
	}{{"check", 1}, {"apply", 0}, {"check", 0}, {"apply", 0}, {"rollback", 0}} {
		said, status, err := output(exec.CommandContext(ctx, shell[0], append(shell[1:len(shell):len(shell)], file, step.command)...))
		if err := failed(step.command, said, status, step.status, err); err != nil {
			return err
		}
	}
	return p.unchanged()
}
