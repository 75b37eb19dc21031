// Package watch is what the load generator itself, the server's process and the kernel did in each second of a
// run, and the verdict that follows from it: whether the figures are worth something, and what limited them.
//
//	watch.go      the coordinator's look at the server and its host, once a second
//	own.go        a worker's look at itself
//	find.go       which processes the server is
//	server.go     what these used
//	metrics.go    what the server says of itself
//	kernel.go     what the host counted
//	procfs.go     the forms of files in /proc, pure
//	limits.go     before a run: what the plan needs and the kernel does not allow
//	verdict.go    after a run: the judgement, pure
//	rule_*.go     its rules, each with its number and the reason for it
//
// Everything that is read is below a file system that stands for "/", so that tests bring their own. Nothing
// here runs in the background: who wants a second's figures asks for them once a second. What was
// asked for a little late is of a little more than a second; sums over a run stay right.
//
// Not promised: figures of servers on other hosts besides their own metrics, and of servers behind a proxy
// (a container's published port among them): there the process that listens is the proxy. Then the plan has to
// name the server's process.
package watch

import (
	"context"
	"io/fs"
	"os"
	"path"
	"strconv"
	"time"

	"rookery/bench/plan"
	"rookery/bench/result"
)

// Watcher looks at the server and at this host. One goroutine may use it.
type Watcher struct {
	server  *server
	metrics *metrics // nil: none are read
	kernel  *kernel
}

// Begin looks for the server of a plan and takes the counters from which the first second grows.
func Begin(ctx context.Context, p plan.Server) *Watcher { return begin(ctx, p, scrapeTimeout) }

func begin(ctx context.Context, p plan.Server, scrapeTimeout time.Duration) *Watcher {
	root := os.DirFS("/")
	w := &Watcher{server: findServer(ctx, root, p)}
	w.kernel = newKernel(root, w.server.network())
	if p.Metrics != "" {
		w.metrics = newMetrics(p.Metrics, scrapeTimeout)
	}
	w.Second(ctx, time.Now())
	return w
}

// Second gives what was used and counted since the one before. It takes half a second at most, and so long only
// where the server does not give its metrics.
func (w *Watcher) Second(ctx context.Context, now time.Time) (result.Process, result.Kernel) {
	counted := w.kernel.second()
	process := w.server.second(now)
	if w.metrics != nil {
		process.Metrics = w.metrics.second(ctx)
	}
	return process, counted
}

// Trouble says what could not be watched, a sentence each: for the user before a run and in the verdict's reasons.
func (w *Watcher) Trouble() []string {
	var sentences []string
	if w.server.unseen != "" {
		sentences = append(sentences, w.server.unseen)
	}
	if w.metrics != nil && w.metrics.err != nil {
		sentences = append(sentences, "the server's metrics can't be read: "+w.metrics.err.Error())
	}
	return sentences
}

// Here says whether the server runs on this host, where its sockets and memory count too.
func (w *Watcher) Here() bool { return len(w.server.processes) > 0 }

// Close ends the connection to the server's metrics.
func (w *Watcher) Close() {
	if w.metrics != nil {
		w.metrics.close()
	}
}

// inProc is the path of a process's file, for fs.FS.
func inProc(pid int, name ...string) string {
	return path.Join(append([]string{"proc", strconv.Itoa(pid)}, name...)...)
}

// readText is a small file of /proc, empty if it can't be read: then what it says stays 0.
func readText(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return string(b)
}
