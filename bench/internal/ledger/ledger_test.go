package ledger

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func TestStampIsFoundWhereverItIs(t *testing.T) {
	f := NewFinder(0xdeadbeef)
	want := Stamp{Run: 0, User: 4_000_000_000, Room: 77, Seq: 1, Due: 1<<62 + 5}
	for _, size := range []int{StampBytes, StampBytes + 1, 128, 4096} {
		body := f.Append([]byte("x"), want, size)[1:]
		if len(body) != size {
			t.Errorf("a body of %d bytes has %d", size, len(body))
		}
		if strings.ContainsAny(string(body), "\"\\\n\r\t{}") || strings.ContainsFunc(string(body), func(r rune) bool { return r > 126 || r < 32 }) {
			t.Errorf("a body has bytes that a text form has to escape: %q", body)
		}
		for _, around := range [][2]string{{"", ""}, {`42["message",{"room":"a","body":"`, `"}]`}, {"rb1.deadbee", ""}} {
			got, ok := f.Find([]byte(around[0] + string(body) + around[1]))
			if !ok || got != want {
				t.Errorf("in %q of %d bytes %v, %+v was found, want %+v", around, size, ok, got, want)
			}
		}
	}
}

func TestWhatIsNoStamp(t *testing.T) {
	f := NewFinder(1)
	good := string(f.Append(nil, Stamp{User: 1, Seq: 1, Due: 1}, StampBytes))
	for _, bad := range []string{
		"", "rb1.", good[:StampBytes-1], string(NewFinder(2).Append(nil, Stamp{}, 100)),
		good[:20] + "x" + good[21:], good[:StampBytes-16] + strings.Repeat("f", 16),
	} {
		if s, ok := f.Find([]byte(bad)); ok {
			t.Errorf("%q was taken for %+v", bad, s)
		}
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	f := NewFinder(1)
	body := f.Append(nil, Stamp{User: 1, Seq: 1, Due: 1}, 128)
	if n := testing.AllocsPerRun(100, func() { f.Find(body) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzFind(f *testing.F) {
	finder := NewFinder(7)
	f.Add(finder.Append(nil, Stamp{User: 1, Room: 2, Seq: 3, Due: 4}, 128))
	f.Add([]byte("rb1.00000007rb1.00000007"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if s, ok := finder.Find(body); ok {
			if again, ok := finder.Find(finder.Append(nil, s, StampBytes)); !ok || again != s {
				t.Errorf("%+v written and read is %+v", s, again)
			}
		}
	})
}

// TestTrackAgainstASet: drops, repetitions and swaps, each outcome as a set of all numbers would tell it.
func TestTrackAgainstASet(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		base := uint64(random.IntN(3) * 100)
		var track Track
		track.Start(base)
		seen, last := map[uint64]bool{}, base
		for range 200 {
			seq := base + 1 + uint64(random.IntN(120))
			if random.IntN(2) == 0 {
				seq = last + 1
			}
			want := Late
			switch {
			case seen[seq]:
				want = Duplicate
			case seq == last+1:
				want = Next
			case seq > last:
				want = Ahead
			}
			if got := track.Take(seq); got != want {
				t.Fatalf("seed %d: %d after %d is %v, want %v", seed, seq, last, got, want)
			}
			seen[seq], last = true, max(last, seq)
			if missing := last - base - uint64(len(seen)); track.Missing() != missing || track.Last() != last {
				t.Fatalf("seed %d: missing %d and last %d, want %d and %d", seed, track.Missing(), track.Last(), missing, last)
			}
			if random.IntN(20) == 0 {
				first := base + 1 + uint64(random.IntN(130))
				until := first + uint64(random.IntN(10))
				track.Excuse(first, until)
				for n := first; n <= until; n++ {
					seen[n] = true
				}
				last = max(last, until)
				if missing := last - base - uint64(len(seen)); track.Missing() != missing || track.Last() != last {
					t.Fatalf("seed %d: %d to %d excused: missing %d and last %d, want %d and %d", seed, first, until, track.Missing(), track.Last(), missing, last)
				}
			}
		}
	}
}

// TestExcuseOfAnyLength: how long the range is that a server calls gone costs nothing.
func TestExcuseOfAnyLength(t *testing.T) {
	var track Track
	for _, seq := range []uint64{1, 5, 1 << 40} {
		track.Take(seq)
	}
	track.Excuse(3, 1<<40-3)
	if track.Missing() != 3 || track.Last() != 1<<40 {
		t.Errorf("missing %d and last %d, want 3: the second and the two below the last", track.Missing(), track.Last())
	}
	track.Excuse(9, 8)
	if track.Missing() != 3 {
		t.Errorf("an empty range changed what is missing to %d", track.Missing())
	}
	track.Excuse(1, math.MaxUint64)
	if track.Missing() != 0 || track.Last() != math.MaxUint64 {
		t.Errorf("missing %d and last %d after everything was excused", track.Missing(), track.Last())
	}
}

func TestNumbersBeforeTheBaseAreRepetitions(t *testing.T) {
	var a Account
	a.Open(50)
	if got := a.Take(50); got != Duplicate {
		t.Errorf("the number at the base is %v", got)
	}
	if got := a.Take(51); got != Next || a.Got != 1 {
		t.Errorf("the number behind the base is %v, got %d", got, a.Got)
	}
}

// TestUntakenAgainstASet: what is missing and was taken is missing, whatever of it is one hole.
func TestUntakenAgainstASet(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 0))
		var a Account
		a.Open(0)
		var untaken Untaken
		last, want := [2]uint64{}, [2]map[uint64]bool{{}, {}} // numbers that did not come and were taken
		refused := [2]map[uint64]bool{{}, {}}
		for range 300 {
			user := random.IntN(2)
			seq := last[user] + 1
			last[user] = seq
			switch n := random.IntN(10); {
			case n < 5:
				a.TakeFrom(uint32(user), seq, true)
			case n < 8:
				refused[user][seq] = true
				untaken.Add(Number{uint32(user), uint32(seq)})
				untaken.Add(Number{uint32(user), uint32(seq)})
			default:
				want[user][seq] = true
			}
		}
		missing := uint64(0)
		for user := range want {
			a.TakeFrom(uint32(user), last[user]+1, true)
			missing += uint64(len(want[user]))
		}
		if got := a.Missing(&untaken); got != missing {
			t.Fatalf("seed %d: %d are missing, want %d; refused were %v", seed, got, missing, refused)
		}
	}
}

