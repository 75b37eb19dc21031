package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const testSectors = 64

func newDisk(t *testing.T) *Disk {
	t.Helper()
	d, err := New(testSectors*SectorBytes, SectorBytes)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sectors is content that says in each of its bytes which write it is of.
func sectors(n int, mark byte) []byte { return bytes.Repeat([]byte{mark}, n*SectorBytes) }

func put(t *testing.T, d *Disk, sector, n int, mark byte) {
	t.Helper()
	if _, err := d.writeAt(sectors(n, mark), int64(sector)*SectorBytes); err != nil {
		t.Fatal(err)
	}
}

func flush(t *testing.T, d *Disk) {
	t.Helper()
	if err := d.flushTo(d.mark()); err != nil {
		t.Fatal(err)
	}
}

// marks reads a sector each: its mark, or an error if it is torn.
func marks(t *testing.T, d *Disk, sector, n int) []byte {
	t.Helper()
	var found []byte
	for i := range n {
		b := make([]byte, SectorBytes)
		if _, err := d.readAt(b, int64(sector+i)*SectorBytes); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, sectors(1, b[0])) {
			t.Fatalf("sector %d is torn", sector+i)
		}
		found = append(found, b[0])
	}
	return found
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func TestPowerTakesWhatWasNotFlushed(t *testing.T) {
	for _, c := range []struct {
		name   string
		story  func(d *Disk)
		policy Policy
		want   []byte // of sectors 0 to 3
	}{
		{"a write without a flush", func(d *Disk) { put(t, d, 0, 4, 1) }, KeepNone, []byte{0, 0, 0, 0}},
		{"a write without a flush, on a disk that was quick", func(d *Disk) { put(t, d, 0, 4, 1) }, KeepAll, []byte{1, 1, 1, 1}},
		{"a write and a flush", func(d *Disk) { put(t, d, 0, 4, 1); flush(t, d) }, KeepNone, []byte{1, 1, 1, 1}},
		{"a write behind a flush", func(d *Disk) {
			put(t, d, 0, 4, 1)
			flush(t, d)
			put(t, d, 1, 2, 2)
		}, KeepNone, []byte{1, 1, 1, 1}},
		{"a write that came after the flush was asked for", func(d *Disk) {
			put(t, d, 0, 2, 1)
			mark := d.mark()
			put(t, d, 1, 2, 2)
			if err := d.flushTo(mark); err != nil {
				t.Fatal(err)
			}
		}, KeepNone, []byte{1, 1, 0, 0}},
		{"flushes that overlap and end in the other order", func(d *Disk) {
			put(t, d, 0, 1, 1)
			first := d.mark()
			put(t, d, 0, 1, 2)
			flush(t, d)
			if err := d.flushTo(first); err != nil {
				t.Fatal(err)
			}
		}, KeepNone, []byte{2, 0, 0, 0}},
		{"a write through the cache", func(d *Disk) {
			put(t, d, 0, 4, 1)
			if _, err := d.writeThrough(sectors(2, 2), SectorBytes); err != nil {
				t.Fatal(err)
			}
		}, KeepNone, []byte{0, 2, 2, 0}},
		{"an older write does not come back over one that went through", func(d *Disk) {
			put(t, d, 0, 4, 1)
			if _, err := d.writeThrough(sectors(2, 2), SectorBytes); err != nil {
				t.Fatal(err)
			}
		}, KeepAll, []byte{1, 2, 2, 1}},
		{"a flush on a disk that lies", func(d *Disk) {
			d.Lie(true)
			put(t, d, 0, 4, 1)
			flush(t, d)
		}, KeepNone, []byte{0, 0, 0, 0}},
		{"a write through the cache of a disk that lies", func(d *Disk) {
			d.Lie(true)
			if _, err := d.writeThrough(sectors(4, 1), 0); err != nil {
				t.Fatal(err)
			}
		}, KeepNone, []byte{0, 0, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t)
			c.story(d)
			d.Cut(c.policy, seeded(1))
			d.TurnOn()
			if got := marks(t, d, 0, 4); !bytes.Equal(got, c.want) {
				t.Errorf("after the cut the sectors are %v, want %v", got, c.want)
			}
		})
	}
}

