package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"sort"
	"sync"

	"rookery/storage/vfs"
)

const (
	extentHeaderBytes = 16

	indexBlockBytes   = 4 << 10
	indexEntryBytes   = 16
	indexBlockEntries = (indexBlockBytes - 8) / indexEntryBytes

	packedFooterMagic = "RKRYPACK"
	packedFooterBytes = 64
	// packedEndBytes is what stands behind the index: the footer, and the segment's header again.
	packedEndBytes = packedFooterBytes + segmentHeaderBytes
)

var (
	errExtent = errors.New("header of an extent is damaged")
	errIndex  = errors.New("index of a rewritten segment is damaged")
	// errMadeUp marks damage of what stands in the file twice: no record is missing for it.
	errMadeUp  = errors.New("the index has it too")
	errDropped = fmt.Errorf("record was dropped by retention: %w", errChain)
)

// extent is a run of records of a packed segment that stand one behind the other in the log too.
type extent struct {
	at     position // of its first record
	offset int64    // of its header in the file
	bytes  int64    // of its records
}

func (e extent) start() int64 { return e.offset + extentHeaderBytes }
func (e extent) end() int64   { return e.start() + e.bytes }

// holds says that an extent can be one of a packed segment: its bytes stand before the index, at blocks, and its records in the
// segment's range. Who follows an extent relies on it.
func (g *segment) holds(e extent, blocks int64) bool {
	return e.bytes >= recordHeaderBytes && e.offset >= segmentHeaderBytes && e.end() <= blocks &&
		e.at >= g.base+segmentHeaderBytes && e.at <= g.end-position(e.bytes)
}

// appendExtentHeader appends what stands before the records of an extent, see doc.go.
func appendExtentHeader(dst []byte, s seal, e extent) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(e.bytes))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.at))
	binary.LittleEndian.PutUint32(dst[start:], s.checksum(dst[start+4:]))
	return dst
}

func decodeExtentHeader(b []byte, s seal, offset int64) (extent, error) {
	e := extent{
		at:     position(binary.LittleEndian.Uint64(b[8:])),
		offset: offset,
		bytes:  int64(binary.LittleEndian.Uint32(b[4:])),
	}
	if s.checksum(b[4:extentHeaderBytes]) != binary.LittleEndian.Uint32(b) {
		return extent{}, errExtent
	}
	return e, nil
}

// packedIndex finds the extents of a packed segment. In memory are 8 bytes for 255 extents, the rest
// is read from the file; where that is damaged, all of it is in memory. It never changes.
type packedIndex struct {
	blocks  int64      // offset of the first block, where the extents end; the file's size if that is not known
	first   []position // of each block
	extents []extent   // made of the extents themselves, instead of first
}

// appendIndex appends blocks, their first positions, the footer and once more the header behind the
// extents of a file.
func appendIndex(dst []byte, s seal, blocks int64, extents []extent, facts packedFacts, header []byte) []byte {
	var first []position
	for rest := extents; len(rest) > 0; {
		n := min(len(rest), indexBlockEntries)
		first = append(first, rest[0].at)
		dst = appendIndexBlock(dst, s, rest[:n])
		rest = rest[n:]
	}
	start := len(dst)
	for _, at := range first {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(at))
	}
	footer := len(dst)
	dst = append(dst, packedFooterMagic...)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(first)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(blocks))
	dst = binary.LittleEndian.AppendUint64(dst, facts.records)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(facts.oldestAt))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(facts.newestAt))
	dst = append(dst, make([]byte, packedFooterBytes-(len(dst)-footer))...)
	binary.LittleEndian.PutUint32(dst[footer+8:], s.checksum(dst[start:]))
	return append(dst, header...)
}

func appendIndexBlock(dst []byte, s seal, extents []extent) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(extents)))
	for _, e := range extents {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.at))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(e.offset))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(e.bytes))
	}
	dst = append(dst, make([]byte, indexBlockBytes-(len(dst)-start))...)
	binary.LittleEndian.PutUint32(dst[start:], s.checksum(dst[start+4:]))
	return dst
}

// packedFacts is what the footer says of the records.
type packedFacts struct {
	records            uint64 // stubs among them
	oldestAt, newestAt int64
}

