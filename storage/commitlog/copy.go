package commitlog

// LogID tells logs apart. It is the secret of the seal: it goes into files, not to clients.
func (l *Log) LogID() uint64 { return l.meta.logID }

// ErrReplaced says that retention has put another file in a segment's place since it was listed: list the
// segments again.
var ErrReplaced = errReplaced

// ReadSegment reads bytes of a listed segment's file as they are, for a copy of it; n is less than
// len(b) where the file ends before. Safe from any goroutine, and it holds no file open between calls.
func (l *Log) ReadSegment(info SegmentInfo, b []byte, offset int64) (n int, err error) {
	g := l.listed(info)
	if g == nil {
		return 0, ErrReplaced
	}
	n, err = l.files.readAt(g, b, offset)
	// Asked behind the read: a segment leaves the list before its file is removed, or is reused and
	// holds something else.
	if l.listed(info) != g {
		return 0, ErrReplaced
	}
	return n, err
}

// listed gives the segment that was listed, nil if it is not in the list any more.
func (l *Log) listed(info SegmentInfo) *segment {
	g := l.segments.find(position(info.Base))
	if g == nil || int64(g.base) != info.Base || g.generation != info.Generation {
		return nil
	}
	return g
}
