package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"rookery/storage/commitlog"
)

// task is what a child is told.
type task struct {
	Dir   string // of the log
	Made  made
	Reads int
}

func (t task) open(mode commitlog.SyncMode) (*commitlog.Log, error) {
	return commitlog.Open(commitlog.Config{
		Dir:             t.Dir,
		Sync:            mode,
		SegmentBytes:    t.Made.SegmentBytes,
		CheckpointBytes: checkpointSegments * t.Made.SegmentBytes,
		Logger:          slog.New(slog.DiscardHandler),
	})
}

// checkpointSegments is how many segments there are between checkpoints: the default of both sizes in the
// server.
const checkpointSegments = 2

// children are the figures that have a process of their own. What they return goes to the parent as JSON.
var children = map[string]func(task, io.Writer) (any, error){
	"fill":    fillChild,
	"open":    openChild,
	"write":   writeChild,
	"pages":   pagesChild,
	"catchup": catchUpChild,
}

// isChild says whether a process was started by command.
func isChild(args []string) bool { return len(args) == 4 && args[1] == "child" }

func runChild(args []string, out io.Writer) error {
	var t task
	if err := json.Unmarshal([]byte(args[1]), &t); err != nil {
		return err
	}
	result, err := children[args[0]](t, out)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// command makes a child that is not started yet.
func command(ctx context.Context, name string, t task) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, program, "child", name, string(arg)), nil
}

// measured runs a child to its end and takes its result.
func measured[T any](ctx context.Context, name string, t task) (result T, err error) {
	c, err := command(ctx, name, t)
	if err != nil {
		return result, err
	}
	out, err := c.Output()
	if err != nil {
		return result, childError(err)
	}
	return result, json.NewDecoder(bytes.NewReader(out)).Decode(&result)
}

// childError adds what the child said.
func childError(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
