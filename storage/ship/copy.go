package ship

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// keptManifests are for who restores while shipping goes on, and in case the newest is damaged.
const keptManifests = 4

// targetCopy is what is known of the target. It belongs to shipLoop.
type targetCopy struct {
	newest *manifest // empty if the target is
	number uint64    // of the newest manifest; 0: there was none
	name   string    // of the newest manifest
	kept   []string  // names of manifests, oldest first

	// chunks that are there, by file: those of the newest manifest, and of files on their way into the next.
	chunks map[key][]chunk
	// short are files of a damaged log that end before they should.
	short map[key]int64
	// apart are files that don't hold any more what was shipped of them: it stays as it is.
	apart map[key]bool
	// garbage is objects that the manifests from that number on don't name.
	garbage map[string]uint64
}

func newTargetCopy() *targetCopy {
	return &targetCopy{newest: &manifest{}, chunks: map[key][]chunk{}, short: map[key]int64{}, apart: map[key]bool{}, garbage: map[string]uint64{}}
}

// took notes that a chunk was put in the place of those from keep on.
func (c *targetCopy) took(k key, before, chunks []chunk, keep int) {
	for i := keep; i < len(before); i++ {
		c.garbage[chunkName(k, before, i)] = c.number + 1
	}
	c.chunks[k] = chunks
	delete(c.garbage, chunkName(k, chunks, keep))
}

// became notes that a manifest was put.
func (c *targetCopy) became(m *manifest, name string) {
	c.number, c.name = c.number+1, name
	c.kept = append(c.kept, name)
	c.newest = m
}

// forget drops the files that no state will name any more: the log has them no longer, and pieces, which are about
// to be a state, don't either.
func (c *targetCopy) forget(pieces, rewritten []piece) {
	wanted := map[key]bool{}
	for i := range c.newest.Segments {
		wanted[c.newest.Segments[i].key()] = true
	}
	for _, list := range [][]piece{pieces, rewritten} {
		for i := range list {
			wanted[list[i].key()] = true
		}
	}
	for k, chunks := range c.chunks {
		if wanted[k] {
			continue
		}
		for i := range chunks {
			// The newest manifest does not name it, the one before may.
			c.garbage[chunkName(k, chunks, i)] = c.number
		}
		delete(c.chunks, k)
		delete(c.short, k)
		delete(c.apart, k)
	}
}

// tile gives the files of the newest manifest that make a range, nil unless they make exactly that and
// are whole.
func (c *targetCopy) tile(base, end int64) []piece {
	var pieces []piece
	for _, s := range c.newest.Segments {
		if s.Base != base || s.End > end || !slices.Equal(s.Chunks, c.chunks[s.key()]) {
			if s.Base < base {
				continue
			}
			break
		}
		pieces = append(pieces, piece{segment: s, old: true})
		if base = s.End; base == end {
			return pieces
		}
	}
	return nil
}

// stillOurs asks the target whether its newest manifest is the one that is known here. It is asked
// before each manifest, since two servers may have been told to ship to one place.
func (s *Shipper) stillOurs(ctx context.Context) error {
	names, err := s.config.Target.List(ctx, manifestFolder)
	if err != nil {
		return err
	}
	newest := ""
	for _, name := range names {
		if _, ok := manifestNumber(name); ok {
			newest = max(newest, name)
		}
	}
	if newest != s.copy.name {
		return fmt.Errorf("newest manifest at the target is %q, not %q as this server left it: does another one ship there?", newest, s.copy.name)
	}
	return nil
}

// leastRemovals is how many chunks are removed in a look that is late: more than a look makes useless on average, which
// is one.
const leastRemovals = 2

// maxGarbage bounds the list of what could not be removed; the rest is found at the next start.
const maxGarbage = 100_000

// clean removes what no kept manifest names, until it is time for something else. That it fails does not stop the
// shipping: credentials that may not remove are a way to keep everything.
func (s *Shipper) clean(ctx context.Context, until time.Time) {
	if err := s.copy.clean(ctx, s.config.Target, until); err != nil {
		s.errors.Add(1)
		s.config.Logger.Debug("what the shipped copy does not need any more can't be removed", "error", err)
	}
	if len(s.copy.garbage) > maxGarbage {
		clear(s.copy.garbage)
	}
}

func (c *targetCopy) clean(ctx context.Context, target Target, until time.Time) error {
	for len(c.kept) > keptManifests {
		if err := target.Remove(ctx, c.kept[0]); err != nil {
			return err
		}
		c.kept = c.kept[1:]
	}
	if len(c.kept) == 0 {
		return nil
	}
	oldest, _ := manifestNumber(c.kept[0])
	removed := 0
	for name, since := range c.garbage {
		if since > oldest {
			continue
		}
		if removed >= leastRemovals && time.Now().After(until) {
			break
		}
		if err := target.Remove(ctx, name); err != nil {
			return err
		}
		delete(c.garbage, name)
		removed++
	}
	return nil
}

// isChunk says whether a name is a chunk's, whole or half put.
func isChunk(name string) bool {
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(name, chunkFolder+"/"), temporarySuffix), "-")
	return len(parts) == 5 && len(parts[0]) == 20 && len(parts[2]) == 20 && len(parts[3]) == 20 && len(parts[4]) == 8
}
