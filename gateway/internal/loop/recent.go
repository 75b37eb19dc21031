package loop

import (
	"slices"
	"unsafe"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const (
	// recentRoom bounds what is kept of a room, in bytes: the oldest go.
	recentRoom = 4 << 20
	// recentTotal bounds what is kept of all rooms of a loop: those that have much lose all. Were it the one that grows, a room whose members
	// read fast would have nothing as long as others have members that read nothing.
	recentTotal = 16 << 20
	// chunkBytes is how long a chunk becomes before the next begins: what who is behind is given at a time, as much as a page of the log.
	chunkBytes = 64 << 10
	// chunkSize is what a chunk takes beside its messages: where every second one is a change each has a chunk of its own, which may be shorter than that.
	chunkSize = int(unsafe.Sizeof(chunk{}) + unsafe.Sizeof(&chunk{}))
)

// recent are the last messages of a room on one loop, as they go over the wire. They are there while somebody is behind in the room: whoever fell
// behind where they begin, or has come there by pages of the log, is given them without a page of its own, which costs as many reads as it
// has messages. All who are behind share them, so a crowd costs what one does.
//
// A message is here as it was published. One that was changed since is not, the log gives it as it is now: with a change its
// target's chunk goes. Changes are not here either, for later ones change what the log gives of them. A message that retention has taken is not
// given: the room's beginning is looked at each time.
type recent struct {
	behind int      // subscriptions that have a position
	chunks []*chunk // ascending; what is before, and between them, is in the log
	size   int      // bytes of them
}

// chunk are messages that follow each other.
type chunk struct {
	first  uint64
	binary strip
	json   strip // so far as somebody has needed it
	size   int   // bytes that were counted
}

// strip are frames as they stand in a stream, ends where each of them does. What was appended never changes, so parts are lent out.
type strip struct {
	bytes []byte
	ends  []uint32
}

func (s *strip) append(frame []byte) {
	s.bytes = append(s.bytes, frame...)
	s.ends = append(s.ends, uint32(len(s.bytes)))
}

// part are the frames from number i on, up to number end.
func (s *strip) part(i, end int) []byte {
	begin := uint32(0)
	if i > 0 {
		begin = s.ends[i-1]
	}
	return s.bytes[begin:s.ends[end-1]:s.ends[end-1]]
}

func (k *chunk) next() uint64 { return k.first + uint64(len(k.binary.ends)) }

// in gives the chunk in a codec. JSON is made when the first needs it: in most rooms nobody does.
func (k *chunk) in(c proto.Codec) *strip {
	if c != proto.JSON {
		return &k.binary
	}
	for i := len(k.json.ends); i < len(k.binary.ends); i++ {
		frame, _, err := proto.Next(proto.Binary, k.binary.part(i, i+1))
		var f v1.ServerFrame
		if err == nil {
			err = proto.DecodeServerFrame(&f, proto.Binary, frame)
		}
		if err != nil {
			panic("BUG: a frame of ours can't be read: " + err.Error())
		}
		k.json.append(proto.AppendServerFrame(nil, proto.JSON, &f))
	}
	return &k.json
}

// find gives the place of the chunk that has a message, -1 if there is none.
func (p *recent) find(seq uint64) int {
	i, _ := slices.BinarySearchFunc(p.chunks, seq, func(k *chunk, seq uint64) int {
		if k.next() <= seq {
			return -1
		}
		return 1
	})
	if i == len(p.chunks) || p.chunks[i].first > seq {
		return -1
	}
	return i
}

// addBehind counts a subscription that has a position now. With the first one the room begins to keep what that will be owed.
func (l *Loop) addBehind(r *localRoom) {
	p := l.recent[r]
	if p == nil {
		p = &recent{}
		l.recent[r] = p
		if r.batch != nil {
			for _, m := range r.batch.stored.messages {
				l.remember(r, m)
			}
		}
		for _, m := range r.pending {
			if !m.Ephemeral {
				l.remember(r, m)
			}
		}
	}
	p.behind++
}

// endBehind counts one less; with the last one everything goes.
func (l *Loop) endBehind(r *localRoom) {
	p := l.recent[r]
	if p.behind--; p.behind == 0 {
		l.forgetChunks(p, 0, len(p.chunks))
		delete(l.recent, r)
	}
}

// remember keeps a message of the log if somebody is behind in its room. It is called for each, when it comes: before it is fanned out, so that
// what it changes is not given in its old form to those who are behind from then on.
func (l *Loop) remember(r *localRoom, m *proto.Encoded) {
	p := l.recent[r]
	if p == nil {
		return
	}
	target, change := m.Concerns()
	if i := p.find(target); i >= 0 {
		l.forgetChunks(p, i, i+1)
	}
	if change {
		return
	}
	var k *chunk
	if n := len(p.chunks); n > 0 {
		k = p.chunks[n-1]
	}
	if k == nil || k.next() != m.Seq || len(k.binary.bytes) >= chunkBytes {
		k = &chunk{first: m.Seq}
		p.chunks = append(p.chunks, k)
	}
	k.binary.append(m.Frame(proto.Binary))
	l.grown(p, k)
}

// grown counts what a chunk has become larger by, and keeps the bounds: the chunk itself may go.
func (l *Loop) grown(p *recent, k *chunk) {
	size := chunkSize + cap(k.binary.bytes) + 4*cap(k.binary.ends) + cap(k.json.bytes) + 4*cap(k.json.ends)
	l.addRecent(p, size-k.size)
	k.size = size
	for p.size > recentRoom {
		l.forgetChunks(p, 0, 1)
	}
	if l.recentBytes > recentTotal {
		// All but those that have less than half of the average, which is half of everything at least: with many rooms a look at all of them
		// for each message would cost more than the messages do.
		much := l.recentBytes / len(l.recent) / 2
		for _, other := range l.recent {
			if other.size >= much {
				l.forgetChunks(other, 0, len(other.chunks))
			}
		}
	}
}

func (l *Loop) forgetChunks(p *recent, i, end int) {
	for _, k := range p.chunks[i:end] {
		l.addRecent(p, -k.size)
	}
	if i == 0 { // nearly always, and there may be thousands behind it
		clear(p.chunks[:end])
		p.chunks = p.chunks[end:]
		return
	}
	p.chunks = slices.Delete(p.chunks, i, end)
}

func (l *Loop) addRecent(p *recent, bytes int) {
	p.size += bytes
	l.recentBytes += bytes
	l.counted.RecentBytes.Add(int64(bytes))
}

// giveRecent gives a subscription that is behind what follows its position, a chunk at most; false: that is not here.
func (l *Loop) giveRecent(c *conn, e *entry) bool {
	r := e.room
	p := l.recent[r]
	i := p.find(e.position + 1)
	if i < 0 || l.cfg.Rooms.Begin(r.name) > e.position+1 {
		return false
	}
	k := p.chunks[i]
	// The rest is still to be fanned out, to this member too.
	next := min(k.next(), r.upcoming(c.subscriptions[c.findIn(r)].member))
	frames := k.in(c.codec).part(int(e.position+1-k.first), int(next-k.first))
	l.grown(p, k)
	l.counted.Deliveries.Add(int64(next - 1 - e.position))
	l.counted.RecentDeliveries.Add(int64(next - 1 - e.position))
	l.share(c, frames)
	e.position = next - 1
	return true
}
