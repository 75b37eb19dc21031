package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"rookery/test/measure"
)

// served is one start of the server.
type served struct {
	Took          time.Duration // from the start of the process until connections are accepted
	ResidentBytes int64         // then
}

// measureServe starts the server as a clean stop left the log.
func measureServe(ctx context.Context, o options, r *report) error {
	for range rounds {
		round, err := serve(ctx, o)
		if err != nil {
			return err
		}
		r.Serve = append(r.Serve, round)
	}
	return nil
}

// measureServeKilled starts it after a writer was killed that filled the last minutes with
// messages: their retry keys are read, too. The index of changes lacks what that writer wrote, which is more than a server's own ever does: what
// other writers wrote before it is in it.
func measureServeKilled(ctx context.Context, o options, r *report) error {
	if _, err := serve(ctx, o); err != nil {
		return err
	}
	for range rounds {
		if _, err := kill(ctx, o); err != nil {
			return err
		}
		round, err := serve(ctx, o)
		if err != nil {
			return err
		}
		r.ServeKilled = append(r.ServeKilled, round)
	}
	return nil
}

func serve(ctx context.Context, o options) (s served, err error) {
	c := exec.CommandContext(ctx, o.binary, "serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--data", o.task().Dir, "--log.segment-bytes", strconv.FormatInt(o.SegmentBytes, 10), "--drain.window", "0s")
	// Nothing of our environment but the path: a ROOKERY_ variable would change the server.
	c.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := c.StderrPipe()
	if err != nil {
		return s, err
	}
	begun := time.Now()
	if err := c.Start(); err != nil {
		return s, err
	}
	var said strings.Builder
	serving := false
	for lines := bufio.NewScanner(out); !serving && lines.Scan(); {
		serving = strings.Contains(lines.Text(), "msg=serving")
		said.WriteString(lines.Text() + "\n")
	}
	s.Took = time.Since(begun)
	if !serving {
		return s, fmt.Errorf("the server ended with %v: %s", c.Wait(), said.String())
	}
	s.ResidentBytes, err = measure.Kibibytes(fmt.Sprintf("/proc/%d/status", c.Process.Pid), "VmRSS")
	c.Process.Signal(os.Interrupt) // an error means that it has ended
	io.Copy(io.Discard, out)
	return s, errors.Join(err, c.Wait())
}
