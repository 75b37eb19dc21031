package commitlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rookery/storage"
)

var update = flag.Bool("update", false, "write the golden vectors anew; a change of them is a change of the format")

const (
	goldenLogID = 0x0123456789abcdef
	goldenEpoch = 0xfedcba9876543210
)

// golden is one vector: name, reading, bytes.
type golden struct {
	name, reading string
	bytes         []byte
}

func goldens() []golden {
	s := newSeal(goldenLogID)
	m := meta{logID: goldenLogID, epoch: goldenEpoch, synced: 4096, state: stateClosed}
	hello := storage.Record{Room: "lobby", Seq: 1, At: 1763839392123, From: "bob", Key: "a1-0001", Body: []byte("hi")}
	bare := storage.Record{Room: "ü", Seq: 7, At: -1, From: "é"}
	ignorable := appendRecord(nil, s, 500, &hello, 0, links{total: 77})
	ignorable[12] = ignorableBit | 5
	binary.LittleEndian.PutUint32(ignorable, s.headerChecksum(500, ignorable))
	return []golden{
		{"meta", "log 0123456789abcdef, epoch fedcba9876543210, synced 4096, closed", m.encode()},
		{"segment-header", "log 0123456789abcdef, position 4096, raw, behind 1024", encodeSegmentHeader(goldenLogID, segmentHeader{base: 4096, previous: 1024})},
		{"record-first", "position 64, unsynced 0, room lobby, seq 1, at 1763839392123, from bob, key a1-0001, body hi, no pointers, total 77", appendRecord(nil, s, 64, &hello, 0, links{total: 77})},
		{"record-bare", "position 1000, unsynced 300, room ü, seq 7, at -1, from é, no key, no body, previous 900, no skip, total 5000", appendRecord(nil, s, 1000, &bare, 300, links{900, 0, 5000})},
		{"segment-header-packed", "log 0123456789abcdef, position 4096 to 90000, behind 1024, rewritten 3 times", encodeSegmentHeader(goldenLogID, segmentHeader{base: 4096, end: 90000, previous: 1024, generation: 3})},
		{"record-stub", "position 2000, unsynced 0, room lobby, seq 9, at 1763839392123, total 900", appendStub(nil, s, 2000, &storage.Record{Room: "lobby", Seq: 9, At: 1763839392123, From: "bob", Body: []byte("gone")}, 0, 900)},
		{"record-ignorable", "position 500, kind 0x85, a reader skips it", ignorable},
	}
}

// TestGoldenVectors pins the bytes of every part of the format.
func TestGoldenVectors(t *testing.T) {
	path := filepath.Join("testdata", "format.txt")
	var out strings.Builder
	for _, g := range goldens() {
		fmt.Fprintf(&out, "%s: %s\n%s\n", g.name, g.reading, hex.EncodeToString(g.bytes))
	}
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the format changed:\ngot\n%swant\n%s", out.String(), want)
	}
}

// readGoldens gives the bytes in the file, by name, so that decoding is tested against the
// file and not against today's encoder.
func readGoldens(t testing.TB) map[string][]byte {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "format.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	vectors := map[string][]byte{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, _, _ := strings.Cut(lines.Text(), ":")
		lines.Scan()
		if vectors[name], err = hex.DecodeString(lines.Text()); err != nil {
			t.Fatal(err)
		}
	}
	return vectors
}

func TestDecodeGoldenVectors(t *testing.T) {
	vectors := readGoldens(t)
	m, err := decodeMeta(vectors["meta"])
	if want := (meta{logID: goldenLogID, epoch: goldenEpoch, synced: 4096, state: stateClosed}); err != nil || m != want {
		t.Errorf("meta: got %+v, %v, want %+v", m, err, want)
	}
	if h, err := decodeSegmentHeader(vectors["segment-header"], goldenLogID, 4096); err != nil || h != (segmentHeader{base: 4096, previous: 1024}) {
		t.Errorf("segment header: %+v, %v", h, err)
	}
	if h, err := decodeSegmentHeader(vectors["segment-header-packed"], goldenLogID, 4096); err != nil || h != (segmentHeader{base: 4096, end: 90000, previous: 1024, generation: 3}) {
		t.Errorf("header of a packed segment: %+v, %v", h, err)
	}
	s := newSeal(goldenLogID)
	h, r, n, err := decodeRecord(vectors["record-first"], s, 64)
	if err != nil || n != len(vectors["record-first"]) || h.previous != 0 || h.skip != 0 {
		t.Errorf("first record: got %+v, %d bytes, %v", h, n, err)
	}
	checkRecords(t, "first record", []storage.Record{r}, []storage.Record{{Room: "lobby", Seq: 1, At: 1763839392123, From: "bob", Key: "a1-0001", Body: []byte("hi")}})
	h, r, _, err = decodeRecord(vectors["record-bare"], s, 1000)
	if err != nil || h.previous != 900 || h.skip != 0 || h.unsynced != 300 {
		t.Errorf("bare record: got %+v, %v", h, err)
	}
	checkRecords(t, "bare record", []storage.Record{r}, []storage.Record{{Room: "ü", Seq: 7, At: -1, From: "é"}})
	h, r, n, err = decodeRecord(vectors["record-ignorable"], s, 500)
	if err != nil || n != len(vectors["record-ignorable"]) || h.kind != 0x85 || r.Room != "" {
		t.Errorf("ignorable record: got %+v, %d bytes, %v", h, n, err)
	}
}

