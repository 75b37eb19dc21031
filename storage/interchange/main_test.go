package interchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"rookery/proto"
	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// protoContents is what cmd/rookery has too.
type protoContents struct{}

func (protoContents) Read(body []byte) ([]byte, bool, bool) { return proto.ReadContent(body) }

func (protoContents) Append(dst, value []byte, text bool) []byte {
	if text {
		return proto.AppendTextContent(dst, value)
	}
	return proto.AppendDataContent(dst, value)
}

func (protoContents) Reading(body []byte) string {
	reading, _ := proto.AppendContentJSON(nil, body)
	return string(reading)
}

func text(s string) []byte { return proto.AppendTextContent(nil, []byte(s)) }

const testDir = "/log"

// testLog is a log in memory with one importer's worth of helpers.
type testLog struct {
	*commitlog.Log
	t    testing.TB
	fsys vfs.FS
}

func openLog(t testing.TB, fsys vfs.FS) *testLog {
	t.Helper()
	log, err := commitlog.Open(commitlog.Config{FS: fsys, Dir: testDir, SegmentBytes: 64 << 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return &testLog{log, t, fsys}
}

// append appends records and waits for them.
func (l *testLog) append(records ...storage.Record) {
	l.t.Helper()
	done := make(chan error, len(records))
	producer := l.NewProducer(func(n int, err error) {
		for range n {
			done <- err
		}
	})
	waiting := 0
	for _, r := range records {
		for errors.Is(l.try(producer, r), storage.ErrFull) {
			if err := <-done; err != nil {
				l.t.Fatal(err)
			}
			waiting--
		}
		waiting++
	}
	for range waiting {
		if err := <-done; err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *testLog) try(producer *commitlog.Producer, r storage.Record) error {
	l.t.Helper()
	err := producer.Append(r)
	if err != nil && !errors.Is(err, storage.ErrFull) {
		l.t.Fatal(err)
	}
	return err
}

func (l *testLog) view() *commitlog.View {
	l.t.Helper()
	v, err := commitlog.OpenView(l.fsys, testDir)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = v.Close() })
	return v
}

func mustExport(t testing.TB, source Source, config ExportConfig) string {
	t.Helper()
	var out bytes.Buffer
	config.Contents = protoContents{}
	if _, err := Export(context.Background(), source, &out, config); err != nil {
		t.Fatalf("export: %v", err)
	}
	return out.String()
}

func (l *testLog) importFrom(file string, renumber bool) (ImportSummary, error) {
	l.t.Helper()
	return Import(context.Background(), l.Log, bytes.NewReader([]byte(file)), ImportConfig{
		Contents: protoContents{}, Existing: l.view(), Renumber: renumber,
	})
}

func (l *testLog) mustImport(file string) ImportSummary {
	l.t.Helper()
	s, err := l.importFrom(file, false)
	if err != nil {
		l.t.Fatalf("import: %v", err)
	}
	return s
}

// records gives all messages, in the log's order.
func records(t testing.TB, source Source) (all []storage.Record) {
	t.Helper()
	_, err := source.Scan(0, func(e commitlog.Entry) bool {
		if e.Stub {
			return true
		}
		all = append(all, storage.Record{
			Room: string([]byte(e.Record.Room)), Seq: e.Record.Seq, At: e.Record.At, From: string([]byte(e.Record.From)),
			Key: string([]byte(e.Record.Key)), Body: bytes.Clone(e.Record.Body),
		})
		return true
	}, func(err *storage.CorruptionError) { t.Errorf("damage: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// said gives the lines between header and footer, without the positions, which are a log's own.
func said(file string) []string {
	lines := strings.SplitAfter(file, "\n")
	lines = lines[1 : len(lines)-2]
	for i, line := range lines {
		if before, after, found := strings.Cut(line, `"position":`); found {
			_, after, _ = strings.Cut(after, ",")
			lines[i] = before + after
		}
	}
	return lines
}

func wantSame(t testing.TB, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d lines, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: line %d is\n%.400s want\n%.400s", what, i, got[i], want[i])
		}
	}
}

// fake is a source that says what it is told to: records at 10, 20, 30 …, damage before some of them.
type fake struct {
	entries []commitlog.Entry
	damage  map[int]string // by the index of the entry behind it
}

func (f *fake) LogID() uint64 { return 7 }
func (f *fake) Epoch() uint64 { return 0x7f3a }

func (f *fake) Scan(from int64, each func(commitlog.Entry) bool, damaged func(*storage.CorruptionError)) (int64, error) {
	next := from
	for i, e := range f.entries {
		e.Position = int64(10 * (i + 1))
		if e.Position < from {
			continue
		}
		if what, ok := f.damage[i]; ok && e.Position != from {
			damaged(&storage.CorruptionError{Path: "/log/00000000000000000000.log", Offset: e.Position, Err: errors.New(what)})
		}
		next = e.Position + 10
		if !each(e) {
			break
		}
	}
	return next, nil
}

func message(room string, seq uint64, body []byte) storage.Record {
	return storage.Record{Room: room, Seq: seq, At: 1_763_839_392_123 + int64(seq), From: "bob", Key: fmt.Sprint("k-", seq), Body: body}
}

func entry(room string, seq uint64) commitlog.Entry {
	return commitlog.Entry{Record: message(room, seq, text(fmt.Sprint("message ", seq)))}
}

func stub(room string, seq uint64) commitlog.Entry {
	return commitlog.Entry{Stub: true, Record: storage.Record{Room: room, Seq: seq}}
}

// kinds gives the short form of a file's lines that tests look at.
func kinds(t testing.TB, file string) []string {
	t.Helper()
	r := newReader(bytes.NewReader([]byte(file)), protoContents{})
	var all []string
	for {
		var l line
		switch err := r.next(&l); {
		case err != nil && len(all) > 0 && all[len(all)-1] == "footer":
			return all
		case err != nil:
			t.Fatalf("line %d: %v", r.lines+1, err)
		}
		short := kindNames[l.kind]
		switch l.kind {
		case kindMessage, kindSystem:
			short += fmt.Sprintf(" %s %d", l.Record.Room, l.Record.Seq)
		case kindBegin:
			short += fmt.Sprintf(" %s %d", l.Record.Room, l.First)
		case kindGap:
			short += fmt.Sprintf(" %s %d-%d", l.Record.Room, l.First, l.Last)
		}
		all = append(all, short)
	}
}

func wantKinds(t testing.TB, file string, want ...string) {
	t.Helper()
	if got := kinds(t, file); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
