// Package porttest finds free ports for programs that tests start and that can't say which port the kernel gave them, or that come back to
// the port they had.
//
// ranges.json has the ports of all tests, the first of each range and the one behind its last: those of Go, and those of the browser tests,
// whose test/e2e/server.js reads it too. They are apart, so that both may run at once, and below those that the kernel gives to who asks for
// any, and to connections (Linux: from 32,768 on): what listens at a port comes later, and perhaps after a restart again, while others
// connect and listen.
package porttest

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

//go:embed ranges.json
var rangesFile []byte

// ranges is what rangesFile says.
type ranges struct{ Go, Browser [2]int }

// blockPorts is how many ports a process takes at once. The browser tests take as many.
const blockPorts = 100

// taker has the ports of a process. It listens at the first of each block as long as it lives, so that another takes other blocks: a port
// that is free for the moment is not taken twice.
type taker struct {
	mu   sync.Mutex // guards all below
	left []int
	held []net.Listener
}

var own taker

// Take gives a port of the loopback address that nobody listens at, and that has nothing left of who did. No other test that asks here or in test/e2e is given it while this
// process lives.
func Take() (port string, err error) {
	var all ranges
	if err := json.Unmarshal(rangesFile, &all); err != nil {
		return "", fmt.Errorf("ranges.json: %w", err)
	}
	return own.take(all.Go)
}

func (p *taker) take(from [2]int) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if len(p.left) == 0 && !p.block(from) {
			return "", fmt.Errorf("no %d ports in a row are free from %d to %d: end what listens there", blockPorts, from[0], from[1]-1)
		}
		port := strconv.Itoa(p.left[0])
		p.left = p.left[1:]
		// What a test that was killed has left may listen there.
		if l, err := listen(port); err == nil {
			return port, l.Close()
		}
	}
}

// block takes one more block.
func (p *taker) block(from [2]int) bool {
	for first := from[0]; first+blockPorts <= from[1]; first += blockPorts {
		l, err := listen(strconv.Itoa(first))
		if err != nil {
			continue
		}
		p.held = append(p.held, l)
		for port := first + 1; port < first+blockPorts; port++ {
			p.left = append(p.left, port)
		}
		return true
	}
	return false
}

// listen listens without SO_REUSEADDR, which Go sets and some programs do not: what was here before may have left connections in TIME_WAIT.
func listen(port string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 0) })
		return errors.Join(failed, err)
	}}
	return config.Listen(context.Background(), "tcp", "127.0.0.1:"+port)
}

// Free is Take for a test, which fails if no port is free.
func Free(t testing.TB) (port string) {
	t.Helper()
	port, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// FreeAddress is Free with the loopback address before it.
func FreeAddress(t testing.TB) (address string) {
	t.Helper()
	return "127.0.0.1:" + Free(t)
}
