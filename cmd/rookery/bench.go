package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"rookery/bench"
	"rookery/bench/plan"
	"rookery/bench/report"
	"rookery/bench/result"
)

const benchUsage = `Usage: rookery bench SCENARIO|FILE [FLAGS]
       rookery bench compare BEFORE.json[,...] AFTER.json[,...]
       rookery bench agent --listen ADDRESS --secret-file FILE

Puts a server under load and says what it carried, what was lost, and what limited the run. Sends follow a schedule
that does not wait for the server, and latencies count from the moment at which a message was due. A file is a plan in
YAML; --print-plan makes one of a scenario. docs/bench.md says what the figures mean.

The exit status is 0, or 1 if a message was lost, missing in the end, came twice or in the wrong order, if an --assert
does not hold, or if the load generator could not keep up. Ctrl-C ends the load and shows what there is; once more, or after the
load, it ends the wait for what is on its way; the third one ends everything at once.

Scenarios:
`

// benchCommand is rookery bench and what is below it.
func benchCommand(ctx context.Context, args []string, p process) int {
	if len(args) > 0 {
		switch args[0] {
		case "worker":
			return benchWorker(ctx, args[1:], p)
		case "agent":
			return benchAgent(ctx, args[1:], p)
		case "compare":
			return benchCompare(args[1:], p)
		}
	}
	return benchRun(ctx, args, p)
}

func benchHelp() string {
	var b strings.Builder
	b.WriteString(benchUsage)
	table := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, s := range plan.Scenarios() {
		fmt.Fprintf(table, "  %s\t%s\n", s.Name, s.Summary)
	}
	table.Flush()
	b.WriteString("\nFlags change the scenario or the plan:\n\n")
	return b.String()
}

// benchFlags is what a run was asked for.
type benchFlags struct {
	plan      plan.Plan
	printPlan bool
	quiet     bool
	json, csv string
	html      string
	serve     string // Prometheus
	secret    string
}

// declare makes the flags that change a plan, which gives their defaults.
func (f *benchFlags) declare(set *flag.FlagSet) (tokenFile, keyFile, secretFile, caFile *string) {
	p := &f.plan
	list := func(name, usage string, into *[]string) {
		given := false
		set.Func(name, usage, func(text string) error {
			if !given {
				*into, given = nil, true
			}
			*into = append(*into, text)
			return nil
		})
	}
	list("target", "`url`: address of the server, like ws://127.0.0.1:8080/ws or tcp://127.0.0.1:8080, with TLS wss:// or tls://; may be repeated", &p.Server.Targets)
	set.StringVar(&p.Server.Dialect, "dialect", p.Server.Dialect, "`name`: what is spoken, one of "+bench.Dialects())
	set.StringVar(&p.Server.Codec, "codec", p.Server.Codec, "`binary|json`: Rookery's frames over WebSocket")
	set.StringVar(&p.Server.Metrics, "metrics", p.Server.Metrics, "`url`: the server's Prometheus metrics, like http://127.0.0.1:9090/metrics")
	set.IntVar(&p.Server.PID, "pid", p.Server.PID, "`pid`: the server's process on this host; 0 finds it by its port, -1 does not look")
	tokenFile = set.String("token-file", "", "`file`: a token that all connections show")
	keyFile = set.String("key-file", "", "`file`: the server's HS256 secret, to sign a token for each connection")
	caFile = set.String("ca", "", "PEM `file` with the issuers that the server's certificate is believed by, instead of the system's")
	set.BoolVar(&p.Server.TLS.Insecure, "insecure", p.Server.TLS.Insecure, "take any certificate: anybody may be at the other end")
	set.StringVar(&p.Server.TLS.ServerName, "server-name", p.Server.TLS.ServerName, "`name` that the server's certificate is for; empty: the target's host")
	set.StringVar(&p.Server.TLS.Version, "tls-version", p.Server.TLS.Version, "`1.3|1.2`: the version of TLS that is spoken; empty: 1.3")
	set.BoolVar(&p.Server.TLS.Resume, "tls-resume", p.Server.TLS.Resume, "connect with the newest ticket that the server has given to any connection; else each makes a full handshake")
	set.IntVar(&p.Clients.Connections, "connections", p.Clients.Connections, "`number`: how many connections")
	set.Float64Var(&p.Clients.Rate, "connect-rate", p.Clients.Rate, "`per-second`: how many connections are opened; 0: as fast as it goes")
	list("source", "`address`: where connections come from, an address, a range like 127.0.0.0/16 or an interface; may be repeated", &p.Clients.Sources)
	set.IntVar(&p.Clients.Workers, "workers", p.Clients.Workers, "`number`: processes on each host; 0: as many as the file descriptors need")
	list("host", "`host:port`: another load host, which runs rookery bench agent; may be repeated", &p.Clients.Hosts)
	secretFile = set.String("secret-file", "", "`file`: the secret of the agents")
	set.IntVar(&p.Rooms.Count, "rooms", p.Rooms.Count, "`number`: how many rooms")
	set.IntVar(&p.Rooms.PerConnection, "rooms-each", p.Rooms.PerConnection, "`number`: rooms that each connection joins")
	set.IntVar(&p.Rooms.Backlog, "backlog", p.Rooms.Backlog, "`messages`: what is in each room before anybody joins")
	set.Float64Var(&p.Publish.Rate, "rate", p.Publish.Rate, "`per-second`: how many messages are sent, in all rooms together")
	set.IntVar(&p.Publish.Closed, "closed", p.Publish.Closed, "`messages`: instead of --rate so many are under way in each room at all times, to see what a busy server spends; 0: off")
	set.StringVar(&p.Publish.Arrivals, "arrivals", p.Publish.Arrivals, "`even|poisson`: spacing of the sends")
	set.IntVar(&p.Publish.Size, "size", p.Publish.Size, "`bytes`: length of a message")
	set.IntVar(&p.Publish.Senders, "senders", p.Publish.Senders, "`number`: members of each room that send; 0: all, in turn")
	set.DurationVar(&p.Time.Warmup, "warmup", p.Time.Warmup, "`duration`: load before what counts in latencies")
	set.DurationVar(&p.Time.Duration, "duration", p.Time.Duration, "`duration`: load that counts")
	set.DurationVar(&p.Time.Drain, "drain", p.Time.Drain, "`duration`: how long to wait in the end for what is on its way, after the last that came; six times that at most")
	list("assert", "`condition`: what must hold, like 'p99<50ms' or 'lost==0'; may be repeated", &p.Assert)
	set.StringVar(&p.Find.What, "find", p.Find.What, "`publish.rate|clients.connections`: what is raised until an --until breaks")
	set.Float64Var(&p.Find.From, "from", p.Find.From, "`value`: first one of a search; 0: the plan's")
	set.Float64Var(&p.Find.Factor, "factor", p.Find.Factor, "`number`: each step of a search is so many times the one before")
	set.IntVar(&p.Find.Refine, "refine", p.Find.Refine, "`number`: how many times the way to the limit is halved in the end")
	list("until", "`condition`: what ends a search when it breaks, like 'p99<100ms'; may be repeated", &p.Find.Until)
	set.BoolVar(&p.Floor, "floor", p.Floor, "measure what a bare write and read cost on this machine, for comparison")
	set.StringVar(&f.json, "json", "", "`file`: where the result goes, for rookery bench compare")
	set.StringVar(&f.csv, "csv", "", "`file`: where a row for each second goes")
	set.StringVar(&f.html, "html", "", "`file`: where a page with plots goes")
	set.StringVar(&f.serve, "prometheus", "", "`address`: where metrics are served while it runs, like 127.0.0.1:9095")
	set.BoolVar(&f.printPlan, "print-plan", false, "print the plan as YAML and run nothing")
	set.BoolVar(&f.quiet, "quiet", false, "show no progress")
	return tokenFile, keyFile, secretFile, caFile
}

