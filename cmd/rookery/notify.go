package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

// manager is the service manager that started the process and wants to know how it is, by the protocol of sd_notify(3): a datagram of
// lines NAME=value to a socket of its own. The zero value is none, and then nothing is said. Safe for concurrent use.
type manager struct {
	socket   string
	watchdog time.Duration // it ends the process when it hears nothing for so long; 0: it does not
	log      *slog.Logger
}

// findManager reads what the manager left in the environment.
func findManager(environ []string, pid int, logger *slog.Logger) manager {
	variables := map[string]string{}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		variables[name] = value
	}
	m := manager{socket: variables["NOTIFY_SOCKET"], log: logger}
	// WATCHDOG_PID keeps children that inherit the environment from answering for the service.
	if of := variables["WATCHDOG_PID"]; of == "" || of == strconv.Itoa(pid) {
		if µs, err := strconv.ParseInt(variables["WATCHDOG_USEC"], 10, 64); err == nil && µs > 0 {
			m.watchdog = time.Duration(µs) * time.Microsecond
		}
	}
	return m
}

// tellTime is how long the manager may leave a state where it is: to one that reads no more the end of the process must not wait.
const tellTime = time.Second

// tell sends a state. What can't be told is logged: the manager will act on it, and somebody will ask why.
func (m manager) tell(state string) {
	if m.socket == "" {
		return
	}
	// A name that begins with @ is one without a file, and net writes it so too.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err == nil {
		defer conn.Close()
		_ = conn.SetWriteDeadline(time.Now().Add(tellTime)) // it has one
		_, err = conn.Write([]byte(state))
	}
	if err != nil {
		m.log.Error("the service manager can't be told", "state", state, "err", fmt.Errorf("NOTIFY_SOCKET %s: %w", m.socket, err))
	}
}

// watchLoop tells the manager that the process lives, for as long as responsive says so; it is asked whether everything has answered within
// half of what the manager waits. Started by serve, ended with ctx.
func (m manager) watchLoop(ctx context.Context, responsive func(within time.Duration) error) {
	if m.watchdog == 0 {
		return
	}
	turn := time.NewTicker(m.watchdog / 4)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		}
		if err := responsive(m.watchdog / 2); err != nil {
			m.log.Error("the watchdog is not answered, the service manager will end the process", "err", err)
			continue
		}
		m.tell("WATCHDOG=1")
	}
}
