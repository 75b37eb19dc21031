package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
)

// outcome is what a command that ran to its end has left.
type outcome struct {
	status         int
	stdout, stderr string
}

// command runs a command against a gateway, as user alice.
func runCommand(t *testing.T, g *gatewaytest.Server, stdin string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	status := run(ctx, args, process{
		stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr,
		environ: []string{"USER=alice", "ROOKERY_URL=" + g.URL()},
	})
	return outcome{status, stdout.String(), stderr.String()}
}

func (r outcome) expect(t *testing.T, status int, stdout, stderr string) {
	t.Helper()
	match := func(pattern, text string) bool {
		return regexp.MustCompile(`^(?s:` + pattern + `)$`).MatchString(text)
	}
	if r.status != status || !match(stdout, r.stdout) || !match(stderr, r.stderr) {
		t.Errorf("status %d\nstdout %q\nstderr %q\nwant %d\n%s\n%s", r.status, r.stdout, r.stderr, status, stdout, stderr)
	}
}

func TestPublishPrintsNumbers(t *testing.T) {
	g := gatewaytest.Start(t)
	runCommand(t, g, "", "publish", "lobby", "hello").expect(t, 0, "1\n", "")
	runCommand(t, g, "", "publish", "lobby", "--", "--not a flag").expect(t, 0, "2\n", "")
	runCommand(t, g, "", "publish", "--key", "k", "lobby", "once").expect(t, 0, "3\n", "")
	runCommand(t, g, "", "publish", "lobby", "once", "--key", "k").expect(t, 0, "3\n", "")
	runCommand(t, g, "from\na pipe\n\nwithout an end", "publish", "lobby", "--url", "tcp://"+g.Addr()).
		expect(t, 0, "4\n5\n6\n7\n", "")
	runCommand(t, g, "", "publish", "a\x01b", "x").expect(t, 1, "", "rookery publish: the name of the room must be .*\n")
	runCommand(t, g, strings.Repeat("x", maxLine+1), "publish", "lobby").
		expect(t, 1, "", "rookery publish: a line of the standard input is longer than 1048576 bytes\n")
	runCommand(t, g, "ok\n"+strings.Repeat("x", 70000), "publish", "lobby").
		expect(t, 1, "8\n", "rookery publish: the message is larger than the server takes\n")
	runCommand(t, g, "", "publish", "lobby", "x", "--token", "garbage").expect(t, 1, "", "rookery publish: .*unauthorized.*\n")

	at := `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`
	runCommand(t, g, "", "tail", "lobby", "--after", "0", "--count", "3").
		expect(t, 0, "1 "+at+" alice: hello\n2 "+at+" alice: --not a flag\n3 "+at+" alice: once\n", "")
	runCommand(t, g, "", "tail", "--last", "2", "lobby", "--count", "2", "--json").
		expect(t, 0, `{"room":"lobby","seq":7,"at":\d+,"from":"alice","text":"without an end"}`+"\n"+
			`{"room":"lobby","seq":8,"at":\d+,"from":"alice","text":"ok"}`+"\n", "")
	runCommand(t, g, "", "tail", "lobby", "--last", "100", "--count", "1").
		expect(t, 0, "1 .*hello\n", "")
}

// output is a pipe to read a command's output line by line while it runs.
type output struct {
	t     *testing.T
	lines chan string
	io.Writer
}

func newOutput(t *testing.T) *output {
	in, out := io.Pipe()
	o := &output{t: t, lines: make(chan string, 1000), Writer: out}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(o.lines)
		scanner := bufio.NewScanner(in)
		for scanner.Scan() {
			o.lines <- scanner.Text()
		}
	})
	t.Cleanup(func() {
		out.Close()
		reading.Wait()
	})
	return o
}

// expect waits for a line that matches; others before it are a failure.
func (o *output) expect(pattern string) {
	o.t.Helper()
	select {
	case line := <-o.lines:
		if !regexp.MustCompile(pattern).MatchString(line) {
			o.t.Fatalf("got line %q; want %s", line, pattern)
		}
	case <-time.After(20 * time.Second):
		o.t.Fatalf("no line within 20 s; want %s", pattern)
	}
}