func TestAccountBySenders(t *testing.T) {
	nobody := &Untaken{}
	var a Account
	a.Open(0)
	for _, c := range []struct {
		user uint32
		seq  uint64
		want Outcome
	}{{1, 1, Next}, {2, 1, Next}, {1, 3, Ahead}, {2, 2, Next}, {1, 2, Late}, {1, 2, Duplicate}, {3, 2, Ahead}} {
		if got := a.TakeFrom(c.user, c.seq, true); got != c.want {
			t.Errorf("number %d of sender %d is %v, want %v", c.seq, c.user, got, c.want)
		}
	}
	if a.Got != 6 || a.Missing(nobody) != 1 {
		t.Errorf("got %d, missing %d; want 6 and the first of sender 3", a.Got, a.Missing(nobody))
	}
	var late Account
	late.Open(1)
	if got := late.TakeFrom(9, 500, false); got != Next || late.Missing(nobody) != 0 {
		t.Errorf("the first that a late member gets is %v, missing %d", got, late.Missing(nobody))
	}
}

// BenchmarkTakeFrom is a message of a room in which so many send, one after the other: its cost must not grow with them.
func BenchmarkTakeFrom(b *testing.B) {
	for _, senders := range []uint32{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d senders", senders), func(b *testing.B) {
			var a Account
			a.Open(0)
			for user := range senders {
				a.TakeFrom(user, 1, true)
			}
			user, seq := uint32(0), uint64(2)
			for b.Loop() {
				if a.TakeFrom(user, seq, true) != Next {
					b.Fatal("a message was not the next one")
				}
				if user++; user == senders {
					user, seq = 0, seq+1
				}
			}
		})
	}
}

// TestSendersInAnyOrder: each is found again, wherever it was first seen among the others.
func TestSendersInAnyOrder(t *testing.T) {
	const senders = 500
	var a Account
	a.Open(0)
	for seq := uint64(1); seq <= 3; seq++ {
		for _, user := range rand.New(rand.NewPCG(seq, 0)).Perm(senders) {
			if got := a.TakeFrom(uint32(user), seq, true); got != Next {
				t.Fatalf("number %d of sender %d is %v", seq, user, got)
			}
		}
	}
	if a.Got != 3*senders || len(*a.senders) != senders {
		t.Errorf("got %d of %d senders, want %d of %d", a.Got, len(*a.senders), 3*senders, senders)
	}
}

// TestHexWordOfEachByte: a digit is read for what it is wherever it stands, and no other byte is taken for one.
func TestHexWordOfEachByte(t *testing.T) {
	for at := range 8 {
		for b := range 256 {
			text := []byte("04a9f0c7")
			text[at] = byte(b)
			want, err := strconv.ParseUint(string(text), 16, 32)
			isDigit := err == nil && strings.ToLower(string(text)) == string(text)
			got, ok := hexWord(binary.BigEndian.Uint64(text))
			if ok != isDigit || ok && got != want {
				t.Errorf("%q is %08x, %v; want %08x, %v", text, got, ok, want, isDigit)
			}
		}
	}
}

func BenchmarkFind(b *testing.B) {
	f := NewFinder(7)
	body := f.Append(nil, Stamp{User: 4711, Room: 42, Seq: 17, Due: 1 << 50}, 128)
	for b.Loop() {
		f.Find(body)
	}
}
