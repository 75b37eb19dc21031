package ship

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"rookery/storage/commitlog"
)

// piece is a file of the log on its way to the target.
type piece struct {
	segment // as the manifest will have it
	info    commitlog.SegmentInfo
	old     bool // stays at the target as it is: its replacement is not there yet, or the log has lost it
	apart   bool // what is at the target is not put again
}

// advance is one look at the log, in this order:
//
//  1. plan: which files make the state to be shipped.
//  2. put what the target lacks of them, in order; while that takes longer than Config.Every a manifest of
//     the whole files up to here is put now and then, so that a restart goes on from there.
//  3. put the manifest.
//  4. with the time that is left, remove what is not needed any more, and put what retention has rewritten: a
//     later look takes it into the state.
func (s *Shipper) advance(ctx context.Context, begun time.Time) error {
	at := time.Now()
	pieces, rewritten := s.plan(s.config.Log.Segments())
	s.copy.forget(pieces, rewritten)
	due := begun.Add(s.config.Every)
	for i := range pieces {
		p := &pieces[i]
		for s.lacks(p) {
			if err := s.putChunk(ctx, p); err != nil {
				return err
			}
		}
		if i < len(pieces)-1 && time.Now().After(due) {
			if err := s.putManifest(ctx, pieces[:i+1], at); err != nil {
				return err
			}
			due = time.Now().Add(s.config.Every)
		}
	}
	before := s.copy.number
	if err := s.putManifest(ctx, pieces, at); err != nil {
		return err
	}
	if s.copy.number > before {
		s.took = time.Since(begun)
	}
	s.coveredAt.Store(at.UnixNano())
	// Some time there always is, also where every look is late.
	until := begun.Add(s.config.Every / 2)
	if least := time.Now().Add(s.config.Every / 4); least.After(until) {
		until = least
	}
	s.clean(ctx, until)
	return s.putRewritten(ctx, rewritten, until)
}

// putRewritten puts a chunk at least of what retention has rewritten, unless the process is about to end.
func (s *Shipper) putRewritten(ctx context.Context, rewritten []piece, until time.Time) error {
	for i := range rewritten {
		for p := &rewritten[i]; s.lacks(p); {
			if s.isStopping() {
				return nil
			}
			if err := s.putChunk(ctx, p); err != nil {
				return err
			}
			if time.Now().After(until) {
				return nil
			}
		}
	}
	return nil
}

func (s *Shipper) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// plan gives the files that make the state, and those that retention has rewritten and that the target
// still has in their old form: these can wait, since what they lack nobody waits for.
func (s *Shipper) plan(infos []commitlog.SegmentInfo) (pieces, rewritten []piece) {
	for _, info := range infos {
		if info.Missing {
			// What the log has lost the target may have.
			pieces = append(pieces, s.copy.tile(info.Base, info.End)...)
			continue
		}
		p := piece{info: info, segment: segment{Base: info.Base, End: info.End, Generation: info.Generation, Bytes: info.Bytes}}
		if info.Generation == 0 && !info.Sealed {
			p.End = p.Base + p.Bytes // the two were read one after the other
		}
		k := p.key()
		p.Chunks, p.apart = s.copy.chunks[k], s.copy.apart[k]
		if short, found := s.copy.short[k]; found {
			p.Bytes = short
		}
		if info.Generation > 0 && s.lacks(&p) {
			if old := s.copy.tile(info.Base, info.End); old != nil {
				pieces = append(pieces, old...)
				rewritten = append(rewritten, p)
				continue
			}
		}
		pieces = append(pieces, p)
	}
	return pieces, rewritten
}

// lacks says whether something of a file is not at the target, or lies there in too many chunks.
func (s *Shipper) lacks(p *piece) bool {
	_, to := p.next(s.config.ChunkBytes)
	return to > 0
}

