package ship

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"rookery/storage/commitlog"
)

// resume looks at what is at the target and decides whether it may be gone on from. Nothing is removed
// before that is decided, and what no manifest names only behind the next manifest.
func (s *Shipper) resume(ctx context.Context) error {
	c := newTargetCopy()
	found, err := listManifests(ctx, s.config.Target)
	if err != nil {
		return err
	}
	// The number of the newest manifest that names a chunk.
	named, readable := map[string]uint64{}, uint64(0)
	for i, name := range found {
		if i == 0 {
			c.name = name
			c.number, _ = manifestNumber(name)
		}
		if len(c.kept) == keptManifests {
			c.garbage[name] = 0
			continue
		}
		m, err := loadManifest(ctx, s.config.Target, name)
		switch {
		case errors.Is(err, errNewer):
			return &RefusedError{Reason: fmt.Sprintf("the target has a manifest, %s, of a newer version of this program", name)}
		case errors.Is(err, errDamagedManifest):
			s.config.Logger.Error("manifest of the shipped log is damaged and passed over", "error", err)
			c.garbage[name] = 0
			continue
		case err != nil:
			return err
		}
		n, _ := manifestNumber(name)
		if len(c.kept) == 0 {
			c.newest, readable = m, n
		}
		c.kept = append(c.kept, name)
		m.names(func(name string) { named[name] = max(named[name], n) })
	}
	slices.Reverse(c.kept)
	if len(found) > 0 && len(c.kept) == 0 {
		return &RefusedError{Reason: "no manifest at the target can be read"}
	}
	if len(c.kept) > 0 {
		if err := s.compare(c.newest); err != nil {
			return err
		}
	}
	if err := s.findChunks(ctx, c, readable, named); err != nil {
		return err
	}
	if len(c.kept) > 0 && !s.resumed {
		s.coveredAt.Store(min(s.coveredAt.Load(), c.newest.At.UnixNano()))
	}
	s.copy, s.resumed = c, true
	s.shippedEnd.Store(c.newest.End)
	return nil
}

// findChunks notes which chunks are there; named has the last manifest that names each, newest the one to go on
// from. What that names and somebody has removed is put again if the log still has it.
func (s *Shipper) findChunks(ctx context.Context, c *targetCopy, newest uint64, named map[string]uint64) error {
	names, err := s.config.Target.List(ctx, chunkFolder)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
		switch last := named[name]; {
		case last == 0 && isChunk(name):
			c.garbage[name] = 0
		case last > 0 && last < newest:
			c.garbage[name] = last + 1
		}
	}
	missing := 0
	for i := range c.newest.Segments {
		segment := &c.newest.Segments[i]
		n := 0
		for n < len(segment.Chunks) && there[chunkName(segment.key(), segment.Chunks, n)] {
			n++
		}
		missing += len(segment.Chunks) - n
		c.chunks[segment.key()] = segment.Chunks[:n:n]
	}
	if missing > 0 {
		s.config.Logger.Error("chunks that the newest manifest names are missing at the target, they are put again", "chunks", missing)
	}
	return nil
}

// compare refuses a state that is no beginning of this log. With the same epoch the last chunk shows it: what
// went on in two ways differs there. With another one, as after a restore or a crash in a relaxed mode, all
// is compared that the log still has as it was shipped.
func (s *Shipper) compare(m *manifest) error {
	if m.Log != number(s.config.LogID) {
		return &RefusedError{Reason: "the target holds another log"}
	}
	infos := s.config.Log.Segments()
	base, bytes := s.config.Log.Committed()
	if m.End > base+bytes {
		return &RefusedError{Reason: fmt.Sprintf("the target holds this log up to position %d, epoch %v, and the log ends at %d, epoch %v: it was restored from an older copy, or lost its end",
			m.End, m.Epoch, base+bytes, number(s.config.Epoch))}
	}
	sameEpoch := m.Epoch == number(s.config.Epoch)
	for i := len(m.Segments) - 1; i >= 0; i-- {
		shippedAs := &m.Segments[i]
		at := slices.IndexFunc(infos, func(info commitlog.SegmentInfo) bool {
			return key{info.Base, info.Generation} == shippedAs.key() && !info.Missing
		})
		if at < 0 {
			if !sameEpoch && i == len(m.Segments)-1 {
				return &RefusedError{Reason: fmt.Sprintf("the target holds a state of epoch %v that can't be compared with this log of epoch %v any more, since retention has rewritten its end", m.Epoch, number(s.config.Epoch))}
			}
			continue
		}
		first := 0
		if sameEpoch {
			first = max(0, len(shippedAs.Chunks)-1)
		}
		for j := len(shippedAs.Chunks) - 1; j >= first; j-- {
			if err := s.compareChunk(infos[at], shippedAs, j, m); err != nil {
				return err
			}
		}
		// A file that was cut to nothing has no chunk to tell.
		if sameEpoch && len(shippedAs.Chunks) > 0 {
			return nil
		}
	}
	return nil
}

func (s *Shipper) compareChunk(info commitlog.SegmentInfo, shippedAs *segment, j int, m *manifest) error {
	start, want := from(shippedAs.Chunks, j), shippedAs.Chunks[j]
	b := make([]byte, want.to-start)
	n, err := s.config.Log.ReadSegment(info, b, start)
	if err != nil {
		return fmt.Errorf("read the log to compare it with what was shipped: %w", err)
	}
	if want.to > info.Bytes || n < len(b) || checksum(b) != want.checksum {
		return &RefusedError{Reason: fmt.Sprintf("the target holds another content from position %d on, epoch %v: this log, epoch %v, was restored from an older copy and went on, or another server ships there",
			shippedAs.Base+start, m.Epoch, number(s.config.Epoch))}
	}
	return nil
}

// listManifests gives the names of the manifests, newest first.
func listManifests(ctx context.Context, target Target) ([]string, error) {
	names, err := target.List(ctx, manifestFolder)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, ok := manifestNumber(name)
		return !ok
	})
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(b, a) })
	return names, nil
}

var errDamagedManifest = errors.New("damaged manifest")

func loadManifest(ctx context.Context, target Target, name string) (*manifest, error) {
	content, err := target.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(content)
	switch {
	case errors.Is(err, errNewer):
		return nil, fmt.Errorf("%s: %w", name, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", errDamagedManifest, name, err)
	}
	return m, nil
}

// newestManifest gives the newest state that can be read. It is looked for again if it was removed while it
// was being read, which means that there is a newer one.
func newestManifest(ctx context.Context, target Target) (*manifest, error) {
	const looks = 10
	for look := 0; ; look++ {
		m, err := newestListed(ctx, target)
		if look == looks || !errors.Is(err, errVanished) {
			return m, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

var errVanished = fmt.Errorf("manifest was removed while it was being read: %w", fs.ErrNotExist)

func newestListed(ctx context.Context, target Target) (*manifest, error) {
	names, err := listManifests(ctx, target)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no log was shipped there: %w", fs.ErrNotExist)
	}
	var damaged error
	for _, name := range names {
		m, err := loadManifest(ctx, target, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, errVanished
		case errors.Is(err, errDamagedManifest):
			damaged = errors.Join(damaged, err)
			continue
		}
		return m, err
	}
	return nil, damaged
}
