package benchtest

import (
	"net"
	"sync/atomic"
	"time"
)

// gate is shut in the times of the stalls, for every socket of the server. Safe for concurrent use.
type gate struct {
	// Set at construction.
	stalls []Stall
	done   <-chan struct{} // closed at the server's end

	first atomic.Pointer[time.Time] // when the first publish came
}

// publish sets the clock of the stalls going, once.
func (g *gate) publish() {
	if g.first.Load() == nil {
		now := time.Now()
		g.first.CompareAndSwap(nil, &now)
	}
}

// wait returns when the gate is open; or with net.ErrClosed if the server ends before.
func (g *gate) wait() error {
	for {
		wait := g.shutFor(time.Now())
		if wait <= 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-g.done:
			timer.Stop()
			return net.ErrClosed
		}
	}
}

func (g *gate) shutFor(now time.Time) time.Duration {
	first := g.first.Load()
	if first == nil {
		return 0
	}
	since := now.Sub(*first)
	for _, stall := range g.stalls {
		if since >= stall.After && since < stall.After+stall.For {
			return stall.After + stall.For - since
		}
	}
	return 0
}

// begun gives the times for Truth.
func (g *gate) begun(now time.Time) (first time.Time, stalls []Interval) {
	begin := g.first.Load()
	if begin == nil {
		return time.Time{}, nil
	}
	for _, stall := range g.stalls {
		if from := begin.Add(stall.After); !from.After(now) {
			stalls = append(stalls, Interval{From: from, To: from.Add(stall.For)})
		}
	}
	return *begin, stalls
}

// gatedSocket is a client's socket behind the gate.
type gatedSocket struct {
	*net.TCPConn
	gate *gate
}

// Read waits at the gate also with what it has read: a read that had begun before the stall
// takes bytes from the kernel during it, and nobody may see them then.
func (s *gatedSocket) Read(p []byte) (int, error) {
	if err := s.gate.wait(); err != nil {
		return 0, err
	}
	n, err := s.TCPConn.Read(p)
	if shut := s.gate.wait(); shut != nil {
		return 0, shut
	}
	return n, err
}

func (s *gatedSocket) Write(p []byte) (int, error) {
	if err := s.gate.wait(); err != nil {
		return 0, err
	}
	return s.TCPConn.Write(p)
}

// reset ends the connection with RST. What has not reached the peer by then never does.
func (s *gatedSocket) reset() {
	// Both fail only on a socket that is closed already, which is what is wanted.
	_ = s.SetLinger(0)
	_ = s.Close()
}
