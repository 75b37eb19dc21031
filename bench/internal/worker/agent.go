package worker

import (
	"bufio"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// greeting is what a coordinator says first, with the secret behind it; the agent answers welcome or a sentence.
	greeting = "rookery bench 1 "
	welcome  = "ok"
	// greetTime is how long that may take.
	greetTime = 10 * time.Second
	maxLine   = 512
)

// Greet shows an agent the secret.
func Greet(conn net.Conn, secret string) error {
	conn.SetDeadline(time.Now().Add(greetTime))
	defer conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(conn, greeting+secret+"\n"); err != nil {
		return err
	}
	answer, err := readLine(conn)
	if err != nil {
		return fmt.Errorf("no agent answers: %w", err)
	}
	if answer != welcome {
		return errors.New(answer)
	}
	return nil
}

// readLine reads byte by byte: what follows is somebody else's.
func readLine(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < maxLine {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", fmt.Errorf("a line of more than %d bytes", maxLine)
}

// Agent starts workers for coordinators on other hosts: a process for each connection, with the connection as its standard input and
// output. Whoever knows the secret can have this host connect anywhere, so there must be one.
type Agent struct {
	// Worker is the command of a worker.
	Worker []string
	Secret string
	// Stderr gets what a worker says when it crashes.
	Stderr io.Writer
	// Log is told who comes and goes.
	Log func(text string)
}

// Serve takes coordinators from a listener until ctx ends, then ends their workers.
func (a *Agent) Serve(ctx context.Context, listener net.Listener) error {
	if a.Secret == "" {
		return errors.New("an agent needs a secret")
	}
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept a coordinator: %w", err)
		}
		serving.Go(func() {
			defer conn.Close()
			// Neither a greeting nor a coordinator that takes no bytes is waited for in the end.
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			if err := a.serve(ctx, conn); err != nil {
				a.Log(fmt.Sprintf("coordinator %v: %v", conn.RemoteAddr(), err))
			}
		})
	}
}

func (a *Agent) serve(ctx context.Context, conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(greetTime))
	line, err := readLine(conn)
	if err != nil {
		return fmt.Errorf("no greeting: %w", err)
	}
	secret, ok := strings.CutPrefix(line, greeting)
	if !ok || subtle.ConstantTimeCompare([]byte(secret), []byte(a.Secret)) != 1 {
		io.WriteString(conn, "the agent has another secret\n")
		return errors.New("it has another secret")
	}
	if _, err := io.WriteString(conn, welcome+"\n"); err != nil {
		return err
	}
	conn.SetDeadline(time.Time{})
	a.Log(fmt.Sprintf("coordinator %v has a worker", conn.RemoteAddr()))
	return a.run(ctx, conn)
}

// run gives a connection to a worker. The pipes are copied here rather than handed over, so that the worker is ended when
// the coordinator is lost.
func (a *Agent) run(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.Worker[0], a.Worker[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Stderr = a.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stdout = conn
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	var copying sync.WaitGroup
	copying.Go(func() {
		io.Copy(in, bufio.NewReader(conn)) // ends with the coordinator, or with conn
		in.Close()                         // and the worker with its input
	})
	err = cmd.Wait()
	conn.Close()
	copying.Wait()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("its worker ended: %w", err)
	}
	a.Log(fmt.Sprintf("coordinator %v: its worker has ended", conn.RemoteAddr()))
	return nil
}