// TestCutKeepsWhatADiskMay holds the disk against a list of the contents that each sector may have:
// the flushed one and all that were written since.
func TestCutKeepsWhatADiskMay(t *testing.T) {
	torn, kept, lost, older := 0, 0, 0, 0
	for seed := range uint64(300) {
		random := seeded(seed)
		d := newDisk(t)
		var may [testSectors][]byte
		for i := range may {
			may[i] = []byte{0}
		}
		spans := map[byte][2]int{} // of unflushed writes
		for mark := byte(1); mark < 60; mark++ {
			switch random.IntN(8) {
			case 0:
				flush(t, d)
				for i := range may {
					may[i] = may[i][len(may[i])-1:]
				}
				clear(spans)
			default:
				at, n := random.IntN(testSectors-8), 1+random.IntN(8)
				put(t, d, at, n, mark)
				for i := at; i < at+n; i++ {
					may[i] = append(may[i], mark)
				}
				spans[mark] = [2]int{at, n}
			}
		}
		policy := RandomPolicy(random)
		d.Cut(policy, random)
		d.TurnOn()
		got := marks(t, d, 0, testSectors)
		for i, mark := range got {
			which := bytes.IndexByte(may[i], mark)
			newest := which == len(may[i])-1
			switch {
			case which < 0:
				t.Fatalf("seed %d, %v: sector %d is %d, may be %v", seed, policy, i, mark, may[i])
			case policy == KeepAll && !newest, policy == KeepNone && which != 0:
				t.Fatalf("seed %d, %v: sector %d is %d of %v", seed, policy, i, mark, may[i])
			case newest && which > 0:
				kept++
			case which > 0:
				older++
			case !newest:
				lost++
			}
		}
		for mark, span := range spans {
			n := bytes.Count(got[span[0]:span[0]+span[1]], []byte{mark})
			if n > 0 && n < span[1] {
				torn++
			}
		}
	}
	if torn < 50 || kept < 50 || lost < 50 || older < 50 {
		t.Errorf("of all cuts %d writes are torn, %d sectors kept, %d lost, %d of an older state: the policies show too little", torn, kept, lost, older)
	}
}

// TestPrefixKeepsTheOrder: nothing is kept that came after something that is lost, but for the one
// write that was under way.
func TestPrefixKeepsTheOrder(t *testing.T) {
	for seed := range uint64(100) {
		d := newDisk(t)
		for i := range 20 {
			put(t, d, 2*i, 2, byte(1+i))
		}
		d.Cut(KeepPrefix, seeded(seed))
		d.TurnOn()
		got := marks(t, d, 0, 40)
		whole := 0
		for whole < 40 && got[whole] != 0 {
			whole++
		}
		for i := whole/2*2 + 2; i < 40; i++ {
			if got[i] != 0 {
				t.Fatalf("seed %d: of 20 writes in a row the sectors %v are kept", seed, got)
			}
		}
	}
}

// TestBlocksAreWhole: where a disk writes blocks, a cut leaves all of one as it was at some moment, also
// when the writes were smaller.
func TestBlocksAreWhole(t *testing.T) {
	states := map[string]int{}
	for seed := range uint64(200) {
		d, err := New(testSectors*SectorBytes, BlockBytes)
		if err != nil {
			t.Fatal(err)
		}
		put(t, d, 6, 12, 1) // the end of a block, a block, the beginning of one
		put(t, d, 10, 2, 2)
		d.Cut([]Policy{KeepScattered, KeepPrefix}[seed%2], seeded(seed))
		d.TurnOn()
		for block := range 3 {
			states[fmt.Sprint(block, marks(t, d, 8*block, 8))]++
		}
	}
	for state := range states {
		if !slices.Contains([]string{
			"0 [0 0 0 0 0 0 0 0]", "0 [0 0 0 0 0 0 1 1]",
			"1 [0 0 0 0 0 0 0 0]", "1 [1 1 1 1 1 1 1 1]", "1 [1 1 2 2 1 1 1 1]",
			"2 [0 0 0 0 0 0 0 0]", "2 [1 1 0 0 0 0 0 0]",
		}, state) {
			t.Errorf("a block was left as %s", state)
		}
	}
	if len(states) != 7 {
		t.Errorf("blocks were left as %v, want all 7 states that there are", states)
	}
}

func TestSameSeedSameDisk(t *testing.T) {
	after := func() []byte {
		d := newDisk(t)
		for i := range 30 {
			put(t, d, i, 5, byte(1+i))
		}
		d.Cut(KeepScattered, seeded(7))
		d.TurnOn()
		return marks(t, d, 0, testSectors)
	}
	if a, b := after(), after(); !bytes.Equal(a, b) {
		t.Errorf("the same cut leaves %v and %v", a, b)
	}
}

