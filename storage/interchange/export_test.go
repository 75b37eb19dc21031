package interchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

func TestExportFollowsRooms(t *testing.T) {
	source := &fake{entries: []commitlog.Entry{
		entry("a", 1),
		entry("b", 5), // the ones before are gone
		entry("\x01catalog", 1),
		entry("a", 2),
		stub("gone", 9), // all are gone
		entry("a", 7),   // those between are gone, and so are those before
		stub("a", 7),    // told already
		entry("gone", 10),
		stub("b", 8),
	}}
	wantKinds(t, mustExport(t, source, ExportConfig{}),
		"header", "message a 1", "begin b 5", "message b 5", "system \x01catalog 1", "message a 2", "begin gone 10",
		"begin a 7", "message a 7", "message gone 10", "begin b 9", "footer")
	wantKinds(t, mustExport(t, source, ExportConfig{Filter: Filter{Rooms: []string{"a", "go*"}}}),
		"header", "message a 1", "message a 2", "begin gone 10", "begin a 7", "message a 7", "message gone 10", "footer")
	wantKinds(t, mustExport(t, source, ExportConfig{Filter: Filter{Rooms: []string{"*"}}}),
		"header", "message a 1", "begin b 5", "message b 5", "message a 2", "begin gone 10",
		"begin a 7", "message a 7", "message gone 10", "begin b 9", "footer")
	wantKinds(t, mustExport(t, source, ExportConfig{Filter: Filter{User: "bob"}}),
		"header", "message a 1", "message b 5", "message a 2", "message a 7", "message gone 10", "footer")
	wantKinds(t, mustExport(t, source, ExportConfig{Filter: Filter{User: "bob", Rooms: []string{"b"}}}), "header", "message b 5", "footer")
	wantKinds(t, mustExport(t, source, ExportConfig{Filter: Filter{User: "alice"}}), "header", "footer")
	wantKinds(t, mustExport(t, source, ExportConfig{Start: 60}),
		"header", "begin a 7", "message a 7", "begin gone 10", "message gone 10", "begin b 9", "footer")
}

func TestExportSaysWhatIsDamaged(t *testing.T) {
	source := &fake{
		entries: []commitlog.Entry{entry("a", 1), entry("a", 4), entry("b", 3), entry("b", 2), stub("c", 7)},
		damage:  map[int]string{1: "checksum of a record header does not match"},
	}
	file := mustExport(t, source, ExportConfig{})
	wantKinds(t, file, "header", "message a 1", "damaged", "gap a 2-3", "message a 4", "gap b 1-2", "message b 3", "damaged", "begin c 8", "footer")
	for _, want := range []string{
		`{"kind":"damaged","file":"00000000000000000000.log","offset":20,"what":"checksum of a record header does not match"}`,
		`{"kind":"damaged","room":"b","what":"record 2 stands behind record 3 of the room"}`,
		`"damaged":2,`,
	} {
		if !strings.Contains(file, want) {
			t.Errorf("%s is missing in\n%s", want, file)
		}
	}
}

// TestExportForms writes each form of a body and of names.
func TestExportForms(t *testing.T) {
	for _, c := range []struct {
		record storage.Record
		want   string
	}{
		{message("a", 1, text("hi \"you\"\n\u009b\u2028\u202eé")), `"key":"k-1","text":"hi \"you\"\n\u009b\u2028\u202eé"}`},
		{message("a", 1, text("")), `"text":""}`},
		{message("a", 1, []byte{0x32, 2, 0xff, 0}), `"data":"/wA="}`},
		{message("a", 1, []byte{0x2a, 1, 0xff}), `"body":"KgH/"}`}, // a text that is not UTF-8
		{message("a", 1, nil), `"body":""}`},
		{message("\x01catalog", 1, text("x")), `{"kind":"system","position":10,"room":"\u0001catalog","seq":1,"at":1763839392124,"from":"bob","key":"k-1","body":"KgF4"}`},
		{storage.Record{Room: "r\xff", Seq: 1, At: -5, From: "\xfe", Key: "\xfd"}, `"roomBase64":"cv8=","seq":1,"at":-5,"fromBase64":"/g==","keyBase64":"/Q==","body":""}`},
		{storage.Record{Room: "r", Seq: 1, From: "u"}, `"room":"r","seq":1,"at":0,"from":"u","body":""}`},
	} {
		file := mustExport(t, &fake{entries: []commitlog.Entry{{Record: c.record}}}, ExportConfig{})
		if !strings.Contains(file, c.want+"\n") {
			t.Errorf("%s is missing in\n%s", c.want, file)
		}
	}
}