// readPlan gives the plan that the words before the first flag name, and the flags.
func readPlan(args []string) (plan.Plan, []string, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return plan.Plan{}, args, nil
	}
	name := args[0]
	if strings.ContainsAny(name, "./") {
		p, err := plan.ReadFile(name)
		return p, args[1:], err
	}
	p, err := plan.Named(name)
	return p, args[1:], err
}

func benchRun(ctx context.Context, args []string, p process) int {
	named, flags, err := readPlan(args)
	if err != nil {
		return p.refuse("bench", "%v", err)
	}
	f := &benchFlags{plan: named}
	if named.Scenario == "" && len(named.Server.Targets) == 0 {
		f.plan, _ = plan.Named("chat") // for the defaults that help shows
	}
	if f.plan.Find.Factor == 0 {
		f.plan.Find.Factor, f.plan.Find.Refine = 1.5, 3
	}
	set := newFlagSet("bench", p)
	tokenFile, keyFile, secretFile, caFile := f.declare(set)
	rest, status, done := parse(set, benchHelp(), flags, p)
	if done {
		return status
	}
	switch {
	case len(rest) > 0:
		return p.refuse("bench", "argument %q: the scenario or the file of a plan comes first, then flags", rest[0])
	case named.Scenario == "" && len(named.Server.Targets) == 0:
		return p.refuse("bench", "which load? Name a scenario or the file of a plan first; rookery bench --help lists them")
	}
	if err := f.complete(*tokenFile, *keyFile, *secretFile, *caFile); err != nil {
		return p.refuse("bench", "%v", err)
	}
	if f.printPlan {
		text, err := plan.Write(f.plan)
		if err != nil {
			return p.fail("bench", err)
		}
		fmt.Fprintf(p.stdout, "%s", text)
		return exitOK
	}
	return f.run(ctx, args, p)
}

