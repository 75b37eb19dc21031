package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"slices"
	"syscall"

	"rookery/gateway"
)

const serveUsage = `Usage: rookery serve [FLAGS]

Runs the server until SIGINT or SIGTERM, then drains it: connections are told when to come
back, what is in flight is finished. A second signal ends it at once.

  --print-config
        print the configuration in force, and where each value came from, instead
        of running

`

// serve runs the gateway until ctx is done or a signal asks for its end.
func serve(ctx context.Context, args []string, p process) int {
	printConfig := false
	args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		asked := arg == "--print-config" || arg == "-print-config"
		printConfig = printConfig || asked
		return asked
	})
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

	server, err := gateway.New(config, newLogger(config.Logging, p.stderr))
	if err != nil {
		return p.fail("serve", err)
	}
	if err := server.Run(ctx); err != nil {
		return p.fail("serve", err)
	}
	return exitOK
}

// newLogger writes to the standard error, where service managers look.
func newLogger(c gateway.LoggingConfig, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