// readPackedFooter gives errIndex for anything but a whole footer.
func readPackedFooter(file vfs.File, s seal, size int64) (*packedIndex, packedFacts, error) {
	var facts packedFacts
	footer := make([]byte, packedFooterBytes)
	if size < segmentHeaderBytes+packedEndBytes {
		return nil, facts, errIndex
	}
	if _, err := file.ReadAt(footer, size-packedEndBytes); ignoreEOF(err) != nil {
		return nil, facts, err
	}
	blocks, count := int64(binary.LittleEndian.Uint64(footer[16:])), int64(binary.LittleEndian.Uint32(footer[12:]))
	top := size - packedEndBytes - 8*count
	// Offsets have 32 bits, and all blocks but the last are full: a file with holes does not make us allocate what it claims to be.
	if string(footer[:8]) != packedFooterMagic || blocks < segmentHeaderBytes || blocks > math.MaxUint32 || top-blocks != count*indexBlockBytes ||
		count > 1+blocks/(indexBlockEntries*(extentHeaderBytes+recordHeaderBytes)) {
		return nil, facts, errIndex
	}
	b := make([]byte, 8*count, 8*count+packedFooterBytes)
	if _, err := file.ReadAt(b, top); ignoreEOF(err) != nil {
		return nil, facts, err
	}
	sum := binary.LittleEndian.Uint32(footer[8:])
	binary.LittleEndian.PutUint32(footer[8:], 0)
	if s.checksum(append(b, footer...)) != sum {
		return nil, facts, errIndex
	}
	x := &packedIndex{blocks: blocks}
	for ; len(b) > 0; b = b[8:] {
		x.first = append(x.first, position(binary.LittleEndian.Uint64(b)))
	}
	facts = packedFacts{
		records:  binary.LittleEndian.Uint64(footer[24:]),
		oldestAt: int64(binary.LittleEndian.Uint64(footer[32:])),
		newestAt: int64(binary.LittleEndian.Uint64(footer[40:])),
	}
	return x, facts, nil
}

// headerAgain gives the header that stands at the end of a packed segment, for when the first is damaged.
func headerAgain(file vfs.File, size int64, logID uint64, base position) (segmentHeader, bool) {
	b := make([]byte, segmentHeaderBytes)
	if size < segmentHeaderBytes+packedEndBytes {
		return segmentHeader{}, false
	}
	if n, err := file.ReadAt(b, size-segmentHeaderBytes); n < len(b) || ignoreEOF(err) != nil {
		return segmentHeader{}, false
	}
	h, err := decodeSegmentHeader(b, logID, base)
	return h, err == nil && h.packed()
}

// openPacked makes the index of a packed segment ready. A damaged one, which the error errIndex tells, is
// made of the extents; what is behind a damaged extent is lost then.
func (o *openFiles) openPacked(g *segment) error {
	file, err := o.acquire(g)
	if err != nil {
		return err
	}
	x, facts, err := readPackedFooter(file, o.seal, g.size())
	o.release(g)
	if err == errIndex {
		if err := o.rebuildIndex(g); err != nil {
			return err // of the disk: there is no index
		}
		return errIndex
	}
	if err != nil {
		return fmt.Errorf("read the index of %s: %w", g.path, err)
	}
	g.index.Store(x)
	g.oldestAt.Store(facts.oldestAt)
	g.newestAt.Store(facts.newestAt)
	return nil
}

// rebuilding holds back all but one: a damaged index is rare, and read once.
var rebuilding sync.Mutex

// rebuildIndex walks from extent to extent. Where the footer is damaged nothing is known of the times of
// the records.
func (o *openFiles) rebuildIndex(g *segment) error {
	rebuilding.Lock()
	defer rebuilding.Unlock()
	x := &packedIndex{blocks: g.size()}
	if old := g.index.Load(); old != nil {
		if old.first == nil {
			return nil
		}
		x.blocks = old.blocks
	} else {
		g.oldestAt.Store(math.MinInt64)
		g.newestAt.Store(math.MaxInt64)
	}
	header := make([]byte, extentHeaderBytes)
	offset := int64(segmentHeaderBytes)
	for offset < x.blocks {
		n, err := o.readAt(g, header, offset)
		if err != nil {
			return err
		}
		e, err := decodeExtentHeader(header, o.seal, offset)
		if n < len(header) || err != nil || !g.holds(e, x.blocks) {
			break
		}
		x.extents = append(x.extents, e)
		offset = e.end()
	}
	// What is no extent there is where they end, if it is a block of the index.
	block := make([]byte, indexBlockBytes)
	n, err := o.readAt(g, block, offset)
	if err != nil {
		return err
	}
	if isIndexBlock(block[:n], o.seal) {
		x.blocks = offset
	}
	g.index.Store(x)
	return nil
}

