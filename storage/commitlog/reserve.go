package commitlog

import (
	"errors"
	"path/filepath"
	"slices"
	"time"

	"rookery/storage/vfs"
)

// reserveName is the file of the reserve.
const reserveName = "RESERVE"

// reserve is room for retention on a disk that is full: a file of zeros as long as a segment. Retention writes before it gives
// back, so without it a full disk would stay full whatever is to go. It is used only while the log has a fault for want of room, and in
// this order:
//
//  1. nothing else of the log takes room from here on: the committer does not heal, no spare is made.
//  2. the file is removed.
//  3. the checkpoint is written, and segments are rewritten one at a time, those that keep least first, until a segment's bytes are
//     given back. A segment that is worth it is half dead, so what it keeps fits.
//  4. the file is made again, and the log may go on.
//
// A rewriting has the same steps as any other, so a crash leaves nothing that it would not leave there. One between 2 and 4 leaves the room of
// the reserve to the log.
type reserve struct {
	// Set at construction.
	log  *Log
	path string

	// Owned by retainLoop.
	there   bool
	triedIn position // base of the active segment when it could not be made
}

func newReserve(l *Log) reserve {
	r := reserve{log: l, path: filepath.Join(l.config.Dir, reserveName), triedIn: -1}
	file, err := l.config.FS.OpenRead(r.path)
	if err != nil {
		return r // made when it is time
	}
	size, err := file.Size()
	r.there = errors.Join(err, file.Close()) == nil && size >= l.config.SegmentBytes
	return r
}

// keep makes the reserve if there is none. A log of one segment has nothing to rewrite, and where there was no room it is tried again when the
// log has a new segment: the attempt takes all the room that is left, for a moment.
func (r *reserve) keep(stop <-chan struct{}) {
	segments := r.log.segments.load()
	active := segments[len(segments)-1].base
	if r.there || r.log.config.growing || len(segments) == 1 || active == r.triedIn || r.log.Err() != nil {
		return
	}
	if err := r.make(stop); err != nil && !errors.Is(err, errStopped) {
		r.triedIn = active
		r.log.config.Logger.Info("no reserve for retention on a full disk can be made now", "path", r.path, "error", err)
	}
}

// make has the file get its name when all of it is durable, so whatever has the name is whole.
func (r *reserve) make(stop <-chan struct{}) error {
	fsys := r.log.config.FS
	temporary := r.path + temporarySuffix
	if err := errors.Join(vfs.RemoveIfExists(fsys, temporary), vfs.RemoveIfExists(fsys, r.path)); err != nil {
		return err
	}
	file, err := fsys.Create(temporary)
	if err != nil {
		return err
	}
	err = errors.Join(fillZeros(file, r.log.config.SegmentBytes, stop, nil), file.Close())
	if err == nil {
		err = fsys.Rename(temporary, r.path)
	}
	if err != nil {
		return errors.Join(err, vfs.RemoveIfExists(fsys, temporary))
	}
	r.there = true
	return fsys.SyncDir(r.log.config.Dir)
}

// give removes the file.
func (r *reserve) give() error {
	r.there = false
	if err := vfs.RemoveIfExists(r.log.config.FS, r.path); err != nil {
		return err
	}
	return r.log.config.FS.SyncDir(r.log.config.Dir)
}

// rewriteInReserve is what retention does when it found no room and the log has none either.
func (r *retention) rewriteInReserve(now time.Time) error {
	room := &r.log.files.supply.room
	room.Lock()
	defer room.Unlock()
	if err := r.log.Err(); !vfs.NoRoom(err) {
		return err // it has healed: others made room
	}
	r.log.config.Logger.Info("the disk is full: retention makes room in its reserve", "path", r.reserve.path)
	if err := r.reserve.give(); err != nil {
		return err
	}
	err := r.rewriteAlone(now)
	if errors.Is(err, errStopped) {
		return err
	}
	return errors.Join(err, r.reserve.make(r.stop))
}

// rewriteAlone rewrites segments one at a time until a segment's bytes are given back. It does not rest: nobody publishes meanwhile.
func (r *retention) rewriteAlone(now time.Time) error {
	needs, err := r.prove()
	if err != nil {
		return err
	}
	segments := r.log.segments.load()
	young := r.young(now)
	candidates := slices.DeleteFunc(slices.Clone(segments[:len(segments)-1]), func(g *segment) bool { return !r.may(g, young) || !g.mostlyDead() })
	slices.SortStableFunc(candidates, func(a, b *segment) int { return comparePositions(position(a.live()), position(b.live())) })
	var errs []error
	freed := int64(0)
	for _, g := range candidates {
		n, err := r.rewrite([]*segment{g}, needs, &pace{stop: r.stop, off: true})
		if errors.Is(err, errStopped) {
			return err
		}
		errs = append(errs, err)
		if freed += n; freed >= r.log.config.SegmentBytes || vfs.NoRoom(err) {
			break
		}
	}
	if freed > 0 {
		ring(r.bell) // for the others
	}
	return errors.Join(errs...)
}