// TestExportHidesTheLogID: who knows it can make a message body that looks like a record.
func TestExportHidesTheLogID(t *testing.T) {
	name := logName(0xfedcba9876543210)
	if len(name) != 16 || strings.Contains(name, "fedc") || name == logName(0xfedcba9876543211) {
		t.Errorf("log is named %s", name)
	}
}

// TestExportWhileWriting exports again and again what a writer appends: each is a beginning of the
// last one.
func TestExportWhileWriting(t *testing.T) {
	l := openLog(t, vfs.NewMemory())
	var exports [][]string
	for i := range 100 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			var batch []storage.Record
			for k := range uint64(50) {
				batch = append(batch, message(fmt.Sprint("room-", k%7), 1, nil))
			}
			seqs := map[string]uint64{}
			for j := range batch {
				r := &batch[j]
				if seqs[r.Room] == 0 {
					seqs[r.Room] = l.Head(r.Room)
				}
				seqs[r.Room]++
				r.Seq, r.Body = seqs[r.Room], text(fmt.Sprint("message ", r.Seq))
			}
			l.append(batch...)
		}()
		if i%10 == 0 {
			exports = append(exports, said(mustExport(t, l.view(), ExportConfig{})))
		}
		<-done
	}
	whole := said(mustExport(t, l.view(), ExportConfig{}))
	if len(whole) != 100*50 {
		t.Fatalf("%d messages in the last export", len(whole))
	}
	for i, lines := range exports {
		wantSame(t, fmt.Sprint("export ", i), lines, whole[:len(lines)])
	}
}

func TestExportInterrupted(t *testing.T) {
	source := &fake{}
	for seq := range uint64(10_000) {
		source.entries = append(source.entries, entry("a", seq+1))
	}
	ctx, cancel := context.WithCancel(context.Background())
	config := ExportConfig{Contents: protoContents{}, Progress: func(_ int64, s ExportSummary) {
		if s.Messages > 5000 {
			cancel()
		}
	}}
	file := &memoryFile{}
	if _, err := Export(ctx, source, file, config); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if n := strings.Count(string(file.data), "\n"); n < 5000 || n > 9000 || file.data[len(file.data)-1] != '\n' {
		t.Fatalf("%d lines were written, %q is the end", n, file.data[len(file.data)-20:])
	}
	config.Progress = nil
	if _, err := Resume(context.Background(), source, file, config); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "resumed", said(string(file.data)), said(mustExport(t, source, ExportConfig{})))
}

type failingWriter struct{ left int }

var errNoRoom = errors.New("no space left on device")

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errNoRoom
	}
	return len(b), nil
}

func TestExportTellsAFailedWrite(t *testing.T) {
	source := &fake{}
	for seq := range uint64(10_000) {
		source.entries = append(source.entries, entry("a", seq+1))
	}
	for _, room := range []int{0, 100, writeBytes, 2 * writeBytes} {
		_, err := Export(context.Background(), source, &failingWriter{left: room}, ExportConfig{Contents: protoContents{}})
		if !errors.Is(err, errNoRoom) {
			t.Errorf("room for %d bytes: got %v", room, err)
		}
	}
}

// memoryFile is a file that is gone on with.
type memoryFile struct {
	data []byte
	at   int64
}

func (f *memoryFile) Read(b []byte) (int, error) {
	if f.at == int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[f.at:])
	f.at += int64(n)
	return n, nil
}

func (f *memoryFile) Write(b []byte) (int, error) {
	f.data = append(f.data[:f.at], b...)
	f.at += int64(len(b))
	return len(b), nil
}

func (f *memoryFile) Seek(offset int64, _ int) (int64, error) {
	f.at = offset
	return offset, nil
}

func (f *memoryFile) Truncate(size int64) error {
	f.data = f.data[:size]
	return nil
}

