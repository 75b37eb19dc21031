package client

import (
	"slices"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// Bounds of the ephemeral publishes that wait for a slow socket.
const (
	maxPassing      = 256
	maxPassingBytes = 1 << 20
)

// passing are ephemeral publishes that the socket has not taken: of each room and key the
// newest only. Guarded by the connection's mu.
type passing struct {
	waiting []passingFrame
	bytes   int // of those that may be replaced
}

type passingFrame struct {
	room, key string
	frame     []byte
	asked     bool // its answer is waited for: it must be sent
}

func (p *passing) add(f passingFrame) {
	if !f.asked {
		p.remove(func(older passingFrame) bool { return older.room == f.room && older.key == f.key })
		p.bytes += len(f.frame)
	}
	p.waiting = append(p.waiting, f)
	for len(p.waiting) > maxPassing || p.bytes > maxPassingBytes {
		if !p.remove(func(passingFrame) bool { return true }) {
			return // those who wait are bounded by their callers
		}
	}
}

// remove takes the first that matches and may be left out.
func (p *passing) remove(match func(passingFrame) bool) bool {
	i := slices.IndexFunc(p.waiting, func(f passingFrame) bool { return !f.asked && match(f) })
	if i < 0 {
		return false
	}
	p.bytes -= len(p.waiting[i].frame)
	p.waiting = slices.Delete(p.waiting, i, i+1)
	return true
}

func (p *passing) take() (frames [][]byte) {
	for _, f := range p.waiting {
		frames = append(frames, f.frame)
	}
	*p = passing{}
	return frames
}

// passOn sends an ephemeral publish on the connection that there is, or says why not. With
// answer its outcome is told there.
func (m *machine) passOn(p Publication, answer chan error) error {
	publish := p.frame()
	publish.Ephemeral = true
	switch {
	case !m.ready():
		return ErrNotConnected
	case m.tooLarge(publish):
		return ErrTooLarge
	}
	frame := &v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: publish}}
	if answer != nil {
		m.passing[answer] = true
		m.number(frame, func(reply *v1.ServerFrame) {
			delete(m.passing, answer)
			switch op := reply.Op.(type) {
			case *v1.ServerFrame_Published:
				answer <- nil
			case *v1.ServerFrame_Error:
				answer <- newRequestError(op.Error)
			default:
				answer <- ErrNotConnected
				m.faulty("the reply to publish is none")
			}
		})
	}
	c := m.connection
	c.mu.Lock()
	c.passing.add(passingFrame{p.Room, p.Key, proto.AppendClientFrame(nil, proto.Binary, frame), answer != nil})
	c.mu.Unlock()
	c.ring()
	return nil
}

// givePassingUp is for a connection that ended: nobody knows what became of them, and it does
// not matter any more.
func (m *machine) givePassingUp() {
	for answer := range m.passing {
		answer <- ErrNotConnected
	}
	clear(m.passing)
}
