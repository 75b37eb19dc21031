package client

import "time"

// ceiling is the longest wait after so many failures in a row.
func (c *Config) ceiling(failures int) time.Duration {
	wait := c.BackoffBase
	for range failures {
		if wait >= c.BackoffCap {
			break
		}
		wait *= 2
	}
	return min(wait, c.BackoffCap)
}

// spread is random(0, limit). Full jitter: a fixed part would bring everybody who lost the
// same server back at the same time.
func (m *machine) spread(limit time.Duration) time.Duration {
	return time.Duration(m.random() * float64(limit))
}

// backoff is the wait before the next try of anything that was refused failures times in
// a row; hint is what the server asked for.
func (m *machine) backoff(failures int, hint time.Duration) time.Duration {
	return hint + m.spread(m.config.ceiling(failures))
}
