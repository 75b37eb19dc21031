package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// What a disk writes in one step. Older ones tear everywhere between two sectors; those of today have
// blocks, but take sectors too.
const (
	SectorBytes = 512
	BlockBytes  = 4096
)

// What a disk refuses.
var (
	// errNoPower: the disk was cut off and not turned on again.
	errNoPower = errors.New("disk has no power")
	errRange   = errors.New("range is not of whole sectors on the disk")
)

// Disk is safe for concurrent use. All of it is in memory: what was never written costs none.
type Disk struct {
	// Set at construction.
	unit int64 // SectorBytes or BlockBytes

	mu sync.Mutex // guards all below; held over memory work, and by Save, when no machine is on

	durable []byte // what a cut can't touch
	current []byte // what is read: durable and the writes in the cache, in their order
	cache   []write
	// dropped is how many writes have left the cache: the number of cache[0].
	dropped uint64
	power   bool
	lying   bool
	armed   *armed
	touched []bool // pieces that were ever written
	counts  Counts
}

// pieceBytes is what Save looks at as one.
const pieceBytes = 64 << 10

// write is one that was answered and not flushed.
type write struct {
	offset int64
	data   []byte
}

// Counts are totals since the disk was made.
type Counts struct {
	Writes, WrittenBytes, Flushes uint64
}

// New makes a disk of zeros, turned on, which writes units of SectorBytes or BlockBytes in one step.
func New(size, unit int64) (*Disk, error) {
	if unit != SectorBytes && unit != BlockBytes || size <= 0 || size%unit != 0 {
		return nil, fmt.Errorf("disk of %d bytes in units of %d: want whole units of %d or %d", size, unit, SectorBytes, BlockBytes)
	}
	return &Disk{
		unit: unit, durable: make([]byte, size), current: make([]byte, size), power: true,
		touched: make([]bool, (size+pieceBytes-1)/pieceBytes),
	}, nil
}

// Size is the number of bytes; it never changes.
func (d *Disk) Size() int64 { return int64(len(d.durable)) }

// Lie makes flushes do nothing but succeed.
func (d *Disk) Lie(lying bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lying = lying
}

// Counts says what the disk was asked to do.
func (d *Disk) Counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

// checkLocked is for a request of n bytes at an offset.
func (d *Disk) checkLocked(offset int64, n int) error {
	if !d.power {
		return errNoPower
	}
	if offset < 0 || offset%SectorBytes != 0 || n%SectorBytes != 0 || offset > d.Size()-int64(n) {
		return fmt.Errorf("%d bytes at %d: %w", n, offset, errRange)
	}
	return nil
}

// readAt fills b with what was written last, flushed or not.
func (d *Disk) readAt(b []byte, offset int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkLocked(offset, len(b)); err != nil {
		return 0, err
	}
	return copy(b, d.current[offset:]), nil
}

// writeAt puts whole sectors into the cache. It takes a copy of b.
func (d *Disk) writeAt(b []byte, offset int64) (int, error) { return d.write(b, offset, false) }

// writeThrough returns when b lasts. Writes before it stay in the cache, but not where b is.
func (d *Disk) writeThrough(b []byte, offset int64) (int, error) { return d.write(b, offset, true) }

func (d *Disk) write(b []byte, offset int64, through bool) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkLocked(offset, len(b)); err != nil {
		return 0, err
	}
	d.counts.Writes++
	d.counts.WrittenBytes += uint64(len(b))
	d.touchLocked(offset, len(b))
	copy(d.current[offset:], b)
	if !through || d.lying {
		d.cache = append(d.cache, write{offset: offset, data: append([]byte(nil), b...)})
		return len(b), d.countDownLocked()
	}
	copy(d.durable[offset:], b)
	d.supersedeLocked(offset, int64(len(b)))
	return len(b), nil
}

func (d *Disk) touchLocked(offset int64, n int) {
	for at := offset / pieceBytes; at*pieceBytes < offset+int64(n); at++ {
		d.touched[at] = true
	}
}

// supersedeLocked takes a range out of the cached writes, so that no older content of it comes back.
func (d *Disk) supersedeLocked(offset, n int64) {
	for i := range d.cache {
		w := &d.cache[i]
		from, to := max(w.offset, offset), min(w.offset+int64(len(w.data)), offset+n)
		if from < to {
			// Of the same content as the newer write: whether it is kept makes no difference.
			copy(w.data[from-w.offset:to-w.offset], d.durable[from:to])
		}
	}
}

// mark names the writes that were answered until now, for flushTo.
func (d *Disk) mark() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dropped + uint64(len(d.cache))
}

// flushTo makes the writes before a mark last. Flushes may overlap.
func (d *Disk) flushTo(mark uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.power {
		return errNoPower
	}
	d.counts.Flushes++
	if d.lying {
		return nil
	}
	for len(d.cache) > 0 && d.dropped < mark {
		w := d.cache[0]
		copy(d.durable[w.offset:], w.data)
		d.cache = d.cache[1:]
		d.dropped++
	}
	return nil
}

// Load writes an image to the disk, from its beginning on, and makes it last.
func (d *Disk) Load(image io.Reader) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropped += uint64(len(d.cache))
	d.cache = nil
	zeros := make([]byte, pieceBytes)
	for at := range d.touched {
		from := int64(at) * pieceBytes
		piece := d.durable[from:min(from+pieceBytes, d.Size())]
		n, err := io.ReadFull(image, piece)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("load the image of a disk: %w", err)
		}
		if !d.touched[at] && bytes.Equal(piece[:n], zeros[:n]) {
			continue // no memory is used for it
		}
		d.touchLocked(from, n)
		copy(d.current[from:], piece)
	}
	return nil
}

// Save writes what lasts, and nothing where the disk was never written: w is empty.
func (d *Disk) Save(w io.WriterAt) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, touched := range d.touched {
		from := int64(at) * pieceBytes
		if !touched {
			continue
		}
		if _, err := w.WriteAt(d.durable[from:min(from+pieceBytes, d.Size())], from); err != nil {
			return fmt.Errorf("save the image of a disk: %w", err)
		}
	}
	return nil
}