// TestResumeExportAnywhere cuts an export behind each line and somewhere in each, and what is made of it is
// the whole again.
func TestResumeExportAnywhere(t *testing.T) {
	rng := seed(t)
	source := &fake{
		entries: []commitlog.Entry{
			entry("a", 1), entry("b", 5), entry("\x01catalog", 1), entry("a", 2), stub("gone", 9), entry("a", 7),
			entry("gone", 10), entry("a", 9), stub("b", 8), stub("last", 3),
		},
		damage: map[int]string{7: "torn", 9: "lost"},
	}
	for _, filter := range []Filter{{}, {Rooms: []string{"a"}}, {User: "bob"}} {
		config := ExportConfig{Filter: filter, Contents: protoContents{}}
		whole := mustExport(t, source, config)
		first := strings.Index(whole, "\n") + 1
		for cut := first; cut < len(whole)-1; cut += 1 + rng.IntN(40) {
			if rng.IntN(2) == 0 { // behind this line
				cut += strings.Index(whole[cut:], "\n") + 1
				cut = min(cut, strings.LastIndex(whole[:len(whole)-1], "\n")+1)
			}
			file := &memoryFile{data: []byte(whole[:cut])}
			summary, err := Resume(context.Background(), source, file, config)
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			// The header has the time of its own export.
			if string(file.data) != whole {
				t.Fatalf("cut at %d: got\n%s want\n%s", cut, file.data, whole)
			}
			if summary.Bytes != int64(len(whole)) || summary.End != 110 {
				t.Fatalf("cut at %d: summary %+v", cut, summary)
			}
		}
		file := &memoryFile{}
		if _, err := Resume(context.Background(), source, file, config); err != nil {
			t.Fatal(err)
		}
		wantSame(t, "from nothing", said(string(file.data)), said(whole))
		// The last line is whole without its line feed too.
		for _, complete := range []string{whole, whole[:len(whole)-1]} {
			file = &memoryFile{data: []byte(complete)}
			summary, err := Resume(context.Background(), source, file, config)
			if err != ErrComplete || summary.End != 110 || string(file.data) != complete {
				t.Errorf("a complete one: %+v, %v", summary, err)
			}
		}
	}
}

// TestResumeExportInALogThatWentOn: what was cut off is another now, and nothing is lost or doubled.
func TestResumeExportInALogThatWentOn(t *testing.T) {
	source := &fake{entries: []commitlog.Entry{entry("a", 1), entry("a", 2), entry("a", 3)}}
	config := ExportConfig{Contents: protoContents{}}
	whole := mustExport(t, source, config)
	cut := whole[:strings.Index(whole, `{"kind":"footer"`)]
	for seq := range uint64(5) {
		source.entries = append(source.entries, entry("a", 4+seq))
	}
	file := &memoryFile{data: []byte(cut)}
	if _, err := Resume(context.Background(), source, file, config); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "resumed", said(string(file.data)), said(mustExport(t, source, config)))

	// Retention took the record that the file ends with, and more.
	source.entries[1], source.entries[2], source.entries[3] = stub("x", 1), stub("x", 2), stub("x", 3)
	file = &memoryFile{data: []byte(cut[:strings.Index(cut, `{"kind":"message","position":30`)])}
	source.entries[1] = entry("y", 1)
	if _, err := Resume(context.Background(), source, file, config); !errors.Is(err, ErrOtherExport) {
		t.Errorf("another record at the position: %v", err)
	}
	file = &memoryFile{data: []byte(cut)}
	if _, err := Resume(context.Background(), source, file, config); err != nil {
		t.Fatal(err)
	}
	wantKinds(t, string(file.data), "header", "message a 1", "message a 2", "message a 3", "begin x 4",
		"begin a 5", "message a 5", "message a 6", "message a 7", "message a 8", "footer")
}

func TestResumeExportRefuses(t *testing.T) {
	source := &fake{entries: []commitlog.Entry{entry("a", 1), entry("a", 2)}}
	whole := mustExport(t, source, ExportConfig{})
	cut := strings.Index(whole, `{"kind":"footer"`)
	for name, c := range map[string]struct {
		old, new string
		config   ExportConfig
		want     error
	}{
		"another log":     {old: `"log":"`, new: `"log":"0`, want: ErrOtherExport},
		"another epoch":   {old: `"epoch":"7f3a"`, new: `"epoch":"7f3b"`, want: ErrOtherExport},
		"another start":   {config: ExportConfig{Start: 10}, want: ErrOtherExport},
		"other rooms":     {config: ExportConfig{Filter: Filter{Rooms: []string{"a"}}}, want: ErrOtherExport},
		"another user":    {config: ExportConfig{Filter: Filter{User: "bob"}}, want: ErrOtherExport},
		"another message": {old: "message 2", new: "message 3", want: ErrOtherExport},
		"no header":       {old: `{"kind":"header"`, new: `{"kind":"heder"`, want: errNoHeader},
	} {
		data := []byte(strings.Replace(whole[:cut], c.old, c.new, 1))
		file := &memoryFile{data: bytes.Clone(data)}
		c.config.Contents = protoContents{}
		if _, err := Resume(context.Background(), source, file, c.config); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if !bytes.Equal(file.data, data) {
			t.Errorf("%s: the file was changed to\n%s", name, file.data)
		}
	}
}
