package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"rookery/tuning"
	"rookery/tuning/host"
)

const (
	// untunedFiles is what a login has on many machines.
	untunedFiles = 1024
	// untunedQueue is the default of kernels before 5.4; a current one has 4096.
	untunedQueue = "128"
	queueFile    = "/proc/sys/net/core/somaxconn"
)

// play is what happens on a stage.
type play struct {
	stage        stage
	binary, work string
	connections  int
	rate         int // connects a second; 0: as fast as it goes
	out          io.Writer
	figures      figures
}

func (p *play) tell(format string, values ...any) { fmt.Fprintf(p.out, format+"\n", values...) }

func (p *play) run(ctx context.Context) error {
	if err := p.stage.settle(p.work); err != nil {
		return err
	}
	if err := errors.Join(loginLimit(untunedFiles), os.WriteFile(queueFile, []byte(untunedQueue), 0o644)); err != nil {
		return err
	}
	original, err := snapshot()
	if err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"an untuned gateway stops where check says", p.untuned},
		{"apply sets it, and nothing else", func(ctx context.Context) error { return p.apply(ctx, original) }},
		{"the files give the same values as at boot", func(ctx context.Context) error { return p.boot(ctx, original) }},
		{"the tuned gateway holds the target", p.tuned},
		{"rollback leaves nothing changed", func(ctx context.Context) error { return p.rollBack(ctx, original) }},
		{"the script does the same in dash", func(ctx context.Context) error { return p.script(ctx, original, "dash") }},
		{"the script does the same in busybox", func(ctx context.Context) error { return p.script(ctx, original, "busybox", "sh") }},
	} {
		p.tell("== %s", step.name)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	p.figures.Kernel, p.figures.Connections = strings.TrimSpace(string(release)), p.connections
	return err
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

func (p *play) untuned(ctx context.Context) error {
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
	// More than it holds is enough, and all that it refuses come again.
	l, err := p.putLoad(ctx, min(p.connections, 3*first.At))
	if err != nil {
		return err
	}
	p.tell("the gateway held %d connections", l.Held)
	if l.Held != int64(first.At) {
		return fmt.Errorf("check said that %s holds %d connections, and the gateway held %d", first.Key, first.At, l.Held)
	}
	p.figures.First, p.figures.At, p.figures.Before = first.Key, first.At, l
	return stop()
}

func (p *play) apply(ctx context.Context, original map[string]string) error {
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
		allowed[v.Path] = true
	}
	for _, f := range plan.Files {
		for name := f.Path; name != "/"; name = filepath.Dir(name) { // and the directories that are made for it
			allowed[name] = true
		}
	}
	for range 2 { // the second time changes nothing
		said, status, err := p.rookery(ctx, "tune", "apply", "--connections", strconv.Itoa(p.connections))
		if err != nil || status != 0 {
			return fmt.Errorf("status %d, %w: %s", status, err, said)
		}
		p.tell("%s", strings.TrimSpace(said))
	}
	now, err := snapshot()
	if err != nil {
		return err
	}
	for _, name := range differences(original, now) {
		if !allowed[name] {
			return fmt.Errorf("apply changed %s, which is not in the plan", name)
		}
	}
	return nil
}

// boot sets the values as they were before, and loads the file of settings as it is loaded at boot.
func (p *play) boot(ctx context.Context, original map[string]string) error {
	applied, err := snapshot()
	if err != nil {
		return err
	}
	changed := differences(values(original), values(applied))
	for _, name := range changed {
		_, text, _ := strings.Cut(original[name], " ")
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	how, err := p.stage.boot(ctx)
	if err != nil {
		return err
	}
	now, err := snapshot()
	if err != nil {
		return err
	}
	if wrong := differences(applied, now); len(wrong) > 0 {
		return fmt.Errorf("loaded by %s these differ: %v", how, wrong)
	}
	p.tell("%d values are the same after %s", len(changed), how)
	return nil
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
	l, err := p.putLoad(ctx, p.connections)
	if err != nil {
		return err
	}
	p.tell("the gateway held %d connections", l.Held)
	if l.Held != int64(p.connections) {
		return fmt.Errorf("the tuned gateway held %d connections, want %d", l.Held, p.connections)
	}
	p.figures.After = l
	return stop()
}

func (p *play) rollBack(ctx context.Context, original map[string]string) error {
	said, status, err := p.rookery(ctx, "tune", "rollback")
	if err != nil || status != 0 {
		return fmt.Errorf("status %d, %w: %s", status, err, said)
	}
	return p.unchanged(original)
}

func (p *play) unchanged(original map[string]string) error {
	now, err := snapshot()
	if err != nil {
		return err
	}
	if wrong := differences(original, now); len(wrong) > 0 {
		return fmt.Errorf("these differ from what was there: %v", wrong)
	}
	p.figures.Compared = len(now)
	p.tell("%d files of /proc/sys and /etc are as they were", len(now))
	return nil
}

func (p *play) script(ctx context.Context, original map[string]string, shell ...string) error {
	text, status, err := p.rookery(ctx, "tune", "script", "--connections", strconv.Itoa(p.connections))
	if err != nil || status != 0 {
		return fmt.Errorf("status %d, %w: %s", status, err, text)
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
		if err != nil || status != step.status {
			return fmt.Errorf("%s: status %d, want %d, %w: %s", step.command, status, step.status, err, said)
		}
	}
	return p.unchanged(original)
}
