package backup

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"

	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

const copyBufferBytes = 1 << 20

// errGone says that a segment's file is not there any more, or is another one now.
var errGone = errors.New("a segment was replaced meanwhile")

// segment makes the file of a segment, unless there is one. It has its name when it is complete.
func (m *making) segment(s commitlog.SegmentInfo, view *commitlog.View) (File, error) {
	f := File{Name: fileName(s, view.Epoch()), Base: s.Base, End: s.End, Generation: s.Generation, Bytes: s.Bytes}
	if done, ok := m.done[f.Name]; ok {
		return done, nil
	}
	path := filepath.Join(m.To, f.Name)
	there, err := exists(m.FS, path)
	if err != nil {
		return f, err
	}
	if there {
		f.Checksum = m.former[f.Name].Checksum
		m.result.Kept++
		m.done[f.Name] = f
		return f, nil
	}
	temporary := path + temporarySuffix
	if err := vfs.RemoveIfExists(m.FS, temporary); err != nil {
		return f, err
	}
	if err := m.bring(&f, s, temporary, view.LogID()); err != nil {
		return f, errors.Join(err, vfs.RemoveIfExists(m.FS, temporary))
	}
	if err := m.FS.Rename(temporary, path); err != nil {
		return f, err
	}
	m.done[f.Name] = f
	return f, nil
}

// bring links, clones or copies a segment, and looks whether it was that segment. The newest one is
// being written, so it is always copied.
func (m *making) bring(f *File, s commitlog.SegmentInfo, to string, logID uint64) error {
	if s.Sealed {
		err := m.FS.Link(s.Path, to)
		if err == nil {
			err := m.isStill(s, to, logID)
			return m.count(err, &m.result.Linked)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		if cloner, ok := m.FS.(vfs.Cloner); ok && cloner.Clone(s.Path, to) == nil {
			err := errors.Join(m.isStill(s, to, logID), syncFile(m.FS, to))
			return m.count(err, &m.result.Cloned)
		}
		if err := vfs.RemoveIfExists(m.FS, to); err != nil {
			return err
		}
	}
	err := m.copy(f, s, to, logID)
	if err == nil {
		m.result.CopiedBytes += s.Bytes
	}
	return m.count(err, &m.result.Copied)
}

// count counts a file that was made.
func (m *making) count(err error, kind *int) error {
	if err == nil {
		*kind++
	}
	return err
}

// isStill says errGone if a file is not the segment that was listed.
func (m *making) isStill(s commitlog.SegmentInfo, path string, logID uint64) error {
	file, err := m.FS.OpenRead(path)
	if err != nil {
		return err
	}
	return errors.Join(m.check(s, file, logID), file.Close())
}

func (m *making) check(s commitlog.SegmentInfo, file vfs.File, logID uint64) error {
	id, err := commitlog.Identify(file)
	size, sizeErr := file.Size()
	switch {
	case sizeErr != nil:
		return sizeErr
	case err != nil && m.AcceptDamage: // of the header
		return nil
	case err != nil:
		return fmt.Errorf("read the header of %s: %w", s.Path, err)
	case id != commitlog.Identity{LogID: logID, Base: s.Base, Generation: s.Generation}:
		return errGone
	case size < s.Bytes && !m.AcceptDamage:
		return fmt.Errorf("%s has %d bytes of the %d that its segment has: it is damaged", s.Path, size, s.Bytes)
	}
	return nil
}

// copy copies the content and syncs it.
func (m *making) copy(f *File, s commitlog.SegmentInfo, to string, logID uint64) error {
	from, err := m.FS.OpenRead(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	if err != nil {
		return err
	}
	sum, n, err := copyFile(m.FS, to, io.NewSectionReader(from, 0, s.Bytes))
	if err == nil {
		// Afterwards: a file that is given to another segment gets its header first.
		err = m.check(s, from, logID)
	}
	if err == nil && !s.Sealed {
		// The log may not have synced it yet. What a power loss took there, and not here, would stand here for what comes to its place.
		err = from.Sync()
	}
	if err == nil && n < s.Bytes && !m.AcceptDamage {
		err = fmt.Errorf("%s ended at offset %d while it was copied, want %d", s.Path, n, s.Bytes)
	}
	f.Checksum = sum
	return errors.Join(err, from.Close())
}

// copyFile makes a file of what a reader gives, synced.
func copyFile(fsys vfs.FS, path string, from io.Reader) (checksum string, n int64, err error) {
	file, err := fsys.Create(path)
	if err != nil {
		return "", 0, err
	}
	w := &summingWriter{file: file}
	_, err = io.CopyBuffer(w, from, make([]byte, copyBufferBytes))
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return "", w.offset, fmt.Errorf("copy to %s: %w", path, err)
	}
	return fmt.Sprintf("%08x", w.sum), w.offset, nil
}

// summingWriter writes a file front to back.
type summingWriter struct {
	file   vfs.File
	offset int64
	sum    uint32
}

func (w *summingWriter) Write(b []byte) (int, error) {
	n, err := w.file.WriteAt(b, w.offset)
	w.sum = crc32.Update(w.sum, castagnoli, b[:n])
	w.offset += int64(n)
	return n, err
}

func syncFile(fsys vfs.FS, path string) error {
	file, err := fsys.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