// TestEveryBitIsCovered flips each bit of a record; and a record at another position, or of
// another log, is none.
func TestEveryBitIsCovered(t *testing.T) {
	b := readGoldens(t)["record-first"]
	s := newSeal(goldenLogID)
	for bit := range len(b) * 8 {
		changed := bytes.Clone(b)
		changed[bit/8] ^= 1 << (bit % 8)
		if _, _, n, err := decodeRecord(changed, s, 64); err == nil && n != 0 {
			t.Errorf("a flip of bit %d goes unseen", bit)
		}
	}
	if _, _, _, err := decodeRecord(b, s, 65); err == nil {
		t.Error("the record is accepted at another position")
	}
	if _, _, _, err := decodeRecord(b, newSeal(goldenLogID+1), 64); err == nil {
		t.Error("the record is accepted in another log")
	}
	for cut := range len(b) {
		if _, _, n, err := decodeRecord(b[:cut], s, 64); n != 0 || err != nil {
			t.Errorf("cut to %d bytes: got %d, %v, want more bytes to be asked for", cut, n, err)
		}
	}
}

// TestFieldsOutOfBounds has right checksums and wrong fields.
func TestFieldsOutOfBounds(t *testing.T) {
	s := newSeal(goldenLogID)
	valid := storage.Record{Room: "room", Seq: 4, At: 1, From: "user", Body: []byte("body")}
	tests := map[string]func(b []byte){
		"room length 0":             func(b []byte) { b[13] = 0 },
		"room length 129":           func(b []byte) { b[13] = 129 },
		"user length 0":             func(b []byte) { b[14] = 0 },
		"user length 255":           func(b []byte) { b[14] = 255 },
		"lengths beyond the record": func(b []byte) { b[13], b[14], b[15] = 5, 5, 5 },
		"sequence number 0":         func(b []byte) { binary.LittleEndian.PutUint64(b[20:], 0) },
		"sequence number 2^64-1":    func(b []byte) { binary.LittleEndian.PutUint64(b[20:], math.MaxUint64) },
		"first with a previous":     func(b []byte) { binary.LittleEndian.PutUint64(b[20:], 1) },
		"no previous":               func(b []byte) { binary.LittleEndian.PutUint64(b[36:], 0) },
		"previous is itself":        func(b []byte) { binary.LittleEndian.PutUint64(b[36:], 1000) },
		"previous is negative":      func(b []byte) { binary.LittleEndian.PutUint64(b[36:], 1<<63) },
		"skip beyond previous":      func(b []byte) { binary.LittleEndian.PutUint64(b[44:], 901) },
		"skip where there is none":  func(b []byte) { binary.LittleEndian.PutUint64(b[20:], 3) },
		"total under the size":      func(b []byte) { binary.LittleEndian.PutUint64(b[52:], 5) },
		"stub with a user":          func(b []byte) { b[12] = kindStub },
		"kind 3":                    func(b []byte) { b[12] = 3 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			b := appendRecord(nil, s, 1000, &valid, 0, links{900, 800, 1 << 20})
			if _, _, n, err := decodeRecord(b, s, 1000); err != nil || n == 0 {
				t.Fatalf("unchanged: %d, %v", n, err)
			}
			change(b)
			binary.LittleEndian.PutUint32(b, s.headerChecksum(1000, b))
			if _, _, n, err := decodeRecord(b, s, 1000); err == nil {
				t.Errorf("accepted, %d bytes", n)
			}
		})
	}
	stub := appendStub(nil, s, 1000, &storage.Record{Room: "room", Seq: storage.MaxSeq + 1}, 0, 0)
	if _, _, n, err := decodeRecord(stub, s, 1000); err == nil {
		t.Errorf("a stub with the number 2^53 is accepted, %d bytes", n)
	}
}

// FuzzDecodeRecord gives any bytes to the decoder, as they are and with checksums made right, so
// that the checks behind them are reached too.
func FuzzDecodeRecord(f *testing.F) {
	for _, b := range readGoldens(f) {
		f.Add(b, int64(64))
		f.Add(b, int64(1000))
	}
	s := newSeal(goldenLogID)
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		fuzzOne(t, s, b, position(at))
		if len(b) < recordHeaderBytes {
			return
		}
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
		binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[recordHeaderBytes:], castagnoli))
		binary.LittleEndian.PutUint32(b, s.headerChecksum(position(at), b))
		fuzzOne(t, s, b, position(at))
	})
}

func fuzzOne(t *testing.T, s seal, b []byte, at position) {
	h, r, n, err := decodeRecord(b, s, at)
	if n < 0 || n > len(b) || err != nil && n != 0 {
		t.Fatalf("n is %d of %d bytes, error %v", n, len(b), err)
	}
	if n == 0 || h.kind != kindMessage {
		return
	}
	if err := checkRecord(&r); err != nil {
		t.Fatalf("decoded a record that Append refuses: %v", err)
	}
	again := appendRecord(nil, s, at, &r, h.unsynced, links{h.previous, h.skip, h.total})
	if !bytes.Equal(again, b[:n]) {
		t.Fatalf("encoded again it differs:\ngot  %x\nwant %x", again, b[:n])
	}
}
