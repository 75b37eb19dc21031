package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"rookery/bench/result"
	"rookery/gateway/gatewaytest"
)

// TestBenchScripts runs the scripts that need a gateway: its address is $URL.
func TestBenchScripts(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/bench",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"bench": runBench, "replace": replaceInFile},
		Setup: func(env *testscript.Env) error {
			env.Setenv(quickExit())
			env.Setenv("URL", g.URL())
			return nil
		},
	})
}

// runBench is "bench ARGUMENTS" in a script: rookery bench. On a machine that is too busy for even a small load it fails and says
// so, which is right and no fault of the script.
func runBench(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("rookery", append([]string{"bench"}, args...)...)
	invalid := strings.Contains("\n"+ts.ReadFile("stdout"), "\nINVALID: ")
	switch {
	case neg && err == nil:
		ts.Fatalf("rookery bench ended with status 0")
	case !neg && err != nil && !invalid:
		ts.Fatalf("rookery bench ended with %v\n%s%s", err, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	case !neg && err == nil && invalid:
		ts.Fatalf("rookery bench ended with status 0, and its run is invalid")
	}
}

// TestBenchRefusesWithStatus2 in one message each, before anything is started.
func TestBenchRefusesWithStatus2(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, stderr string }{
		{"", "which load"},
		{"chatter", `no scenario "chatter"`},
		{"nothing.yaml", "nothing.yaml"},
		{"chat --connections many", `"many"`},
		{"chat --no-such-flag", "no-such-flag"},
		{"chat --connections 0", "clients.connections is 0"},
		{"chat --size 51", "publish.size is 51"},
		{"chat --arrivals odd", `publish.arrivals is "odd"`},
		{"chat --codec xml", `server.codec is "xml"`},
		{"chat --rooms 0 --rooms-each 0 --rate 0", "rooms.count is 0"},
		{"chat --rooms 2 --rooms-each 3", "rooms.per_connection is 3"},
		{"chat --duration 1ms", "time.duration is 1ms"},
		{"chat --assert fast", `"fast"`},
		{"chat --dialect latin", `server.dialect is "latin"`},
		{"chat --dialect centrifugo --target tcp://127.0.0.1:1", "use a ws:// target"},
		{"chat --find speed --from 1", `find.what is "speed"`},
		{"chat --find publish.rate --factor 1", "find.factor is 1"},
		{"chat --find publish.rate --until p99", `"p99"`},
		{"chat --host 127.0.0.1:1", "--secret-file"},
		{"chat --token-file nothing", "nothing"},
		{"chat --json nowhere/one.json", "nowhere/one.json can't be written: there is no folder nowhere"},
		{"chat --csv bench_test.go/one.csv", "there is no folder bench_test.go"},
		{"chat --html nowhere/one.html", "there is no folder nowhere"},
		{"compare one.json", "two sides"},
		{"compare one.json two.json", "one.json"},
		{"agent --listen 127.0.0.1:0", "--secret-file is missing"},
		{"agent --listen 127.0.0.1:0 --secret-file " + secret, "16 to 256 characters"},
		{"worker 1", "starts its workers itself"},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"bench"}, strings.Fields(c.args)...)
		status := run(context.Background(), args, process{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr})
		if status != exitRefused || stdout.Len() > 0 || !strings.Contains(stderr.String(), c.stderr) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("rookery bench %s: status %d, stdout %q, stderr %q; want status 2 and a line on %q", c.args, status, stdout.String(), stderr.String(), c.stderr)
		}
	}
}

// broken takes nothing.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestBenchReportsWhatItCan: a file that can't be written, or nobody who reads the table, takes nothing of the rest along.
func TestBenchReportsWhatItCan(t *testing.T) {
	dir := t.TempDir()
	f := benchFlags{json: filepath.Join(dir, "nowhere", "one.json"), csv: filepath.Join(dir, "one.csv"), html: filepath.Join(dir, "one.html")}
	err := f.report(&result.Result{Latencies: result.NewLatencies()}, process{stdout: broken{}})
	if !errors.Is(err, os.ErrNotExist) || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("it is told that %v, want both", err)
	}
	for _, path := range []string{f.csv, f.html} {
		if content, err := os.ReadFile(path); err != nil || len(content) == 0 {
			t.Errorf("%s has %d bytes, %v", filepath.Base(path), len(content), err)
		}
	}
}

func TestBenchStatus(t *testing.T) {
	good := result.Verdict{Valid: true}
	for _, c := range []struct {
		name   string
		result result.Result
		want   int
	}{
		{"good", result.Result{Verdict: good}, exitOK},
		{"invalid", result.Result{}, exitFailed},
		{"lost", result.Result{Verdict: good, Counts: result.Counts{Lost: 1}}, exitFailed},
		{"twice", result.Result{Verdict: good, Counts: result.Counts{Duplicated: 1}}, exitFailed},
		{"wrong order", result.Result{Verdict: good, Counts: result.Counts{Reordered: 1}}, exitFailed},
		{"foreign", result.Result{Verdict: good, Counts: result.Counts{Foreign: 1}}, exitFailed},
		{"refused, which a limit may do", result.Result{Verdict: good, Counts: result.Counts{Refused: 1}}, exitOK},
		{"conditions hold", result.Result{Verdict: good, Asserts: []result.Check{{Holds: true}, {Holds: true}}}, exitOK},
		{"one does not", result.Result{Verdict: good, Asserts: []result.Check{{Holds: true}, {}}}, exitFailed},
		{"a search, whose first step lost", result.Result{Verdict: good, Counts: result.Counts{Lost: 1}, Steps: []result.Step{{}}}, exitOK},
		{"a search, a condition does not hold", result.Result{Verdict: good, Steps: []result.Step{{}}, Asserts: []result.Check{{}}}, exitFailed},
	} {
		if got := benchStatus(&c.result); got != c.want {
			t.Errorf("%s: status %d, want %d", c.name, got, c.want)
		}
	}
}