func TestCutSaysWhatItFound(t *testing.T) {
	d := newDisk(t)
	put(t, d, 0, 4, 1)
	put(t, d, 2, 4, 2)
	if got, want := d.Cut(KeepNone, seeded(1)), (Cut{Policy: KeepNone, Writes: 2, Sectors: 6, Changed: 6}); got != want {
		t.Errorf("the cut found %+v, want %+v", got, want)
	}
}

func TestNoPower(t *testing.T) {
	d := newDisk(t)
	mark := d.mark()
	d.Cut(KeepNone, seeded(1))
	_, read := d.readAt(sectors(1, 0), 0)
	_, write := d.writeAt(sectors(1, 1), 0)
	_, through := d.writeThrough(sectors(1, 1), 0)
	for what, err := range map[string]error{"read": read, "write": write, "write through": through, "flush": d.flushTo(mark)} {
		if !errors.Is(err, errNoPower) {
			t.Errorf("%s without power gives %v, want %v", what, err, errNoPower)
		}
	}
}

func TestArmedCutComesWithTheWrite(t *testing.T) {
	d := newDisk(t)
	put(t, d, 0, 1, 1)
	cut := d.Arm(2, KeepAll, seeded(1))
	put(t, d, 1, 1, 2)
	if _, err := d.writeAt(sectors(1, 3), 2*SectorBytes); !errors.Is(err, errNoPower) {
		t.Fatalf("the second write gives %v, want %v", err, errNoPower)
	}
	select {
	case got := <-cut:
		if got.Writes != 3 {
			t.Errorf("the cut found %+v, want 3 writes", got)
		}
	default:
		t.Fatal("the power is still there")
	}
	// Not answered, but it was in the cache.
	d.TurnOn()
	if got := marks(t, d, 0, 3); !bytes.Equal(got, []byte{1, 2, 3}) {
		t.Errorf("after the cut the sectors are %v", got)
	}
	put(t, d, 3, 1, 4) // armed no more
}

func TestRangesAreChecked(t *testing.T) {
	d := newDisk(t)
	for _, c := range []struct {
		offset int64
		n      int
	}{
		{-SectorBytes, SectorBytes}, {1, SectorBytes}, {0, SectorBytes - 1}, {testSectors * SectorBytes, SectorBytes},
		{(testSectors - 1) * SectorBytes, 2 * SectorBytes}, {1<<63 - 512, SectorBytes},
	} {
		if _, err := d.writeAt(make([]byte, c.n), c.offset); !errors.Is(err, errRange) {
			t.Errorf("write of %d bytes at %d gives %v, want %v", c.n, c.offset, err, errRange)
		}
		if _, err := d.readAt(make([]byte, c.n), c.offset); !errors.Is(err, errRange) {
			t.Errorf("read of %d bytes at %d gives %v, want %v", c.n, c.offset, err, errRange)
		}
	}
	for _, size := range [][2]int64{{0, 512}, {-512, 512}, {1000, 512}, {512, 4096}, {8192, 0}, {8192, 1024}} {
		if _, err := New(size[0], size[1]); err == nil {
			t.Errorf("a disk of %d bytes in units of %d can be made", size[0], size[1])
		}
	}
}

// TestImages: what lasts goes into an image and comes back, what is in the cache does not.
func TestImages(t *testing.T) {
	const size = 5*pieceBytes + SectorBytes
	d, err := New(size, SectorBytes)
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, 3, 1, 1)
	put(t, d, size/SectorBytes-1, 1, 2)
	flush(t, d)
	put(t, d, 4, 1, 3)
	file, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := d.Save(file); err != nil {
		t.Fatal(err)
	}
	for name, image := range map[string]io.Reader{"a file": io.NewSectionReader(file, 0, size), "small pieces": &slowReader{io.NewSectionReader(file, 0, size)}} {
		other, err := New(size, SectorBytes)
		if err != nil {
			t.Fatal(err)
		}
		put(t, other, 0, 1, 9) // is overwritten
		if err := other.Load(image); err != nil {
			t.Fatal(err)
		}
		other.Cut(KeepNone, seeded(1))
		other.TurnOn()
		if got := append(marks(t, other, 0, 5), marks(t, other, size/SectorBytes-1, 1)...); !bytes.Equal(got, []byte{0, 0, 0, 1, 0, 2}) {
			t.Errorf("from %s the sectors are %v", name, got)
		}
	}
}

// slowReader gives little at a time.
type slowReader struct{ r io.Reader }

func (s *slowReader) Read(b []byte) (int, error) { return s.r.Read(b[:min(len(b), 1000)]) }
