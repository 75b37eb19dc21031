// Package porttest finds free ports for programs that tests start and that can't say which port the kernel gave them.
package porttest

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

// given counts the ports that were given out by this process.
var given atomic.Uint32

// Free gives a port of the loopback address that nobody listens on. It is below those that the kernel gives to who asks for any, and to
// connections: what listens on it comes later, and perhaps after a restart again, while other tests connect and listen. Processes begin
// to look at different places.
func Free(t testing.TB) (port string) {
	t.Helper()
	const first, many = 10_000, 20_000
	for range many {
		port := fmt.Sprint(first + (uint32(os.Getpid())*97+given.Add(1))%many)
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// FreeAddress is Free with the loopback address before it.
func FreeAddress(t testing.TB) (address string) {
	t.Helper()
	return "127.0.0.1:" + Free(t)
}