func TestTailFollowsUntilItIsInterrupted(t *testing.T) {
	g := gatewaytest.Start(t)
	runCommand(t, g, "", "publish", "lobby", "old").expect(t, 0, "1\n", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout := newOutput(t)
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"tail", "lobby", "--last", "1"}, process{
			stdin: strings.NewReader(""), stdout: stdout, stderr: io.Discard,
			environ: []string{"USER=bob", "ROOKERY_URL=" + g.URL()},
		})
	}()
	stdout.expect(`^1 .* alice: old$`)
	runCommand(t, g, "", "publish", "lobby", "new\x1b[2J\nline").expect(t, 0, "2\n", "")
	stdout.expect(`^2 .* alice: new\\x1b\[2J\\nline$`)
	cancel()
	if got := <-status; got != exitOK {
		t.Errorf("exit status %d; want 0", got)
	}
}

func TestEphemeralPublishIsSeenAndNotStored(t *testing.T) {
	g := gatewaytest.Start(t, func(c *gateway.Config) { c.Rooms.Ephemeral = []string{"game-*"} })
	for _, c := range []struct{ args, first, second string }{
		{"", `^~cursor \S+Z alice: 12,40$`, `^~ \S+Z alice: a line$`},
		{"--json", `^{"room":"lobby","seq":0,"at":\d+,"from":"alice","ephemeral":true,"key":"cursor","text":"12,40"}$`,
			`^{"room":"lobby","seq":0,"at":\d+,"from":"alice","ephemeral":true,"text":"a line"}$`},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		stdout := newOutput(t)
		status := make(chan int, 1)
		runCommand(t, g, "", "publish", "lobby", "stored").expect(t, 0, "\\d\n", "")
		args := strings.Fields("tail lobby --last 1 " + c.args)
		go func() {
			status <- run(ctx, args, process{stdin: strings.NewReader(""), stdout: stdout, stderr: io.Discard, environ: []string{"USER=bob", "ROOKERY_URL=" + g.URL()}})
		}()
		stdout.expect("stored") // it has joined
		runCommand(t, g, "", "publish", "--ephemeral", "--key", "cursor", "lobby", "12,40").expect(t, 0, "", "")
		stdout.expect(c.first)
		runCommand(t, g, "a line\n", "publish", "lobby", "--ephemeral").expect(t, 0, "", "")
		stdout.expect(c.second)
		cancel()
		if got := <-status; got != exitOK {
			t.Errorf("exit status %d; want 0", got)
		}
	}
	runCommand(t, g, "", "publish", "lobby", "--ephemeral", "x", "--token", "garbage").expect(t, 1, "", "rookery publish: .*unauthorized.*\n")
	runCommand(t, g, "", "publish", "lobby", "--ephemeral", strings.Repeat("x", 70000)).
		expect(t, 1, "", "rookery publish: the message is larger than the server takes\n")
	runCommand(t, g, "", "publish", "lobby", "--ephemeral", "x", "--url", "tcp://127.0.0.1:1", "--timeout", "50ms").
		expect(t, 1, "", "rookery publish: not passed on within 50ms: .*refused.*\n")
	runCommand(t, g, "", "publish", "game-1", "anything").expect(t, 0, "0\n", "") // which is no number
	runCommand(t, g, "", "chat", "lobby").expect(t, 0, "(.*stored\n){2}", "")
}

func TestChatOnAPipe(t *testing.T) {
	g := gatewaytest.Start(t)
	old := ""
	for range 25 {
		old += "old\n"
	}
	runCommand(t, g, old, "publish", "lobby")
	line := `\d\d:\d\d:\d\d alice: `
	runCommand(t, g, "", "chat", "lobby").
		expect(t, 0, "("+line+"old\n){20}", "")
	runCommand(t, g, "hello\n\n//stroke\n/nothing\n/join hall\nin the hall\n/quit\nnot read\n", "chat", "lobby").
		expect(t, 0, "("+line+"old\n)*("+line+"hello\n)?("+line+"/stroke\n)?"+line+"in the hall\n",
			"rookery chat: there are /join ROOM .*\nrookery chat: you are in hall\n")
	runCommand(t, g, "", "tail", "lobby", "--after", "25", "--count", "2").
		expect(t, 0, "26 .*: hello\n27 .*: /stroke\n", "")
	runCommand(t, g, "x\n"+strings.Repeat("y", 70000)+"\n", "chat", "lobby").
		expect(t, 1, "("+line+"[^\n]*\n)*", "rookery chat: not sent: y*: the message is larger than the server takes\nrookery chat: 1 of the lines were not acknowledged\n")
	runCommand(t, g, "", "chat", "lobby", "--token", "garbage").expect(t, 1, "", "rookery chat: .*unauthorized.*\n")
}
