package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"
)

// Source is a shipped log to restore from: its newest state as of OpenSource. Shipping may go on meanwhile. It
// belongs to one goroutine.
type Source struct {
	target Target
	state  *manifest
}

// SourceFile is a segment of the shipped log.
type SourceFile struct {
	Name  string // in the log's directory
	Bytes int64

	key key
}

// ErrChanged says that retention has rewritten a file of the shipped log since the source was opened: open it
// again, and begin with that file's range anew.
var ErrChanged = errors.New("the shipped log was rewritten by retention meanwhile: begin again")

// OpenSource gives the newest state at a target. Where nothing was shipped the error is fs.ErrNotExist.
func OpenSource(ctx context.Context, target Target) (*Source, error) {
	m, err := newestManifest(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("open the shipped log: %w", err)
	}
	return &Source{target: target, state: m}, nil
}

// LogID, Epoch, At and End say which log it is, and up to which time and position the state goes.
func (s *Source) LogID() uint64 { return uint64(s.state.Log) }
func (s *Source) Epoch() uint64 { return uint64(s.state.Epoch) }
func (s *Source) At() time.Time { return s.state.At }
func (s *Source) End() int64    { return s.state.End }

// Files gives the files in the order of their positions.
func (s *Source) Files() []SourceFile {
	files := make([]SourceFile, len(s.state.Segments))
	for i := range s.state.Segments {
		segment := &s.state.Segments[i]
		files[i] = SourceFile{Name: fileName(segment.Base), Bytes: segment.Bytes, key: segment.key()}
	}
	return files
}

// fileName is the name that commitlog gives to a segment.
func fileName(base int64) string { return fmt.Sprintf("%020d.log", base) }

// Open gives the content of a file from its beginning. Every chunk is checked before a byte of it is given;
// one in memory at a time. The error of a read is ErrChanged, or says what is missing or damaged.
func (s *Source) Open(ctx context.Context, file SourceFile) io.Reader {
	r := &sourceReader{ctx: ctx, source: s, file: file}
	if segment := s.state.find(file.key); segment != nil {
		r.chunks = segment.Chunks
	}
	return r
}

type sourceReader struct {
	ctx    context.Context
	source *Source
	file   SourceFile
	chunks []chunk
	offset int64
	rest   []byte // of the chunk at offset
}

func (r *sourceReader) Read(p []byte) (int, error) {
	if r.offset >= r.file.Bytes {
		return 0, io.EOF
	}
	if len(r.rest) == 0 {
		if err := r.fill(); err != nil {
			return 0, fmt.Errorf("read %s of the shipped log at offset %d: %w", r.file.Name, r.offset, err)
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
		content, err := r.get()
		if !errors.Is(err, fs.ErrNotExist) || look == maxLists {
			r.rest = content
			return err
		}
		newer, newerErr := newestManifest(r.ctx, r.source.target)
		if newerErr != nil {
			return newerErr
		}
		segment := newer.find(r.file.key)
		if segment == nil || segment.Bytes < r.file.Bytes {
			return ErrChanged
		}
		if slices.Equal(segment.Chunks, r.chunks) {
			return err
		}
		r.chunks = segment.Chunks
	}
}

func (r *sourceReader) get() ([]byte, error) {
	i, found := slices.BinarySearchFunc(r.chunks, r.offset, func(c chunk, at int64) int {
		return int(min(max(c.to-at, -1), 1))
	})
	if found {
		i++ // it ends there
	}
	if i == len(r.chunks) {
		return nil, fmt.Errorf("no chunk holds it: %w", fs.ErrNotExist)
	}
	name := chunkName(r.file.key, r.chunks, i)
	content, err := r.source.target.Get(r.ctx, name)
	if err != nil {
		return nil, err
	}
	start := from(r.chunks, i)
	if int64(len(content)) != r.chunks[i].to-start || checksum(content) != r.chunks[i].checksum {
		return nil, fmt.Errorf("%s is damaged: its checksum does not match", name)
	}
	return content[r.offset-start : min(int64(len(content)), r.file.Bytes-start)], nil
}
