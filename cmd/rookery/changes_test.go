package main

import (
	"bytes"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	client "rookery/client/go"
	"rookery/gateway"
	"rookery/gateway/gatewaytest"
)

// TestChangesInCommands: tail shows changes and what they made of the messages, log dump and export say what they are, and an
// import takes them to another log.
func TestChangesInCommands(t *testing.T) {
	dir := t.TempDir()
	start := func(data string) (*gatewaytest.Server, *client.Client) {
		g := gatewaytest.Start(t, func(c *gateway.Config) { c.Data = filepath.Join(dir, data) })
		c, err := client.New(client.Config{URL: g.URL(), Name: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return g, c
	}
	g, c := start("data")
	must := func(_ client.Published, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	must(c.Publish(ctx, "lobby", "one"))
	must(c.Publish(ctx, "lobby", "secret"))
	must(c.PublishMessage(ctx, client.Publication{Room: "lobby", Text: "yes", ReplyTo: 1, Thread: 1, Mentions: []string{"bob"}, Kind: "vote"}))
	must(c.Edit(ctx, "lobby", 1, "ONE"))
	must(c.React(ctx, "lobby", 1, "👍", false))
	must(c.React(ctx, "lobby", 3, "👍", false))
	must(c.React(ctx, "lobby", 3, "👍", true))
	must(c.Pin(ctx, "lobby", 1, false))
	must(c.Delete(ctx, "lobby", 2))
	must(c.Edit(ctx, "lobby", 1, "One"))

	tail := runCommand(t, g, "", "tail", "lobby", "--after", "0", "--count", "10")
	var bodies []string
	for _, line := range strings.Split(strings.TrimSpace(tail.stdout), "\n") {
		_, body, _ := strings.Cut(line, " alice: ")
		bodies = append(bodies, body)
	}
	want := []string{
		"One [edited] [👍 1] [pinned]", "[deleted]", "[to 1] yes", "[edits 1] [overtaken by a later change]", "[reacts to 1 with 👍]",
		"[reacts to 3 with 👍]", "[takes back 👍 from 3]", "[pins 1]", "[deletes 2]", "[edits 1] One",
	}
	if tail.status != exitOK || !reflect.DeepEqual(bodies, want) {
		t.Errorf("tail: status %d, %q\n got %q\nwant %q", tail.status, tail.stderr, bodies, want)
	}
	lines := runCommand(t, g, "", "tail", "lobby", "--after", "0", "--count", "10", "--json").stdout
	for _, part := range []string{
		`"revision":10,"edits":2,"reactions":[{"reaction":"👍","count":1,"users":["alice"],"own":true}],"pinned":true,"replies":{"count":1,"last":3},"text":"One"}`,
		`"seq":2,`, `"revision":9,"deleted":true}`, `"replyTo":1,"thread":1,"mentions":["bob"],"kind":"vote","revision":7,"text":"yes"}`,
		`"change":{"target":1,"edit":{}}}`, `"change":{"target":3,"react":{"reaction":"👍","remove":true}}}`, `"change":{"target":1,"pin":{}}}`,
	} {
		if !strings.Contains(lines, part) {
			t.Errorf("tail --json has no %s\n%s", part, lines)
		}
	}
	page, err := c.History(ctx, "lobby", client.HistoryQuery{})
	if err != nil {
		t.Fatal(err)
	}
	g.Stop()

	data, file := filepath.Join(dir, "data"), filepath.Join(dir, "all.jsonl")
	dump := tool(t, "log", "dump", "--data", data, "--room", "lobby")
	for _, part := range []string{`"says":{"change":{"target":2,"delete":{}}}}`, `"says":{"replyTo":1,"thread":1,"mentions":["bob"],"kind":"vote","text":"yes"}}`} {
		if !strings.Contains(dump, part) {
			t.Errorf("log dump has no %s\n%s", part, dump)
		}
	}
	if !strings.Contains(tool(t, "log", "verify", "--data", data), "whole: ") {
		t.Error("log verify does not call it whole")
	}
	export := tool(t, "export", "--data", data)
	if part := `"reading":"{\"change\":{\"target\":2,\"delete\":{}}}","body":"`; !strings.Contains(export, part) {
		t.Errorf("export has no %s\n%s", part, export)
	}
	tool(t, "export", "--data", data, "--out", file)
	tool(t, "import", "--data", filepath.Join(dir, "copy"), "--in", file)
	_, c = start("copy")
	again, err := c.History(ctx, "lobby", client.HistoryQuery{})
	if err != nil || !reflect.DeepEqual(again.Messages, page.Messages) {
		t.Errorf("after the import: %v\n got %+v\nwant %+v", err, again.Messages, page.Messages)
	}
}

// tool runs a command that needs no gateway and gives its output.
func tool(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), args, process{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}); status != exitOK {
		t.Fatalf("rookery %s: status %d, %s", strings.Join(args, " "), status, stderr.String())
	}
	return stdout.String()
}
