package commitlog

// SegmentInfo describes a file of the log.
type SegmentInfo struct {
	Path string
	// Base and End are the positions of its range.
	Base, End int64
	// Bytes is how much of the file is content; the file may be longer.
	Bytes int64
	// Generation counts how often the range was rewritten by retention. A file with a Generation above 0
	// does not hold its records at their positions.
	Generation uint32
	// Sealed says that the file does not change any more, though retention may replace it as a whole.
	Sealed bool
	// Missing stands for a range whose file is not there.
	Missing bool
}

func (g *segment) info(sealed bool) SegmentInfo {
	return SegmentInfo{
		Path: g.path, Base: int64(g.base), End: int64(g.rangeEnd()), Bytes: g.size(),
		Generation: g.generation, Sealed: sealed, Missing: g.lost,
	}
}

// Segments gives the files in order; the last one is being written, up to Bytes it is committed.
// Retention may replace and remove sealed files at any time: who opens one by its path and finds it
// gone asks again.
func (l *Log) Segments() []SegmentInfo {
	segments := l.segments.load()
	infos := make([]SegmentInfo, len(segments))
	for i, g := range segments {
		infos[i] = g.info(i < len(segments)-1)
	}
	return infos
}
