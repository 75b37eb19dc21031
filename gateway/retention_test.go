package gateway

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"rookery/storage"
	"rookery/storage/catalog"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

func TestRetentionRules(t *testing.T) {
	tests := []struct {
		text, pattern string
		policy        storage.Retention
	}{
		{"lobby age=720h", "lobby", storage.Retention{Age: 720 * time.Hour}},
		{"team-* age=1h30m messages=1000 bytes=1GiB", "team-*", storage.Retention{Age: 90 * time.Minute, Records: 1000, Bytes: 1 << 30}},
		{"* bytes=5 messages=7", "*", storage.Retention{Records: 7, Bytes: 5}},
		{"archive-* age=0", "archive-*", storage.Retention{}},
		{"team chat  messages=3", "team chat", storage.Retention{Records: 3}},
		{"a=b c=d messages=3", "", storage.Retention{}}, // c=d reads as a bound, and is refused
		{"a=b c messages=3", "a=b c", storage.Retention{Records: 3}},
		{"Größe* messages=3", "Größe*", storage.Retention{Records: 3}},
	}
	for _, test := range tests {
		rule, err := parseRetentionRule(test.text)
		if (err != nil) != (test.pattern == "") {
			t.Errorf("%q: %v", test.text, err)
		}
		if err == nil && (rule.pattern != test.pattern || rule.policy != test.policy) {
			t.Errorf("%q: pattern %q, policy %+v, want %q, %+v", test.text, rule.pattern, rule.policy, test.pattern, test.policy)
		}
	}
}

// TestRetentionOfARoom: the room's own policy, else the first rule, else the default; and nothing is
// dropped of the system's rooms, or when the catalog does not answer.
func TestRetentionOfARoom(t *testing.T) {
	log, err := commitlog.Open(commitlog.Config{FS: vfs.NewMemory(), Dir: "/log", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c, err := catalog.Open(catalog.Config{Log: log, Synced: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rules, err := parseRetention(RetentionConfig{
		Age: time.Hour, Messages: 9, Bytes: 8,
		Rooms: []string{"team-a messages=1", "team-* messages=2", "team-b messages=3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{catalog: c, log: slog.New(slog.DiscardHandler)}
	s.retentionRules.Store(&rules)
	for _, room := range []string{"own", "team-own"} {
		if err := c.Update(context.Background(), catalog.SetRetention(room, &storage.Retention{Records: 4})); err != nil {
			t.Fatal(err)
		}
	}
	for room, want := range map[string]storage.Retention{
		"lobby":        {Age: time.Hour, Records: 9, Bytes: 8},
		"team-a":       {Records: 1},
		"team-b":       {Records: 2},
		"own":          {Records: 4},
		"team-own":     {Records: 4},
		catalog.Room:   {},
		"\x01whatever": {},
	} {
		if got := s.retention(room); got != want {
			t.Errorf("room %q: %+v, want %+v", room, got, want)
		}
	}
	if _, from, err := s.retentionOf("team-b"); err != nil || !strings.Contains(from, "team-* messages=2") {
		t.Errorf("from %q, %v", from, err)
	}
	c.Close()
	if got := s.retention("lobby"); got != (storage.Retention{}) {
		t.Errorf("without a catalog %+v, want to keep everything", got)
	}
}
