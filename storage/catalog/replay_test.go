package catalog

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"rookery/storage"
	"rookery/storage/vfs"
)

// lifetime gives the records of a catalog with several snapshots, and what they add up to.
func lifetime(t *testing.T) ([]storage.Record, map[string]string) {
	t.Helper()
	var all []storage.Record
	config := small(mustOpenLog(t, silent(vfs.NewMemory())))
	config.SnapshotBytes = 400
	config.appended = func(r storage.Record) { all = append(all, r) }
	c := mustOpen(t, config)
	for i := range 25 {
		mustUpdate(t, c, SetMember(fmt.Sprint("room", i%7), "alice", Member{Role: fmt.Sprint(i)}), Advance("lobby", "bob", Position{"e", uint64(i), uint64(i)}))
		if i%5 == 4 {
			mustUpdate(t, c, RemoveMember("room1", "alice"))
		}
	}
	want := content(t, c)
	c.Close()
	if c.Stats().Snapshots < 2 {
		t.Fatalf("%d snapshots, the test needs some", c.Stats().Snapshots)
	}
	return all, want
}

func kindOf(t *testing.T, r storage.Record) body {
	t.Helper()
	var b body
	if err := json.Unmarshal(r.Body, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReplayWithGaps leaves out every run of records. The replay either has all there was or says that it
// does not; and it does without what it needs not.
func TestReplayWithGaps(t *testing.T) {
	all, want := lifetime(t)
	newest := uint64(0) // the newest complete snapshot
	for _, r := range all {
		if b := kindOf(t, r); b.Kind == kindEnd {
			newest = b.Snapshot
		}
	}
	refused, whole := 0, 0
	for from := range all {
		for to := from; to <= len(all); to++ {
			if from > 0 && to-from > 8 {
				break
			}
			r := NewReplay()
			harmless, onlyParts := true, to-from <= 4
			for i, record := range all {
				missing := from <= i && i < to
				if !missing {
					if err := r.Add(record); err != nil {
						t.Fatal(err)
					}
					continue
				}
				b := kindOf(t, record)
				harmless = harmless && record.Seq < newest
				onlyParts = onlyParts && b.Kind == kindPart && b.Snapshot == newest
			}
			err := r.Whole(uint64(len(all)))
			if err == nil {
				whole++
				mustEqual(t, fmt.Sprintf("without records %d to %d", from+1, to), content(t, r), want)
			} else {
				refused++
				if !strings.Contains(err.Error(), "backup") {
					t.Fatalf("the refusal does not say what to do: %v", err)
				}
			}
			if (harmless || onlyParts) && err != nil {
				t.Fatalf("without records %d to %d, newest snapshot %d of %d records: %v", from+1, to, newest, len(all), err)
			}
			r.Close()
		}
	}
	if refused == 0 || whole == 0 {
		t.Errorf("%d refused, %d whole: the test shows nothing", refused, whole)
	}
}

func TestReplayRefuses(t *testing.T) {
	at := func(seq uint64, body string) storage.Record {
		return storage.Record{Room: Room, Seq: seq, From: author, Body: []byte(body)}
	}
	tests := []struct {
		name    string
		records []storage.Record
		want    string
	}{
		{"no JSON", []storage.Record{at(1, "{")}, "record 1 of the catalog is no JSON"},
		{"a newer version", []storage.Record{at(1, `{"version":2,"kind":"change"}`)}, "format version 2"},
		{"an unknown kind", []storage.Record{at(1, `{"version":1,"kind":"merge"}`)}, `kind "merge"`},
		{"a key that can't be one", []storage.Record{at(1, `{"version":1,"kind":"change","entries":[{"k":"~member\ta\tb","v":1}]}`)}, "does not begin with a word"},
		{"a part with a removal", []storage.Record{at(1, `{"version":1,"kind":"part","snapshot":1,"entries":[{"k":"a","v":null}]}`)}, "key without a value"},
		{"twice the same", []storage.Record{at(1, `{"version":1,"kind":"change"}`), at(1, `{"version":1,"kind":"change"}`)}, "can't follow"},
		{"another room", []storage.Record{{Room: "lobby", Seq: 1}}, "can't follow"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := NewReplay()
			defer r.Close()
			var err error
			for _, record := range test.records {
				err = r.Add(record)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestReplayOfRenumberedRecords: an import around a gap gives the records behind it other numbers. A snapshot behind
// the gap stands in all the same.
func TestReplayOfRenumberedRecords(t *testing.T) {
	all, want := lifetime(t)
	whole := 0
	for from := range all {
		r := NewReplay()
		for i, record := range all[from:] {
			record.Seq = uint64(i) + 1
			if err := r.Add(record); err != nil {
				t.Fatal(err)
			}
		}
		if r.origin != 0 {
			whole++
			mustEqual(t, fmt.Sprintf("from record %d on", from+1), content(t, r), want)
			if b := kindOf(t, all[from+int(r.origin)-1]); b.Kind != kindPart || b.Part != 0 {
				t.Fatalf("the snapshot is said to begin at %+v", b)
			}
		}
		r.Close()
	}
	if whole < 2 {
		t.Errorf("only %d runs have a snapshot", whole)
	}
}

// TestReplayOfAFalseSnapshot: a snapshot that does not add up counts for nothing.
func TestReplayOfAFalseSnapshot(t *testing.T) {
	all, want := lifetime(t)
	for i, record := range all {
		if b := kindOf(t, record); b.Kind == kindEnd {
			b.Checksum = strings.Repeat("0", len(b.Checksum))
			encoded, err := b.encode()
			if err != nil {
				t.Fatal(err)
			}
			all[i].Body = encoded
		}
	}
	r := NewReplay()
	defer r.Close()
	for _, record := range all {
		if err := r.Add(record); err != nil {
			t.Fatal(err)
		}
	}
	if r.origin != 0 {
		t.Errorf("snapshot %d was taken", r.origin)
	}
	mustEqual(t, "from the changes", content(t, r), want)
}
