package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"rookery/storage/backup"
)

// Source is a shipped log to restore from, for backup.Restore: the newest state as of Manifest. Shipping may go
// on meanwhile. It belongs to one goroutine.
type Source struct {
	// Target holds the log.
	Target Target
	// AcceptDamage gives zeros in the place of a chunk that is missing or damaged, so that the rest is restored.
	AcceptDamage bool

	state *manifest
	files map[string]*segment // of state, by the names given out
}

// ErrChanged says that retention has rewritten a file of the shipped log since Manifest: begin again.
var ErrChanged = errors.New("the shipped log was rewritten by retention meanwhile: restore again")

// Manifest looks for the newest state. Where nothing was shipped the error is fs.ErrNotExist.
func (s *Source) Manifest(ctx context.Context) (*backup.Manifest, error) {
	state, err := newestManifest(ctx, s.Target)
	if err != nil {
		return nil, fmt.Errorf("shipped log: %w", err)
	}
	s.state, s.files = state, map[string]*segment{}
	m := &backup.Manifest{LogID: backup.Number(state.Log), Epoch: backup.Number(state.Epoch), End: state.End, Made: state.At}
	for i := range state.Segments {
		segment := &state.Segments[i]
		name := fmt.Sprintf("%020d-%d", segment.Base, segment.Generation)
		s.files[name] = segment
		m.Files = append(m.Files, backup.File{Name: name, Base: segment.Base, End: segment.End, Generation: segment.Generation, Bytes: segment.Bytes})
	}
	return m, nil
}

// Open gives the content of a file of that state. Every chunk is checked before a byte of it is given; one is in memory
// at a time. The error of a read is ErrChanged, or says what is missing or damaged.
func (s *Source) Open(ctx context.Context, f backup.File) (io.ReadCloser, error) {
	segment := s.files[f.Name]
	if segment == nil {
		return nil, fmt.Errorf("shipped log has no file %s: %w", f.Name, fs.ErrNotExist)
	}
	return io.NopCloser(&sourceReader{ctx: ctx, source: s, name: f.Name, segment: segment, chunks: segment.Chunks}), nil
}

// sourceReader reads one file.
type sourceReader struct {
	// Set at construction.
	ctx     context.Context
	source  *Source
	name    string
	segment *segment

	chunks []chunk // the newest that is known
	offset int64
	rest   []byte // of the chunk at offset
}

func (r *sourceReader) Read(p []byte) (int, error) {
	if r.offset >= r.segment.Bytes {
		return 0, io.EOF
	}
	if len(r.rest) == 0 {
		if err := r.fill(); err != nil {
			return 0, fmt.Errorf("read file %s of the shipped log at offset %d: %w", r.name, r.offset, err)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.offset += int64(n)
	return n, nil
}

// fill gets the chunk at offset. One that is not there any more was merged into a larger one: a newer
// manifest names that, and the bytes are the same.
func (r *sourceReader) fill() error {
	for look := 0; ; look++ {
		i := r.find()
		err := r.get(i)
		if !errors.Is(err, fs.ErrNotExist) || look == maxLists {
			return r.accept(i, err)
		}
		newer, newerErr := newestManifest(r.ctx, r.source.Target)
		if newerErr != nil {
			return newerErr
		}
		segment := newer.find(r.segment.key())
		if segment == nil || segment.Bytes < r.segment.Bytes {
			return ErrChanged
		}
		if slices.Equal(segment.Chunks, r.chunks) {
			return r.accept(i, err)
		}
		r.chunks = segment.Chunks
	}
}

// find gives the number of the chunk at offset.
func (r *sourceReader) find() int {
	return slices.IndexFunc(r.chunks, func(c chunk) bool { return c.to > r.offset })
}

func (r *sourceReader) get(i int) error {
	name := chunkName(r.segment.key(), r.chunks, i)
	content, err := r.fetch(name)
	if err != nil {
		return err
	}
	start := from(r.chunks, i)
	if int64(len(content)) != r.chunks[i].to-start || checksum(content) != r.chunks[i].checksum {
		return fmt.Errorf("%s: %w", name, errDamagedChunk)
	}
	r.rest = content[r.offset-start : min(int64(len(content)), r.segment.Bytes-start)]
	return nil
}

// fetch tries again for some seconds: a restore takes long, and a store that failed once must not end it.
func (r *sourceReader) fetch(name string) ([]byte, error) {
	for wait := firstRetry; ; wait *= 2 {
		content, err := r.source.Target.Get(r.ctx, name)
		if err == nil || errors.Is(err, fs.ErrNotExist) || wait > 8*firstRetry {
			return content, err
		}
		select {
		case <-r.ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

var errDamagedChunk = errors.New("chunk is damaged: its checksum does not match")

// accept passes damage by, if that was asked for.
func (r *sourceReader) accept(i int, err error) error {
	if !r.source.AcceptDamage || !errors.Is(err, errDamagedChunk) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.rest = make([]byte, min(r.chunks[i].to, r.segment.Bytes)-r.offset)
	return nil
}
