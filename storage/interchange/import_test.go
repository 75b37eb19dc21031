package interchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// seed is random, or ROOKERY_SEED.
func seed(t *testing.T) *rand.Rand {
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("ROOKERY_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("repeat with ROOKERY_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// randomBytes gives bytes that are text, or not, or hold what JSON and terminals make something of.
func randomBytes(rng *rand.Rand, most int) []byte {
	alphabets := []string{"abc ", "\"\\/\n\t\x00\x1f\x7f", "é世😀\u2028\u202e\u0085", "\xff\xc3\xed\xa0\x80"}
	var b []byte
	for n := rng.IntN(most + 1); len(b) < n; {
		alphabet := alphabets[rng.IntN(len(alphabets))]
		if rng.IntN(3) == 0 {
			runes := []rune(alphabet)
			b = append(b, string(runes[rng.IntN(len(runes))])...)
		} else {
			b = append(b, alphabet[rng.IntN(len(alphabet))])
		}
		if rng.IntN(8) == 0 {
			b = append(b, byte(rng.Uint32()))
		}
	}
	return b[:min(len(b), most)]
}

func randomBody(rng *rand.Rand) []byte {
	switch rng.IntN(6) {
	case 0:
		return nil
	case 1:
		return content(randomBytes(rng, 300), false)
	case 2:
		return randomBytes(rng, 300)
	case 3:
		if rng.IntN(2000) == 0 {
			return bytes.Repeat([]byte{byte(rng.Uint32())}, storage.MaxBody)
		}
	}
	return content([]byte(strings.ToValidUTF8(string(randomBytes(rng, 300)), "?")), true)
}

func content(value []byte, text bool) []byte { return protoContents{}.Append(nil, value, text) }

// randomRecords makes a log's content: rooms with all kinds of names, some begin late, one is the system's.
func randomRecords(rng *rand.Rand, l *testLog, n int) {
	l.t.Helper()
	heads := map[string]uint64{}
	rooms := []string{"\x01catalog", "lobby", "r*", strings.Repeat("ü", 64), "\xff", string(randomBytes(rng, 127)) + "!"}
	users := []string{"alice", "bob \"b\"", "\xfe\xff", strings.Repeat("n", storage.MaxName)}
	var records []storage.Record
	for range n {
		room := rooms[rng.IntN(len(rooms))]
		if heads[room] == 0 && rng.IntN(3) == 0 || rng.IntN(200) == 0 {
			l.append(records...)
			records = nil
			first := heads[room] + 2 + rng.Uint64N(1000)
			if err := l.StartRoom(room, first); err != nil {
				l.t.Fatal(err)
			}
			heads[room] = first - 1
		}
		heads[room]++
		records = append(records, storage.Record{
			Room: room, Seq: heads[room], At: rng.Int64N(lastTime + 1), From: users[rng.IntN(len(users))],
			Key: string(randomBytes(rng, storage.MaxKey)), Body: randomBody(rng),
		})
	}
	l.append(records...)
}

// TestRoundTrip: what a log holds is the same behind an export and an import, and a second export says
// the same lines.
func TestRoundTrip(t *testing.T) {
	rng := seed(t)
	for round := range 4 {
		from, to := openLog(t, vfs.NewMemory()), openLog(t, vfs.NewMemory())
		randomRecords(rng, from, 200)
		if round == 0 {
			from.append(message("longest", 1, bytes.Repeat([]byte{0}, storage.MaxBody)), message("longest", 2, content(bytes.Repeat([]byte{1}, storage.MaxBody-4), true)))
		}
		file := mustExport(t, from.view(), ExportConfig{})
		s := to.mustImport(file)
		got, want := records(t, to.view()), records(t, from.view())
		if len(got) != len(want) || s.Present != 0 {
			t.Fatalf("%d records, want %d; %+v", len(got), len(want), s)
		}
		for i := range got {
			if !sameRecord(&got[i], &want[i]) {
				t.Fatalf("record %d is %+v, want %+v", i, got[i], want[i])
			}
		}
		for _, r := range want {
			if from.Head(r.Room) != to.Head(r.Room) || from.Begin(r.Room) != to.Begin(r.Room) {
				t.Fatalf("room %q is %d to %d, want %d to %d", r.Room, to.Begin(r.Room), to.Head(r.Room), from.Begin(r.Room), from.Head(r.Room))
			}
		}
		if from.Epoch() == to.Epoch() {
			t.Error("the import took over the epoch")
		}
		wantSame(t, "exported again", said(mustExport(t, to.view(), ExportConfig{})), said(file))

		// Once more does nothing.
		if s := to.mustImport(file); s.Appended != 0 || s.Present == 0 {
			t.Errorf("imported again: %+v", s)
		}
		wantSame(t, "imported again", said(mustExport(t, to.view(), ExportConfig{})), said(file))
	}
}

// TestImportAtEveryLine cuts an export behind any line, imports that, then the whole.
func TestImportAtEveryLine(t *testing.T) {
	rng := seed(t)
	from := openLog(t, vfs.NewMemory())
	randomRecords(rng, from, 40)
	file := mustExport(t, from.view(), ExportConfig{})
	lines := strings.SplitAfter(file, "\n")
	lines = lines[:len(lines)-1]
	for cut := range lines {
		to := openLog(t, vfs.NewMemory())
		part := strings.Join(lines[:cut], "")
		if cut > 0 && rng.IntN(2) == 0 {
			part += lines[cut][:rng.IntN(len(lines[cut])-1)]
		}
		first, err := to.importFrom(part, false)
		if err != ErrCutShort || first.Present != 0 {
			t.Fatalf("cut behind line %d: %+v, %v", cut, first, err)
		}
		second := to.mustImport(file)
		if second.Present != first.Appended || first.Appended+second.Appended != 40 {
			t.Fatalf("cut behind line %d: first %+v, then %+v", cut, first, second)
		}
		wantSame(t, fmt.Sprint("cut behind line ", cut), said(mustExport(t, to.view(), ExportConfig{})), said(file))
	}
}

// TestImportAfterACrash takes the power away while an import runs, and does it again.
func TestImportAfterACrash(t *testing.T) {
	rng := seed(t)
	from := openLog(t, vfs.NewMemory())
	randomRecords(rng, from, 500)
	file := mustExport(t, from.view(), ExportConfig{})
	for range 5 {
		memory := vfs.NewMemory()
		to := openLog(t, memory)
		stop := 1 + rng.IntN(500)
		var survivor *vfs.Memory
		_, err := Import(context.Background(), to.Log, &callback{in: strings.NewReader(file), after: stop, call: func() {
			survivor = memory.CrashClone(rng)
		}}, ImportConfig{Contents: protoContents{}})
		if err != nil {
			t.Fatal(err)
		}
		to = openLog(t, survivor)
		to.mustImport(file)
		wantSame(t, "after a crash", said(mustExport(t, to.view(), ExportConfig{})), said(file))
	}
}

// callback is a reader that gives few bytes at a time, and calls once in the middle.
type callback struct {
	in    *strings.Reader
	after int
	call  func()
}

func (c *callback) Read(b []byte) (int, error) {
	if c.after--; c.after == 0 || c.call != nil && c.in.Len() == 0 {
		c.call()
		c.call = nil
	}
	return c.in.Read(b[:min(len(b), 97)])
}

// TestImportTwoExports: an export from the end of another one goes on where that ended.
func TestImportTwoExports(t *testing.T) {
	rng := seed(t)
	from, to := openLog(t, vfs.NewMemory()), openLog(t, vfs.NewMemory())
	from.append(message("a", 1, nil), message("b", 1, nil), message("a", 2, nil))
	var first bytes.Buffer
	s, err := Export(context.Background(), from.view(), &first, ExportConfig{Contents: protoContents{}})
	if err != nil {
		t.Fatal(err)
	}
	from.append(message("b", 2, text("x")), message("c", 1, randomBody(rng)), message("a", 3, nil))
	second := mustExport(t, from.view(), ExportConfig{Start: s.End})
	wantKinds(t, second, "header", "begin b 2", "message b 2", "message c 1", "begin a 3", "message a 3", "footer")
	to.mustImport(first.String())
	to.mustImport(second)
	to.mustImport(first.String())
	to.mustImport(second)
	whole := mustExport(t, from.view(), ExportConfig{})
	wantSame(t, "both", said(mustExport(t, to.view(), ExportConfig{})), said(whole))

	// Without the first the second one has nothing to go on from; a room that the log has not begins there.
	other := openLog(t, vfs.NewMemory())
	other.append(message("a", 1, nil))
	_, err = other.importFrom(second, false)
	wantLineError(t, err, 5, `room "a" has records up to 1 in the log and begins at 3 in the file`)
	if other.Begin("b") != 2 || other.Head("b") != 2 || other.Head("a") != 1 {
		t.Errorf("b is %d to %d, a ends at %d", other.Begin("b"), other.Head("b"), other.Head("a"))
	}
}

func wantLineError(t *testing.T, err error, line uint64, what string) {
	t.Helper()
	wrong, ok := errors.AsType[*LineError](err)
	if !ok || wrong.Line != line || !strings.Contains(wrong.Err.Error(), what) {
		t.Errorf("got %v, want line %d: %s", err, line, what)
	}
}

// TestImportIntoOtherRooms: what the log has besides does not matter, wherever it stands.
func TestImportIntoOtherRooms(t *testing.T) {
	file := mustExport(t, &fake{entries: []commitlog.Entry{entry("a", 1), entry("a", 2), entry("b", 1), entry("a", 3)}}, ExportConfig{})
	to := openLog(t, vfs.NewMemory())
	b := entry("b", 1).Record
	to.append(message("z", 1, nil), b, message("z", 2, nil))
	if s := to.mustImport(file); s.Present != 1 || s.Appended != 3 || s.Rooms != 2 {
		t.Errorf("%+v", s)
	}
	to.append(message("z", 3, nil))
	// b stands before a in the log, so it is not ahead and is looked up.
	if s := to.mustImport(file); s.Present != 4 || s.Appended != 0 {
		t.Errorf("again: %+v", s)
	}
	// Without a view all are looked up.
	s, err := Import(context.Background(), to.Log, strings.NewReader(file), ImportConfig{Contents: protoContents{}})
	if err != nil || s.Present != 4 || s.Appended != 0 {
		t.Errorf("again without a view: %+v, %v", s, err)
	}
}

func TestImportRefusesAnotherHistory(t *testing.T) {
	file := mustExport(t, &fake{entries: []commitlog.Entry{entry("a", 1), entry("b", 1), entry("a", 2)}}, ExportConfig{})
	for what, change := range map[string]func(r *storage.Record){
		"time":    func(r *storage.Record) { r.At++ },
		"user":    func(r *storage.Record) { r.From = "alice" },
		"key":     func(r *storage.Record) { r.Key = "" },
		"content": func(r *storage.Record) { r.Body = nil },
	} {
		to := openLog(t, vfs.NewMemory())
		other := entry("b", 1).Record
		change(&other)
		to.append(other)
		s, err := to.importFrom(file, false)
		wantLineError(t, err, 3, `record 1 of room "b" is in the log already with another `+what)
		if s.Appended != 1 || to.Head("a") != 1 || to.Head("b") != 1 {
			t.Errorf("%s: %+v", what, s)
		}
	}
	// A room that begins later: there is nothing to compare with.
	to := openLog(t, vfs.NewMemory())
	if err := to.StartRoom("b", 3); err != nil {
		t.Fatal(err)
	}
	_, err := to.importFrom(file, false)
	wantLineError(t, err, 3, `room "b" begins at 3 in the log, so its record 1 can't be compared`)
}

func TestImportOfGaps(t *testing.T) {
	source := &fake{
		entries: []commitlog.Entry{entry("a", 1), entry("b", 1), entry("a", 4), entry("a", 5), entry("b", 2), entry("a", 9), entry("c", 7)},
		damage:  map[int]string{2: "torn"},
	}
	file := mustExport(t, source, ExportConfig{})
	to := openLog(t, vfs.NewMemory())
	_, err := to.importFrom(file, false)
	wantLineError(t, err, 5, `records 2 to 3 of room "a" are missing, the log that was exported is damaged`)
	for range 2 {
		s, err := to.importFrom(file, true)
		if err != nil || s.Closed != 11 {
			t.Fatalf("%+v, %v", s, err)
		}
		if to.Head("a") != 4 || to.Begin("a") != 1 || to.Head("b") != 2 || to.Begin("c") != 1 || to.Head("c") != 1 {
			t.Errorf("a ends at %d, b at %d, c at %d", to.Head("a"), to.Head("b"), to.Head("c"))
		}
	}
	wantKinds(t, mustExport(t, to.view(), ExportConfig{Filter: Filter{Rooms: []string{"a"}}}),
		"header", "message a 1", "message a 2", "message a 3", "message a 4", "footer")
}

// TestImportOfRoomsThatBeginAgain: retention took what is between, so nothing before is given.
func TestImportOfRoomsThatBeginAgain(t *testing.T) {
	file := mustExport(t, &fake{entries: []commitlog.Entry{
		entry("a", 1), entry("a", 2), entry("b", 1), entry("a", 9), stub("gone", 5), entry("a", 10), stub("b", 4),
	}}, ExportConfig{})
	to := openLog(t, vfs.NewMemory())
	for range 2 {
		to.mustImport(file)
		for room, want := range map[string][2]uint64{"a": {9, 10}, "b": {5, 4}, "gone": {6, 5}} {
			if to.Begin(room) != want[0] || to.Head(room) != want[1] {
				t.Errorf("%s is %d to %d, want %v", room, to.Begin(room), to.Head(room), want)
			}
		}
	}
	wantSame(t, "exported again", said(mustExport(t, to.view(), ExportConfig{})), said(file))
}

func TestImportRefusesUserExports(t *testing.T) {
	to := openLog(t, vfs.NewMemory())
	file := mustExport(t, &fake{entries: []commitlog.Entry{entry("a", 1)}}, ExportConfig{Filter: Filter{User: "bob"}})
	_, err := to.importFrom(file, true)
	wantLineError(t, err, 1, "it is for that user, not for an import")
}

// TestImportRefusesNumbersWithoutEnd: of a file that was made to do harm. Behind the largest number there is none.
func TestImportRefusesNumbersWithoutEnd(t *testing.T) {
	whole := mustExport(t, &fake{entries: []commitlog.Entry{entry("a", 1)}}, ExportConfig{})
	lines := strings.SplitAfter(whole, "\n")
	last := strings.Replace(lines[1], `"seq":1`, `"seq":18446744073709551615`, 1)
	for line, want := range map[string]string{
		`{"kind":"begin","room":"a","first":4503599627370497}`:            "at most 4503599627370496",
		`{"kind":"begin","room":"a","first":18446744073709551615}`:        "the last number is 9007199254740991",
		`{"kind":"gap","room":"a","first":1,"last":18446744073709551615}`: "the last number is 9007199254740991",
		strings.TrimSuffix(last, "\n"):                                    "the last one is 9007199254740991",
	} {
		for _, renumber := range []bool{false, true} {
			to := openLog(t, vfs.NewMemory())
			_, err := to.importFrom(lines[0]+line+"\n"+lines[1], renumber)
			wantLineError(t, err, 2, want)
			if head := to.Head("a"); head != 0 {
				t.Errorf("the room ends at %d", head)
			}
		}
	}
}

// TestImportRefusesTimesThatCannotBe: no client would get past such a message.
func TestImportRefusesTimesThatCannotBe(t *testing.T) {
	for at, taken := range map[int64]bool{0: true, lastTime: true, -1: false, lastTime + 1: false, math.MinInt64: false, math.MaxInt64: false} {
		strange := entry("a", 2)
		strange.Record.At = at
		to := openLog(t, vfs.NewMemory())
		_, err := to.importFrom(mustExport(t, &fake{entries: []commitlog.Entry{entry("a", 1), strange}}, ExportConfig{}), false)
		if taken && err != nil {
			t.Errorf("%d: %v", at, err)
		} else if !taken {
			wantLineError(t, err, 3, "from 1970 to 9999")
		}
		want := uint64(1)
		if taken {
			want = 2
		}
		if head := to.Head("a"); head != want {
			t.Errorf("%d: the room ends at %d, want %d", at, head, want)
		}
	}
}

// TestImportRefusesLinesOutOfOrder: a file that was edited.
func TestImportRefusesLinesOutOfOrder(t *testing.T) {
	begin := `{"kind":"begin","room":"a","first":2}` + "\n"
	whole := mustExport(t, &fake{entries: []commitlog.Entry{entry("a", 1), entry("a", 2), entry("b", 1)}}, ExportConfig{})
	lines := strings.SplitAfter(whole, "\n")
	for _, c := range []struct {
		lines []string
		line  uint64
		want  string
	}{
		{[]string{lines[0], lines[2]}, 2, `record 2 of room "a" follows record 0`},
		{[]string{lines[0], lines[1], lines[1]}, 3, `record 1 of room "a" stands behind record 1`},
		{[]string{lines[0], lines[1], lines[2], begin}, 4, `room "a" begins at 2 behind its record 2`},
	} {
		to := openLog(t, vfs.NewMemory())
		_, err := to.importFrom(strings.Join(c.lines, ""), false)
		wantLineError(t, err, c.line, c.want)
	}
	to := openLog(t, vfs.NewMemory())
	_, err := to.importFrom(strings.Replace(whole, "message 2", "message 3", 1), false)
	wantLineError(t, err, 5, "the file is not as it was exported")
	if to.Head("a") != 2 || to.Head("b") != 1 {
		t.Error("what stands before the footer was not imported")
	}
}

func TestImportInterrupted(t *testing.T) {
	from, to := openLog(t, vfs.NewMemory()), openLog(t, vfs.NewMemory())
	randomRecords(seed(t), from, 2500)
	file := mustExport(t, from.view(), ExportConfig{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	config := ImportConfig{Contents: protoContents{}, Progress: func(int64, ImportSummary) { cancel() }}
	s, err := Import(ctx, to.Log, strings.NewReader(file), config)
	if !errors.Is(err, context.Canceled) || s.Appended == 0 || s.Appended == 2500 {
		t.Fatalf("%+v, %v", s, err)
	}
	if got := records(t, to.view()); uint64(len(got)) < s.Appended {
		t.Errorf("%d records are in the log, %d were appended", len(got), s.Appended)
	}
	to.mustImport(file)
	wantSame(t, "again", said(mustExport(t, to.view(), ExportConfig{})), said(file))
}

// TestImportOnAFullDisk ends with the disk's error, and goes on when there is room.
func TestImportOnAFullDisk(t *testing.T) {
	from := openLog(t, vfs.NewMemory())
	randomRecords(seed(t), from, 500)
	file := mustExport(t, from.view(), ExportConfig{})
	memory := vfs.NewMemory()
	faulty := vfs.Faulty(memory, vfs.Fault{Operation: vfs.OpWrite, Call: 9, Err: errNoRoom})
	log, err := commitlog.Open(commitlog.Config{FS: faulty, Dir: testDir, HealEvery: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	config := ImportConfig{Contents: protoContents{}}
	_, err = Import(context.Background(), log, strings.NewReader(file), config)
	if _, ok := errors.AsType[*storage.FaultError](err); !ok || !errors.Is(err, errNoRoom) {
		t.Errorf("got %v", err)
	}
	if err := log.Close(); !errors.Is(err, errNoRoom) {
		t.Errorf("close: %v", err)
	}
	to := openLog(t, memory)
	to.mustImport(file)
	wantSame(t, "again", said(mustExport(t, to.view(), ExportConfig{})), said(file))
}

// TestImportBeginsARoomWhereTheQueueIsFull: it waits for room, as with a record.
func TestImportBeginsARoomWhereTheQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, err := commitlog.Open(commitlog.Config{
			FS: slowSyncs{vfs.NewMemory()}, Dir: testDir, QueueBytes: 2 << 20, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		half := bytes.Repeat([]byte("x"), 1<<20-220)
		file := mustExport(t, &fake{entries: []commitlog.Entry{
			{Record: message("a", 1, text(string(half)))}, {Record: message("a", 2, text(string(half)))}, stub("gone", 5), entry("b", 1),
		}}, ExportConfig{})
		if _, err := Import(t.Context(), log, strings.NewReader(file), ImportConfig{Contents: protoContents{}}); err != nil || log.Begin("gone") != 6 {
			t.Errorf("the room begins at %d: %v", log.Begin("gone"), err)
		}
	})
}

// slowSyncs takes a second for a sync of a file.
type slowSyncs struct{ vfs.FS }

func (s slowSyncs) Create(path string) (vfs.File, error) {
	file, err := s.FS.Create(path)
	return slowFile{file}, err
}

type slowFile struct{ vfs.File }

func (f slowFile) Sync() error {
	time.Sleep(time.Second)
	return f.File.Sync()
}

// FuzzImport: whatever of a file goes into a log comes out of it, and into another one, as it is; and a file that ended early is gone on
// with. The input is lines of two bytes, what and a number; a file of the first lines is imported before that of all.
func FuzzImport(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 0, 2, 3, 9, 0, 9, 1, 2, 2, 1}, byte(3), false)
	f.Add([]byte{0, 2, 4, 3, 0, 7, 3, 9, 0, 9}, byte(4), true)
	head := strings.SplitAfter(mustExport(f, &fake{}, ExportConfig{}), "\n")[0]
	f.Fuzz(func(t *testing.T, in []byte, cut byte, renumber bool) {
		lines := head
		early := lines
		for n := 0; len(in) >= 2; in, n = in[2:], n+1 {
			if n == int(cut) {
				early = lines
			}
			lines += importLine(in[0], uint64(in[1]%32))
		}
		atOnce, inTwo, again := openLog(t, vfs.NewMemory()), openLog(t, vfs.NewMemory()), openLog(t, vfs.NewMemory())
		s, want := atOnce.importFrom(lines, renumber)
		if got := uint64(len(records(t, atOnce.view()))); got != s.Appended {
			t.Fatalf("%d records are in the log, %d were appended", got, s.Appended)
		}
		file := mustExport(t, atOnce.view(), ExportConfig{})
		_, _ = inTwo.importFrom(early, renumber)
		if _, err := inTwo.importFrom(lines, renumber); fmt.Sprint(err) != fmt.Sprint(want) {
			t.Errorf("in two parts it ends with %v, at once with %v", err, want)
		}
		wantSame(t, "imported in two parts", said(mustExport(t, inTwo.view(), ExportConfig{})), said(file))
		again.mustImport(file)
		wantSame(t, "exported again", said(mustExport(t, again.view(), ExportConfig{})), said(file))
	})
}

// importLine makes a line of two rooms or the system's.
func importLine(what byte, number uint64) string {
	room := string(rune('a' + what/8%2))
	l := line{kind: kindMessage, Position: 64, Record: message(room, number, text(fmt.Sprint("message ", number)))}
	switch what % 8 {
	case 3:
		l = line{kind: kindBegin, Record: storage.Record{Room: room}, First: number}
	case 4:
		l = line{kind: kindGap, Record: storage.Record{Room: room}, First: number, Last: number + 2}
	case 5:
		l.kind, l.Record.Room = kindSystem, "\x01catalog"
	case 6:
		return `{"kind":"x-note"}` + "\n"
	}
	e := encoder{contents: protoContents{}}
	return string(e.append(nil, &l))
}
