package gateway

import (
	"fmt"
	"syscall"
)

// descriptorReserve is what is kept of the descriptor limit for all that is no connection:
// listeners, epoll and wake-up descriptors of the loops, files of the log that are being
// made, the admin listener, and connections that are let in only to be refused.
//
// Running out is no option: an accept that fails for want of a descriptor ends gnet's loop,
// and with it every connection.
const descriptorReserve = 160

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

// capacity is how many connections fit while the log holds so many segments open.
// configured 0 means as many as fit.
func capacity(configured, limit, segments int) int {
	fit := limit - descriptorReserve - segments
	if configured == 0 {
		return fit
	}
	return min(configured, fit)
}

// checkCapacity refuses to start where the limit is too low for what is configured.
func checkCapacity(configured, limit, segments int) error {
	fit := capacity(0, limit, segments)
	if fit < 1 {
		return fmt.Errorf("the process may open %d descriptors, and %d are needed beside connections: raise the limit (ulimit -n, or LimitNOFILE in the systemd unit)",
			limit, limit-fit)
	}
	if configured > fit {
		return fmt.Errorf("limits.connections is %d, but with %d descriptors the process can hold %d: raise the limit to %d (ulimit -n, or LimitNOFILE in the systemd unit), or lower the setting",
			configured, limit, fit, configured+limit-fit)
	}
	return nil
}