// next gives the chunk to put next: it begins where chunk number keep would, and replaces those from there on. to
// is 0 if there is nothing to put.
//
// Chunks at the end are taken into the new one while the last is less than twice as large, up to full ones. So each
// is at least twice the next, which bounds their number by the logarithm, and a byte is put again only
// into a chunk of at least 1.5 times the size. Behind the full chunks of a sealed segment there is only one.
func (p *piece) next(full int64) (keep int, to int64) {
	if p.old {
		return 0, 0
	}
	end := shipped(p.Chunks)
	for keep = len(p.Chunks); keep > 0 && !p.apart; keep-- {
		start := from(p.Chunks, keep-1)
		size := from(p.Chunks, keep) - start
		if size >= full || !p.info.Sealed && size >= 2*(p.Bytes-from(p.Chunks, keep)) {
			break
		}
	}
	if end == p.Bytes && keep >= len(p.Chunks)-1 {
		return keep, 0
	}
	return keep, min(from(p.Chunks, keep)+full, p.Bytes)
}

// putChunk puts the next chunk of a file.
func (s *Shipper) putChunk(ctx context.Context, p *piece) error {
	keep, to := p.next(s.config.ChunkBytes)
	start := from(p.Chunks, keep)
	if int64(cap(s.buffer)) < to-start {
		s.buffer = make([]byte, to-start)
	}
	b := s.buffer[:to-start]
	n, err := s.config.Log.ReadSegment(p.info, b, start)
	if err != nil {
		return fmt.Errorf("read the log to ship it: %w", err)
	}
	k := p.key()
	if !unchanged(b[:n], start, to, p.Chunks, keep) {
		s.config.Logger.Error("a file of the log does not hold any more what was shipped of it: the copy keeps what it has", "path", p.info.Path)
		s.copy.apart[k], p.apart = true, true
		return nil
	}
	if n < len(b) {
		// A damaged log whose sealed file was cut is shipped as it is.
		if !p.info.Sealed {
			return fmt.Errorf("read the log to ship it: %s ends at %d, %d bytes of it were committed: %w", p.info.Path, start+int64(n), p.Bytes, io.ErrUnexpectedEOF)
		}
		p.Bytes = start + int64(n)
		s.copy.short[k] = p.Bytes
		if b, to = b[:n], p.Bytes; n == 0 {
			return nil
		}
	}
	chunks := append(slices.Clip(p.Chunks[:keep]), chunk{to, checksum(b)})
	name := chunkName(k, chunks, keep)
	if err := s.config.Target.Put(ctx, name, b); err != nil {
		return err
	}
	s.bytes.Add(uint64(len(b)))
	s.copy.took(k, p.Chunks, chunks, keep)
	p.Chunks = chunks
	return nil
}

// unchanged says whether the bytes of a file, read from start up to to, are still those of the chunks from keep
// on, so that what is put again is what was shipped: the file may have been damaged since.
func unchanged(b []byte, start, to int64, chunks []chunk, keep int) bool {
	for i := keep; i < len(chunks) && chunks[i].to <= to; i++ {
		begin, end := from(chunks, i)-start, chunks[i].to-start
		if end > int64(len(b)) || checksum(b[begin:end]) != chunks[i].checksum {
			return false
		}
	}
	return true
}

// putManifest puts the state that pieces make, if it is another than the newest.
func (s *Shipper) putManifest(ctx context.Context, pieces []piece, at time.Time) error {
	m := &manifest{Log: number(s.config.LogID), Epoch: number(s.config.Epoch), At: at.UTC()}
	for i := range pieces {
		m.Segments = append(m.Segments, pieces[i].segment)
		m.End = pieces[i].End
	}
	// Less than the newest says a beginning while what comes behind it must be put again: then not yet.
	if m.End < s.copy.newest.End || m.same(s.copy.newest) {
		s.shippedEnd.Store(s.copy.newest.End)
		return nil
	}
	content, err := m.encode()
	if err != nil {
		return fmt.Errorf("manifest of the shipped log: %w", err)
	}
	if err := s.stillOurs(ctx); err != nil {
		return err
	}
	name := manifestName(s.copy.number+1, content)
	if err := s.config.Target.Put(ctx, name, content); err != nil {
		return err
	}
	s.bytes.Add(uint64(len(content)))
	s.copy.became(m, name)
	s.shippedEnd.Store(m.End)
	return nil
}

// same says whether two states name the same chunks. The times don't count, and the epoch does.
func (m *manifest) same(other *manifest) bool {
	return m.Epoch == other.Epoch && m.End == other.End && slices.EqualFunc(m.Segments, other.Segments, func(a, b segment) bool {
		return a.key() == b.key() && a.End == b.End && slices.Equal(a.Chunks, b.Chunks)
	})
}
