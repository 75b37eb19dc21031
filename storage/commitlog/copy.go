package commitlog

// LogID tells logs apart. It is the secret of the seal: it goes into files, not to clients.
func (l *Log) LogID() uint64 { return l.meta.logID }

// ErrReplaced says that retention has put another file in a segment's place since it was listed: list the
// segments again.
var ErrReplaced = errReplaced

// ReadSegment reads bytes of a listed segment's file as they are, for a copy of it; n is less than
// len(b) where the file ends before. Safe from any goroutine. Until it returns retention does not reuse the
// file, so that what it gives is the segment's.
func (l *Log) ReadSegment(info SegmentInfo, b []byte, offset int64) (n int, err error) {
	snapshot := l.segments.enter()
	defer l.segments.leave(snapshot)
	g := snapshot.find(position(info.Base))
	if g == nil || int64(g.base) != info.Base || g.generation != info.Generation {
		return 0, ErrReplaced
	}
	return l.files.readAt(g, b, offset)
}
