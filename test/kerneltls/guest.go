//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"rookery/test/vm/channel"
	"rookery/test/vm/guest"
)

// order is what the host tells the machine.
type order struct {
	Tests       string // patterns with commas between; empty: none
	Rounds      int
	Connections int
	Listeners   int // to whom is delivered, where the clock counts
}

// said is what the machine tells the host: lines, and in the end that all is done, with figures or a fault.
type said struct {
	Line    string    `json:",omitempty"`
	Done    bool      `json:",omitempty"`
	Figures []figure  `json:",omitempty"`
	Counted []float64 `json:",omitempty"` // instructions for a delivery, in each setting
	Fault   string    `json:",omitempty"`
}

// live is the first process of the machine.
func live() {
	guest.Main(os.Stdout, func(host *channel.Connection) error {
		var o order
		if err := host.Receive(&o); err != nil {
			return err
		}
		done, err := obey(o, func(line string) { _ = host.Send(said{Line: line}) })
		done.Done = true
		if err != nil {
			done.Fault = err.Error()
		}
		if err := host.Send(done); err != nil {
			return err
		}
		return host.Receive(&o) // until the host turns the machine off
	})
}

func obey(o order, say func(string)) (done said, err error) {
	if err := guest.LimitDescriptors(1 << 17); err != nil {
		return done, err
	}
	for name, value := range map[string]string{
		"TMPDIR": "/tmp", "HOME": "/tmp", "PATH": "/",
		"ROOKERY_KERNEL_TLS":   "required",
		"ROOKERY_BINARY":       "/" + server,
		"ROOKERY_CRASH_ROUNDS": strconv.Itoa(o.Rounds),
	} {
		if err := os.Setenv(name, value); err != nil {
			return done, err
		}
	}
	// All are run, whatever fails.
	var faults []error
	test := func(program, tests string) {
		args := []string{"-test.run", tests, "-test.v=true", "-test.count=1", "-test.parallel=2", "-test.timeout=40m"}
		if err := execute(say, program, args...); err != nil {
			faults = append(faults, fmt.Errorf("%s %s: %w", program, tests, err))
		}
	}
	if o.Tests != "" {
		test(kernelTests, ".")
		for pattern := range strings.SplitSeq(o.Tests, ",") {
			test(gatewayTests, pattern)
		}
	}
	if o.Rounds > 0 {
		test(processTests, "TestKillLosesNothingAcknowledgedOverTLS")
	}
	if o.Connections > 0 && len(faults) == 0 {
		if done.Figures, err = memory(o.Connections, say); err != nil {
			faults = append(faults, err)
		}
	}
	if o.Listeners > 0 && len(faults) == 0 {
		if done.Counted, err = deliveries(o.Listeners, say); err != nil {
			faults = append(faults, err)
		}
	}
	return done, errors.Join(faults...)
}

// execute runs a test program and says what became of its tests, and all that a failing one has written.
func execute(say func(string), program string, args ...string) error {
	say("== " + program)
	command := exec.Command("/"+program, args...)
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	command.Stderr = command.Stdout
	if err := command.Start(); err != nil {
		return err
	}
	passed, kept, failing := 0, []string(nil), false
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "=== RUN") && !strings.Contains(line, "/"):
			kept, failing = nil, false
			continue
		case strings.HasPrefix(line, "=== "):
			continue
		case strings.HasPrefix(line, "--- PASS"):
			passed++
			say(line)
			continue
		case strings.HasPrefix(line, "--- FAIL"):
			failing = true // with its subtests, which follow
			for _, before := range kept {
				say(before)
			}
		}
		if failing {
			say(line)
		} else if kept = append(kept, line); len(kept) > maxKept {
			kept = kept[1:]
		}
	}
	_, _ = io.Copy(io.Discard, out) // a line over the limit ends the scanner only
	if err = command.Wait(); err != nil && !failing {
		for _, line := range kept {
			say(line) // of a panic
		}
	}
	say(fmt.Sprintf("%d passed", passed))
	if err == nil && passed == 0 {
		err = errors.New("no test was run")
	}
	return err
}

// maxKept is how many lines of a failing test are told.
const maxKept = 400
