package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// TestMain makes the test binary be rookery where it is called by that name, so that
// scripts and tests run the real main.
func TestMain(m *testing.M) {
	testscript.Main(withoutLeaks{m}, map[string]func(){"rookery": main})
}

// withoutLeaks runs the tests, and fails if a goroutine outlives them: commands that run here are
// to end with all that they began.
type withoutLeaks struct{ tests *testing.M }

func (w withoutLeaks) Run() int {
	status := w.tests.Run()
	err := goleak.Find(
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/tidwall/buntdb.(*DB).backgroundManager"), // of a closed one: a second later, or more on a busy machine
	)
	if err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// TestScripts runs one script after the other, and beside no test that runs in parallel: commands that are run here have their files
// in the script's folder, which is that of the whole process meanwhile.
func TestScripts(t *testing.T) {
	testscript.RunT(inTurn{t}, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"run": runInScript, "makelog": makeLog, "flip": flipByte, "cut": cutFile, "replace": replaceInFile, "zero": zeroBytes,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv(quickExit())
			return nil
		},
	})
}

// inTurn is a test whose scripts wait for each other.
type inTurn struct{ *testing.T }

func (inTurn) Parallel() {}

func (t inTurn) Run(name string, run func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { run(inTurn{t}) })
}

func (inTurn) Verbose() bool { return testing.Verbose() }

// runInScript is "run ARGUMENTS" in a script: rookery without a process of its own, whose start under the race detector costs more
// than what most commands do. It has no variables of the environment and nothing on its standard input; exec rookery has both.
func runInScript(ts *testscript.TestScript, neg bool, args []string) {
	before, err := os.Getwd()
	ts.Check(err)
	ts.Check(os.Chdir(ts.MkAbs(".")))
	status := run(context.Background(), args, process{stdin: strings.NewReader(""), stdout: ts.Stdout(), stderr: ts.Stderr()})
	ts.Check(os.Chdir(before))
	if neg != (status != exitOK) {
		ts.Fatalf("rookery ended with status %d", status)
	}
}

// quickExit is a variable for the programs that tests start: under the race detector each
// would sleep for a second before it ends.
func quickExit() (name, text string) { return "GORACE", "atexit_sleep_ms=0" }

// TestEveryCommand asks each command for help: it has to give it on the standard output,
// and to refuse a flag that it does not have.
func TestEveryCommand(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range commands() {
		t.Run(c.name, func(t *testing.T) {
			if seen[c.name] || c.summary == "" {
				t.Errorf("the command is there twice or has no summary: %+v", c)
			}
			seen[c.name] = true
			for _, args := range [][]string{{c.name, "--help"}, {c.name, "-h"}, {"help", c.name}} {
				var stdout, stderr bytes.Buffer
				status := run(context.Background(), args, process{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr})
				if status != exitOK || !strings.HasPrefix(stdout.String(), "Usage: rookery "+c.name) || stderr.Len() > 0 {
					t.Errorf("%q: status %d, stdout %q, stderr %q", args, status, stdout.String(), stderr.String())
				}
			}
			var stdout, stderr bytes.Buffer
			status := run(context.Background(), []string{c.name, "--no-such-flag"}, process{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr})
			if status != exitRefused || stdout.Len() > 0 || stderr.Len() == 0 {
				t.Errorf("unknown flag: status %d, stdout %q, stderr %q", status, stdout.String(), stderr.String())
			}
		})
	}
}
