package bench

import (
	"context"
	"io"
	"net"
	"strings"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/worker"
)

// ServeWorker is a worker of a run: it does what the coordinator at the other end of in and out says until in ends.
func ServeWorker(ctx context.Context, version string, in io.Reader, out io.Writer) error {
	return worker.Run(ctx, worker.Config{Version: version}, in, out)
}

// ServeAgent starts workers, by a command, for coordinators on other hosts that know the secret, until ctx ends.
func ServeAgent(ctx context.Context, listener net.Listener, secret string, command []string, stderr io.Writer, log func(string)) error {
	agent := &worker.Agent{Worker: command, Secret: secret, Stderr: stderr, Log: log}
	return agent.Serve(ctx, listener)
}

// Dialects lists what a plan's server may speak, for help.
func Dialects() string { return strings.Join(dialect.Names(), ", ") }
