package main

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"rookery/test/powercut/control"
	"rookery/test/powercut/disk"
	"rookery/test/vm"
)

// machine is one boot of a virtual machine, from its power switch to the cut.
type machine struct {
	*vm.Machine
	disk   *disk.Disk
	events chan control.Event // closed when the machine is off
}

// boot turns a machine on and waits until it asks what to do; hung is how often it came to nothing before. No file
// system is mounted then, so that another try is the same round. The disk must have power. A flush takes up to flushTakes.
func boot(ctx context.Context, c vm.Config, d *disk.Disk, flushTakes time.Duration, random *rand.Rand) (m *machine, hung int, err error) {
	delay := func() time.Duration {
		if flushTakes == 0 {
			return 0
		}
		return time.Duration(random.Int64N(int64(flushTakes)))
	}
	c.Disk = func(conn net.Conn) {
		d.Serve(conn, delay) // an error is that of a machine that was killed
	}
	m = &machine{disk: d, events: make(chan control.Event, 1000)}
	if m.Machine, hung, err = vm.Boot(ctx, c); err != nil {
		return nil, hung, err
	}
	go func() { // ends when the machine is off
		defer close(m.events)
		for {
			var event control.Event
			if m.Guest.Receive(&event) != nil {
				return
			}
			m.events <- event
		}
	}()
	return m, hung, nil
}

// cut takes the power away: from the disk first, so that nothing that happens from then on lasts.
func (m *machine) cut(d decision) disk.Cut {
	defer m.Off()
	if d.writes == 0 {
		return m.disk.Cut(d.policy, d.random)
	}
	armed := m.disk.Arm(d.writes, d.policy, d.random)
	timer := time.NewTimer(d.patience)
	defer timer.Stop()
	select {
	case what := <-armed:
		return what
	case <-timer.C:
	}
	what := m.disk.Cut(d.policy, d.random)
	select {
	case first := <-armed: // between the two
		return first
	default:
		return what
	}
}
