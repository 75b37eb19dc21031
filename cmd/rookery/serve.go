package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"rookery/gateway"
)

const serveUsage = `Usage: rookery serve [FLAGS]

Runs the server until SIGINT or SIGTERM, then drains it: connections are told when to come
back, what is in flight is finished. A second signal ends it at once. SIGHUP reads the
configuration again; docs/configuration.md says which settings that changes. SIGUSR2 has
another process take over, of the program as it is on the disk now, with the connections;
those with TLS are told to come back. See docs/takeover.md.

  --takeover
        take over from the server that runs with the same data: its connections, its
        listeners and its log. It goes on if this fails
  --print-config
        print the configuration in force, and where each value came from, instead
        of running

`

// serve runs the gateway until ctx is done or a signal asks for its end.
func serve(ctx context.Context, args []string, p process) int {
	printConfig := false
	takesOver := slices.ContainsFunc(args, isTakeover)
	args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		asked := arg == "--print-config" || arg == "-print-config"
		printConfig = printConfig || asked
		return asked || isTakeover(arg)
	})
	// Before the settings are read: unheard, a signal would end the process, and with it a takeover that has begun.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	handover := make(chan os.Signal, 1)
	signal.Notify(handover, syscall.SIGUSR2)
	defer signal.Stop(handover)

	config, err := gateway.LoadConfig(args, p.environ)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(p.stdout, serveUsage)
		if err := gateway.WriteUsage(p.stdout); err != nil {
			return p.fail("serve", err)
		}
		return exitOK
	case err != nil:
		return p.refuse("serve", "the configuration is refused\n%v", err)
	case printConfig:
		if err := config.Print(p.stdout); err != nil {
			return p.fail("serve", err)
		}
		return exitOK
	}

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// Once the first signal is in, the kernel's own handling is back, and the second one
	// ends the process in the middle of whatever it does. The log is made for that.
	defer context.AfterFunc(ctx, stop)()

	// Or the process would end with the next line of the log when whoever reads that has ended. Connections have no such signal.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)

	level := new(slog.LevelVar)
	level.Set(config.Logging.Level)
	lines := newLogLines(p.stderr, func(missed int) {
		newLogger(config.Logging.Format, level, p.stderr).Warn("lines of the log are missing here: they were not taken from the standard error in time", "lines", missed)
	})
	defer lines.close(lastLines)
	logger := newLogger(config.Logging.Format, level, lines)
	said := p // behind the lines of the log; a process that takes over has the file itself
	said.stderr = lines
	gateway.ManageProcessors()
	begin := gateway.New
	if takesOver {
		begin = gateway.TakeOver
		gateway.HoldCollections()
	}
	server, err := beginWithin(ctx, config.Drain.Timeout, func() (*gateway.Server, error) { return begin(config, logger) })
	if err != nil {
		return said.fail("serve", err)
	}
	var hungUp atomic.Int64 // the last time, by sinceBoot
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				hungUp.Store(int64(sinceBoot()))
				reload(server, args, p.environ, logger, level)
			}
		}
	}()
	var managing sync.WaitGroup
	defer managing.Wait()
	managed, done := context.WithCancel(ctx)
	defer done()
	managing.Go(func() { server.ManageMemory(managed) })
	service := findManager(p.environ, os.Getpid(), logger)
	go startHeirLoop(ctx, handover, args, p, logger)
	managing.Go(func() {
		select {
		case <-managed.Done():
			return
		case <-server.Serving():
		}
		service.tell(fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=serving on %s", os.Getpid(), server.Addr()))
		service.watchLoop(managed, server.Responsive)
		<-managed.Done()
		if server.Heir() == 0 {
			service.tell("STOPPING=1\nSTATUS=draining")
		}
	})
	if err := server.Run(ctx); err != nil {
		return said.fail("serve", err)
	}
	if heir := server.Heir(); heir != 0 {
		// What came for this process when the other one may have read its settings already. An error means that it has ended.
		if len(hangup) > 0 || hasBegun(heir, time.Duration(hungUp.Load())) {
			_ = syscall.Kill(heir, syscall.SIGHUP)
		}
		if len(handover) > 0 {
			_ = syscall.Kill(heir, syscall.SIGUSR2)
		}
		// Before it ends: what the main process says afterwards is not listened to.
		service.tell(fmt.Sprintf("MAINPID=%d", heir))
	}
	return exitOK
}

// beginWithin begins a server. A disk that does not answer does not keep the process: behind the end of ctx it has so long.
func beginWithin(ctx context.Context, limit time.Duration, begin func() (*gateway.Server, error)) (*gateway.Server, error) {
	type result struct {
		server *gateway.Server
		err    error
	}
	begun := make(chan result, 1)
	go func() {
		server, err := begin()
		begun <- result{server, err}
	}()
	select {
	case r := <-begun:
		return r.server, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-begun:
		return r.server, r.err
	case <-time.After(limit):
		return nil, fmt.Errorf("it had not started %v after it was asked to end (setting drain.timeout)", limit)
	}
}

// reload reads the configuration again, as SIGHUP asks. What is wrong with it is logged, and
// then nothing changes.
func reload(server *gateway.Server, args, environ []string, logger *slog.Logger, level *slog.LevelVar) {
	config, err := gateway.LoadConfig(args, environ)
	if err != nil {
		logger.Error("the configuration is refused, the old one stays in force", "err", err)
		return
	}
	needRestart, err := server.Reload(config)
	if err != nil {
		logger.Error("the configuration is refused, the old one stays in force", "err", err)
		return
	}
	logger.Info("reloaded the configuration", "need_restart", strings.Join(needRestart, " "))
	level.Set(config.Logging.Level)
}

// newLogger writes to the standard error, where service managers look.
func newLogger(format string, level slog.Leveler, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
