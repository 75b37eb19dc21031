package client

import (
	"errors"
	"time"

	v1 "rookery/proto/rookery/v1"
)

const (
	// defaultHeartbeat is for a server that does not say.
	defaultHeartbeat = 25 * time.Second
	// wakeTimeout is how long the server may take to answer after Wake.
	wakeTimeout = 5 * time.Second
)

var errSilent = errors.New("the server fell silent")

func (m *machine) startHeartbeat(interval time.Duration) {
	if interval == 0 {
		interval = defaultHeartbeat
	}
	m.connection.interval = interval
	m.listen()
}

// listen waits until nothing was heard for an interval, then asks.
func (m *machine) listen() {
	c := m.connection
	c.heartbeat.stop()
	c.heartbeat = m.after(time.Until(c.heard.Add(c.interval)), func() {
		if time.Since(c.heard) < c.interval {
			m.listen()
			return
		}
		m.probe(c.interval)
	})
}

// probe sends a ping and takes the connection for dead when nothing is heard for timeout
// from now. From now, and not from when something was last heard: a machine that slept
// must not take its own absence for the server's.
func (m *machine) probe(timeout time.Duration) {
	c := m.connection
	before := c.received
	m.sendPing()
	c.heartbeat.stop()
	c.heartbeat = m.after(timeout, func() {
		if c.received == before {
			m.lost(errSilent, 0)
			return
		}
		m.listen()
	})
}

func (m *machine) sendPing() {
	m.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}}, func(*v1.ServerFrame) {})
}
