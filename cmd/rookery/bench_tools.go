package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"rookery/bench"
	"rookery/bench/report"
	"rookery/bench/result"
)

// benchWorker is what rookery bench starts; nobody else does.
func benchWorker(ctx context.Context, args []string, p process) int {
	if len(args) > 0 {
		return p.refuse("bench worker", "argument %q: rookery bench starts its workers itself", args[0])
	}
	if err := bench.ServeWorker(ctx, versionText(), p.stdin, p.stdout); err != nil {
		return exitFailed // the coordinator says it
	}
	return exitOK
}

const benchAgentUsage = `Usage: rookery bench agent --listen ADDRESS --secret-file FILE

Makes this host a load host: starts workers for a rookery bench that names it with --host. Whoever has the secret can have this
host connect to anything, so keep it, and listen only where the coordinator is. Times and messages cross the
network as they are: for networks that are trusted, or through a tunnel.

`

func benchAgent(ctx context.Context, args []string, p process) int {
	set := newFlagSet("bench agent", p)
	listen := set.String("listen", "", "`host:port`: where to listen, like 10.0.0.2:9099")
	secretFile := set.String("secret-file", "", "`file`: the secret that coordinators must show")
	rest, status, done := parse(set, benchAgentUsage, args, p)
	if done {
		return status
	}
	switch {
	case len(rest) > 0:
		return p.refuse("bench agent", "argument %q: everything is a flag", rest[0])
	case *listen == "":
		return p.refuse("bench agent", "--listen is missing: where does the coordinator reach this host?")
	case *secretFile == "":
		return p.refuse("bench agent", "--secret-file is missing: without a secret anybody could have this host make load")
	}
	text, err := os.ReadFile(*secretFile)
	if err != nil {
		return p.refuse("bench agent", "%v", err)
	}
	secret := strings.TrimSpace(string(text))
	if len(secret) < 16 || strings.ContainsAny(secret, "\r\n") || len(secret) > 256 {
		return p.refuse("bench agent", "%s has to hold a secret of 16 to 256 characters in one line", *secretFile)
	}
	self, err := os.Executable()
	if err != nil {
		return p.fail("bench agent", err)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return p.fail("bench agent", err)
	}
	fmt.Fprintf(p.stderr, "rookery bench agent: listening at %s\n", listener.Addr())
	ctx, stop := untilSignal(ctx)
	defer stop()
	err = bench.ServeAgent(ctx, listener, secret, []string{self, "bench", "worker"}, p.stderr, func(text string) {
		fmt.Fprintf(p.stderr, "rookery bench agent: %s\n", text)
	})
	if err != nil {
		return p.fail("bench agent", err)
	}
	return exitOK
}

const benchCompareUsage = `Usage: rookery bench compare BEFORE.json[,...] AFTER.json[,...] [FLAGS]

Says what changed between two results, and with two or more rounds on each side whether it is more than noise. The rounds of
a side are separated by commas.

The exit status is 0, or 1 if something became worse by more than noise.

`

func benchCompare(args []string, p process) int {
	set := newFlagSet("bench compare", p)
	out := set.String("json", "", "`file`: where the comparison goes")
	rest, status, done := parse(set, benchCompareUsage, args, p)
	if done {
		return status
	}
	if len(rest) != 2 {
		return p.refuse("bench compare", "two sides are compared: BEFORE.json AFTER.json, rounds of a side with commas between them")
	}
	var sides [2][]*result.Result
	for i, list := range rest {
		for path := range strings.SplitSeq(list, ",") {
			r, err := report.ReadFile(path)
			if err != nil {
				return p.refuse("bench compare", "%v", err)
			}
			sides[i] = append(sides[i], r)
		}
	}
	c := report.Compare(sides[0], sides[1])
	if err := c.Write(p.stdout); err != nil {
		return p.fail("bench compare", err)
	}
	if *out != "" {
		if err := c.WriteFile(*out); err != nil {
			return p.fail("bench compare", err)
		}
	}
	if err := c.Refusal(); err != nil {
		return p.fail("bench compare", err)
	}
	for _, row := range c.Rows {
		if row.Outcome == report.Worse {
			return exitFailed
		}
	}
	return exitOK
}
