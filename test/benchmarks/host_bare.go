package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"rookery/bench/result"
)

// barePlan is what the load tester says to the bare server.
const barePlan = `server:
  dialect: websocket
  template:
    join: '{"join":"{room}","id":{id}}'
    joined: '{"joined":"{room}","id":{id}}'
    publish: '{"publish":"{room}","body":"{body}"}'
    leave: '{"leave":"{room}"}'
    reaches: room
`

// bare puts the load of a scenario on a server that only reads and writes.
func (h *host) bare(ctx context.Context, scenario string, flags ...string) (r result.Result, err error) {
	plan, err := h.plan("bare.yaml", "scenario: "+scenario+"\n"+barePlan)()
	if err != nil {
		return r, err
	}
	server := exec.CommandContext(ctx, h.relay)
	in, err := server.StdinPipe()
	if err != nil {
		return r, err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := server.Start(); err != nil {
		return r, err
	}
	defer server.Wait() // it ends with its input
	defer in.Close()
	lines := bufio.NewReader(out)
	address, err := lines.ReadString('\n')
	if err != nil {
		return r, fmt.Errorf("the bare server did not start: %w", err)
	}
	go io.Copy(io.Discard, lines) // ends with the server
	return h.bench(ctx, plan, flags, "--target", "ws://"+strings.TrimSpace(address)+"/", "--pid", strconv.Itoa(server.Process.Pid))
}