// complete reads the files of secrets and of issuers, sets what follows from the rest, and checks everything.
func (f *benchFlags) complete(tokenFile, keyFile, secretFile, caFile string) (err error) {
	for _, file := range []struct {
		path string
		into *string
	}{{tokenFile, &f.plan.Server.Token}, {keyFile, &f.plan.Server.Key}, {secretFile, &f.secret}, {caFile, &f.plan.Server.TLS.CA}} {
		if file.path != "" {
			text, err := os.ReadFile(file.path)
			if err != nil {
				return err
			}
			if *file.into = strings.TrimSpace(string(text)); *file.into == "" {
				return fmt.Errorf("%s is empty", file.path)
			}
		}
	}
	find := &f.plan.Find
	if find.What == "" {
		*find = plan.Find{}
	} else {
		if find.From == 0 && find.What == "publish.rate" {
			find.From = f.plan.Publish.Rate
		} else if find.From == 0 {
			find.From = float64(f.plan.Clients.Connections)
		}
		if len(find.Until) == 0 {
			find.Until = []string{"p99<500ms"} // and what every search wants
		}
	}
	faults := bench.Check(f.plan)
	if len(f.plan.Clients.Hosts) > 0 && f.secret == "" {
		faults = errors.Join(errors.New("--host needs --secret-file, the file with the secret that the agents were started with"), faults)
	}
	// Not after an hour of load.
	for _, file := range []string{f.json, f.csv, f.html} {
		if file == "" {
			continue
		}
		if folder, err := os.Stat(filepath.Dir(file)); err != nil || !folder.IsDir() {
			faults = errors.Join(faults, fmt.Errorf("%s can't be written: there is no folder %s", file, filepath.Dir(file)))
		}
	}
	return faults
}

// run runs the plan and reports.
func (f *benchFlags) run(ctx context.Context, args []string, p process) int {
	self, err := os.Executable()
	if err != nil {
		return p.fail("bench", fmt.Errorf("find this program, to start workers: %w", err))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop, hurry, ended := stopSignals(cancel)
	defer ended()
	live := report.NewLive(p.stderr, p.environ)
	metrics := report.NewMetrics()
	o := bench.Options{
		Version: versionText(), Command: append([]string{"rookery", "bench"}, args...), Worker: []string{self, "bench", "worker"},
		Stderr: p.stderr, Secret: f.secret, Stop: stop, Hurry: hurry,
		Warn: func(text string) { fmt.Fprintf(p.stderr, "rookery bench: %s\n", text) },
		Progress: func(progress report.Progress) {
			metrics.Show(progress)
			if !f.quiet {
				live.Show(progress)
			}
		},
	}
	if f.serve != "" {
		listener, err := net.Listen("tcp", f.serve)
		if err != nil {
			return p.fail("bench", fmt.Errorf("--prometheus %s: %w", f.serve, err))
		}
		server := &http.Server{Handler: metrics, ReadHeaderTimeout: 5 * time.Second}
		go server.Serve(listener)
		defer server.Close()
	}
	var r *result.Result
	if f.plan.Find.What != "" {
		r, err = bench.Find(ctx, f.plan, o)
	} else {
		r, err = bench.Run(ctx, f.plan, o)
	}
	live.End()
	if r != nil { // a search may have both
		err = errors.Join(f.report(r, p), err)
	}
	if err != nil {
		return p.fail("bench", err)
	}
	return benchStatus(r)
}

// stopSignals gives channels that the first Ctrl-C or SIGTERM and the second close; the third cancels.
func stopSignals(cancel func()) (stop, hurry chan struct{}, ended func()) {
	stop, hurry = make(chan struct{}), make(chan struct{})
	signals, done := make(chan os.Signal, 3), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for n := 1; ; n++ {
			select {
			case <-signals:
				switch n {
				case 1:
					close(stop)
				case 2:
					close(hurry)
				default:
					cancel()
				}
			case <-done:
				return
			}
		}
	}()
	return stop, hurry, func() {
		signal.Stop(signals)
		close(done)
	}
}

// report gives all that was asked for, whatever of it fails: the run may have taken hours. The table comes last, since who reads it may be gone, and a
// program that writes to nobody is ended.
func (f *benchFlags) report(r *result.Result, p process) error {
	var faults []error
	for _, file := range []struct {
		path  string
		write func(string, *result.Result) error
	}{{f.json, report.WriteFile}, {f.csv, writeCSV}, {f.html, report.WriteHTMLFile}} {
		if file.path != "" {
			faults = append(faults, file.write(file.path, r))
		}
	}
	return errors.Join(append(faults, report.Write(p.stdout, r))...)
}

func writeCSV(path string, r *result.Result) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteCSV(file, r), file.Close())
}

// benchStatus is 1 for a run that can't be believed or whose figures are not as they should be.
func benchStatus(r *result.Result) int {
	c := r.Counts
	wrong := c.Undelivered() + c.Duplicated + c.Reordered + c.Foreign
	broken := slices.ContainsFunc(r.Asserts, func(check result.Check) bool { return !check.Holds })
	if !r.Verdict.Valid || broken || wrong > 0 && len(r.Steps) == 0 {
		return exitFailed
	}
	return exitOK
}
