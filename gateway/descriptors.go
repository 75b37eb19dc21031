package gateway

import (
	"fmt"
	"syscall"

	"rookery/gateway/internal/loop"
)

const (
	// noticeDescriptors are the file of notices of members, the connections that they are told by, and the one for sessions that have ended.
	noticeDescriptors = 6
	// openSegments bounds the sealed files of the log that are open at a time.
	openSegments = 32
	// loopDescriptors is what an event loop needs beside its connections: listener, epoll and
	// eventfd of gnet, the epoll set for full sockets and the mark in it, both ends of the bell, and for a moment
	// two duplicates of one.
	loopDescriptors = 9
	// otherDescriptors are standard streams, the admin listener, the log's lock, directory and
	// active file and the next, two connections or files of shipping, the file of push and its few connections, the runtime's own, and connections that
	// are accepted before they are counted.
	otherDescriptors = 32
)

// reservedDescriptors is what is kept of the descriptor limit for all that is no connection.
//
// Running out is no option: who connects would not be told why they are not served, and the log would not
// get its next file.
func reservedDescriptors(loops int) int {
	return loop.RefusalReserve + adminConnections + openSegments + loops*loopDescriptors + otherDescriptors
}

// descriptors are those that webhooks need beside that.
func (c WebhooksConfig) descriptors() int {
	if c.URL == "" {
		return 0
	}
	return c.Concurrency + noticeDescriptors
}

// descriptors are those that the Unix socket needs beside that.
func (c ProxyConfig) descriptors() int {
	if c.Socket == "" {
		return 0
	}
	return socketDescriptors
}

// reservedDescriptors are those of a configuration that are for no connection.
func (c Config) reservedDescriptors(loops int) int {
	return reservedDescriptors(loops) + c.Webhooks.descriptors() + c.Proxy.descriptors() + c.TLS.descriptors()
}

// descriptorLimit returns how many descriptors this process may open. The Go runtime has
// raised the soft limit to the hard one when the program started.
func descriptorLimit() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the descriptor limit: %w", err)
	}
	const enough = 1 << 30 // unlimited, in the arithmetic that follows
	return int(min(limit.Cur, enough)), nil
}

// capacity is how many connections the process may hold; configured 0 means as many as fit.
// Where the limit is too low for what is configured it says so.
func capacity(configured, limit, reserved int) (int, error) {
	fit := limit - reserved
	if fit < 1 {
		return 0, fmt.Errorf("the process may open %d descriptors, and %d are needed beside connections: raise the limit (ulimit -n, or LimitNOFILE in the systemd unit)",
			limit, reserved)
	}
	if configured > fit {
		return 0, fmt.Errorf("limits.connections is %d, but with %d descriptors the process can hold %d: raise the limit to %d (ulimit -n, or LimitNOFILE in the systemd unit), or lower the setting",
			configured, limit, fit, configured+reserved)
	}
	if configured == 0 {
		return fit, nil
	}
	return configured, nil
}