func isIndexBlock(b []byte, s seal) bool {
	if len(b) < indexBlockBytes {
		return false
	}
	count := binary.LittleEndian.Uint32(b[4:])
	return count > 0 && count <= indexBlockEntries && s.checksum(b[4:indexBlockBytes]) == binary.LittleEndian.Uint32(b)
}

// findExtent gives the extent that holds a position.
func (o *openFiles) findExtent(g *segment, at position, urgent bool) (extent, error) {
	x := g.index.Load()
	extents := x.extents
	if len(x.first) > 0 {
		n := sort.Search(len(x.first), func(i int) bool { return x.first[i] > at }) - 1
		if n < 0 {
			return extent{}, errDropped
		}
		b := indexBlocks.Get().(*[indexBlockBytes]byte)
		defer indexBlocks.Put(b)
		e, err := o.findInBlock(g, b[:], x.blocks+int64(n)*indexBlockBytes, at, urgent)
		if err != errIndex {
			return e, err
		}
		if err := o.rebuildIndex(g); err != nil {
			return extent{}, err
		}
		extents = g.index.Load().extents
	}
	n, found := slices.BinarySearchFunc(extents, at, func(e extent, at position) int { return comparePositions(e.at, at) })
	if !found {
		n--
	}
	if n < 0 || at >= extents[n].at+position(extents[n].bytes) {
		return extent{}, errDropped
	}
	return extents[n], nil
}

var indexBlocks = sync.Pool{New: func() any { return new([indexBlockBytes]byte) }}

func (o *openFiles) findInBlock(g *segment, b []byte, offset int64, at position, urgent bool) (extent, error) {
	n, err := o.read(g, b, offset, urgent)
	if err != nil {
		return extent{}, err
	}
	if !isIndexBlock(b[:n], o.seal) {
		return extent{}, errIndex
	}
	count := int(binary.LittleEndian.Uint32(b[4:]))
	i := sort.Search(count, func(i int) bool { return indexEntry(b, i).at > at }) - 1
	if i < 0 {
		return extent{}, errDropped
	}
	e := indexEntry(b, i)
	switch {
	case !g.holds(e, g.index.Load().blocks):
		return extent{}, errIndex
	case at >= e.at+position(e.bytes):
		return extent{}, errDropped
	}
	return e, nil
}

func indexEntry(block []byte, i int) extent {
	b := block[8+i*indexEntryBytes:]
	return extent{
		at:     position(binary.LittleEndian.Uint64(b)),
		offset: int64(binary.LittleEndian.Uint32(b[8:])),
		bytes:  int64(binary.LittleEndian.Uint32(b[12:])),
	}
}

// extentFrom gives the first extent at an offset or behind it, as the index has it, for when the header of
// an extent is damaged. found is false if there is none or the index is damaged too. passed is how much of the index lies before the offset: with
// that of an offset before this one, a file of which much is damaged does not cost all of its index for each extent.
func (o *openFiles) extentFrom(g *segment, offset int64, passed *int) (e extent, found bool, err error) {
	x := g.index.Load()
	for ; *passed < len(x.extents); *passed++ {
		if e := x.extents[*passed]; e.offset >= offset {
			return e, true, nil
		}
	}
	block := make([]byte, indexBlockBytes)
	for ; *passed < len(x.first); *passed++ {
		if got, err := o.readAt(g, block, x.blocks+int64(*passed)*indexBlockBytes); err != nil {
			return e, false, err
		} else if !isIndexBlock(block[:got], o.seal) {
			continue
		}
		for i := range int(binary.LittleEndian.Uint32(block[4:])) {
			if e := indexEntry(block, i); e.offset >= offset && g.holds(e, x.blocks) {
				return e, true, nil
			}
		}
	}
	return e, false, nil
}

// checksum is over what belongs to this log but to no position.
func (s seal) checksum(b []byte) uint32 { return crc32.Update(uint32(s), castagnoli, b) }

func comparePositions(a, b position) int { return int(min(max(a-b, -1), 1)) }