// benchProcess is rookery bench as a process of its own, which starts workers by itself.
type benchProcess struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	lines  <-chan string // of its standard error, closed when it ends
}

func startBench(t *testing.T, args ...string) *benchProcess {
	t.Helper()
	path, err := exec.LookPath("rookery")
	if err != nil {
		t.Fatal(err)
	}
	race, quick := quickExit()
	b := &benchProcess{cmd: exec.Command(path, append([]string{"bench"}, args...)...)}
	b.cmd.Env = append(os.Environ(), race+"="+quick)
	b.cmd.Stdout = &b.stdout
	stderr, err := b.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			lines <- s.Text()
		}
	}()
	b.lines = lines
	t.Cleanup(func() {
		b.cmd.Process.Kill() // an error means that it has ended
		for range lines {
		}
		if b.cmd.ProcessState == nil {
			b.cmd.Wait()
		}
	})
	return b
}

func (b *benchProcess) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait returns its status and the rest of its standard error.
func (b *benchProcess) wait() (status int, stderr string) {
	var rest strings.Builder
	for line := range b.lines {
		rest.WriteString(line + "\n")
	}
	b.cmd.Wait() // the status says it
	return b.cmd.ProcessState.ExitCode(), rest.String()
}

// expectRun checks the report of a run in which nothing went wrong but perhaps that the machine was too busy.
func (b *benchProcess) expectRun(t *testing.T) {
	t.Helper()
	status, stderr := b.wait()
	invalid := strings.Contains(b.stdout.String(), "\nINVALID: ")
	if status != exitOK && !(status == exitFailed && invalid) || !regexp.MustCompile(`(?m)^ +lost +0$`).MatchString(b.stdout.String()) {
		t.Errorf("status %d, stdout\n%s\nstderr\n%s\nwant a run without loss", status, b.stdout.String(), stderr)
	}
}

func smallBench(url string, more ...string) []string {
	return append([]string{"rooms", "--connections", "6", "--rooms", "3", "--rate", "30", "--warmup", "0s", "--target", url}, more...)
}

// TestBenchAgentCommand: an agent says where it listens, has workers for who knows its secret, and ends with a signal.
func TestBenchAgentCommand(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t)
	secret, other := filepath.Join(t.TempDir(), "secret"), filepath.Join(t.TempDir(), "other")
	for path, text := range map[string]string{secret: "0123456789abcdef\n", other: "fedcba9876543210\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	agent := startBench(t, "agent", "--listen", "127.0.0.1:0", "--secret-file", secret)
	_, address, _ := strings.Cut(waitFor(t, agent.lines, "listening at"), "listening at ")

	startBench(t, smallBench(g.URL(), "--duration", "1s", "--host", address, "--secret-file", secret, "--workers", "2")...).expectRun(t)
	waitFor(t, agent.lines, "has a worker")
	waitFor(t, agent.lines, "its worker has ended")

	refused := startBench(t, smallBench(g.URL(), "--host", address, "--secret-file", other)...)
	if status, stderr := refused.wait(); status != exitFailed || stderr != "rookery bench: load host "+address+": the agent has another secret\n" {
		t.Errorf("with another secret: status %d, %q", status, stderr)
	}
	agent.signal(t, syscall.SIGTERM)
	if status, stderr := agent.wait(); status != exitOK {
		t.Errorf("the agent ended with status %d, %s", status, stderr)
	}
}

// TestBenchCtrlC: one ends what goes on, the load or the wait after it, and shows what there is; a second ends the wait that the
// first has begun.
func TestBenchCtrlC(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t)
	once := startBench(t, smallBench(g.URL(), "--duration", "1h")...)
	waitFor(t, once.lines, "load")
	once.signal(t, syscall.SIGINT)
	once.expectRun(t)

	// Both would wait for a server that is gone.
	waiting := startBench(t, smallBench(g.URL(), "--duration", "3s", "--drain", "1h")...)
	twice := startBench(t, smallBench(g.URL(), "--duration", "1h", "--drain", "1h")...)
	waitFor(t, waiting.lines, "load")
	waitFor(t, twice.lines, "load")
	g.Stop()
	twice.signal(t, syscall.SIGINT)
	for _, b := range []*benchProcess{twice, waiting} {
		waitFor(t, b.lines, "drain")
		b.signal(t, syscall.SIGINT)
		status, stderr := b.wait()
		// A server that goes in good order may have delivered all that it took: then nothing is lost.
		if status != exitFailed && status != exitOK || !strings.Contains(b.stdout.String(), "the wait for what was on its way was ended after") {
			t.Errorf("status %d, stdout\n%s\nstderr\n%s\nwant a report that says so", status, b.stdout.String(), stderr)
		}
	}
}
