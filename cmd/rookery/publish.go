package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"sync"
	"syscall"
	"time"

	client "rookery/client/go"
)

const publishUsage = `Usage: rookery publish ROOM [TEXT] [FLAGS]

Publishes TEXT, or each line of the standard input, and prints the sequence number of each
message once it is durable, 0 in a room that stores nothing. The exit status is 0 only if all of them are. A text that
begins with - stands behind --. With --ephemeral nothing is stored or printed: each goes to
who is in ROOM now, and the exit status is 0 if the server took all of them.
` + gatewayUsage

// publish puts messages into a room and waits until each is on disk.
func publish(ctx context.Context, args []string, p process) int {
	var (
		gateway   gatewayFlags
		key       string
		timeout   time.Duration
		ephemeral bool
	)
	set := newFlagSet("publish", p)
	gateway.add(set, p.environ)
	set.StringVar(&key, "key", "", "retry `key`: published again with the same key, TEXT is stored once; with --ephemeral what it is a newer value of")
	set.BoolVar(&ephemeral, "ephemeral", false, "to who is there now, without storing it")
	set.DurationVar(&timeout, "timeout", 10*time.Second, "`time` in which each message must be acknowledged")
	rest, status, done := parse(set, publishUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) == 0:
		return p.refuse("publish", "ROOM is missing: rookery publish ROOM [TEXT]")
	case len(rest) > 2:
		return p.refuse("publish", "argument %q: one TEXT only; put quotes around a text with blanks", rest[2])
	case key != "" && len(rest) == 1 && !ephemeral:
		return p.refuse("publish", "--key is for one TEXT, and the standard input may have many lines")
	case timeout <= 0:
		return p.refuse("publish", "--timeout %s: must be more than 0", timeout)
	}
	config, err := gateway.config(p.environ)
	if err != nil {
		return p.refuse("publish", "%v", err)
	}
	var t trouble
	online := make(chan struct{})
	var once sync.Once
	config.OnState = func(change client.StateChange) {
		t.note(change)
		if change.State == client.Connected {
			once.Do(func() { close(online) })
		}
	}
	c, err := client.New(config)
	if err != nil {
		return p.refuse("publish", "%v", err)
	}
	defer c.Close()

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	one := func(text, key string) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if ephemeral {
			return passOn(ctx, c, online, client.Publication{Room: rest[0], Key: key, Text: text}, &t, timeout)
		}
		published, err := c.PublishMessage(ctx, client.Publication{Room: rest[0], Key: key, Text: text})
		if err != nil {
			return notAcknowledged(err, &t, timeout)
		}
		_, err = fmt.Fprintln(p.stdout, published.Seq)
		return err
	}
	if len(rest) == 2 {
		err = one(rest[1], key)
	} else {
		err = eachLine(ctx, p.stdin, func(line string) error { return one(line, "") })
	}
	if err != nil {
		return p.fail("publish", err)
	}
	return exitOK
}

// passOn publishes an ephemeral message once there is a connection.
func passOn(ctx context.Context, c *client.Client, online <-chan struct{}, p client.Publication, t *trouble, timeout time.Duration) error {
	select {
	case <-online:
	case <-c.Done():
	case <-ctx.Done():
	}
	err := c.PublishEphemeral(ctx, p)
	var failed *client.PublishError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return t.explain(fmt.Sprintf("not passed on within %s", timeout))
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted before it was passed on")
	case errors.As(err, &failed):
		return plainly(failed.Err)
	}
	return err
}

// notAcknowledged is what there is to say about a failed publish.
func notAcknowledged(err error, t *trouble, timeout time.Duration) error {
	var failed *client.PublishError
	errors.As(err, &failed)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = t.explain(fmt.Sprintf("not acknowledged within %s", timeout))
		return fmt.Errorf("%w; the message may be stored or not, with --key %s it can be published again without doubling it", err, failed.Key)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted before it was acknowledged; with --key %s it can be published again without doubling it", failed.Key)
	}
	return plainly(failed.Err)
}

var errInterrupted = errors.New("interrupted before the end of the input")

// eachLine calls f with every line of in until it ends, f fails or ctx ends.
func eachLine(ctx context.Context, in io.Reader, f func(string) error) error {
	lines, ended := readLines(ctx, in)
	for {
		select {
		case line, ok := <-lines:
			switch {
			case !ok && ctx.Err() != nil:
				return errInterrupted
			case !ok:
				return <-ended
			}
			if err := f(line); err != nil {
				return err
			}
		case <-ctx.Done():
			return errInterrupted
		}
	}
}

// maxLine bounds a line of the standard input: no server takes a longer message.
const maxLine = 1 << 20

// readLines reads in the background, because nothing can interrupt a read of the standard
// input: the goroutine ends with it, or at the first line after ctx. lines is closed at the
// end, when ended has the reason, nil for the end of the input or of ctx.
func readLines(ctx context.Context, in io.Reader) (lines <-chan string, ended <-chan error) {
	out, end := make(chan string), make(chan error, 1)
	go func() {
		defer close(out)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxLine)
		for scanner.Scan() {
			select {
			case out <- scanner.Text():
			case <-ctx.Done():
				end <- nil
				return
			}
		}
		err := scanner.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("a line of the standard input is longer than %d bytes", maxLine)
		}
		end <- err
	}()
	return out, end
}
