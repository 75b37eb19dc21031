package room

import (
	"fmt"
	"testing"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func frameSeq(t *testing.T, frame []byte) uint64 {
	t.Helper()
	var f v1.ServerFrame
	if err := proto.DecodeServerFrame(&f, proto.Binary, frame); err != nil {
		t.Fatal(err)
	}
	return f.GetMessage().GetSeq()
}

func TestRetryKeysAreForgottenAfterTheWindow(t *testing.T) {
	k := newRetryKeys(time.Second, 100)
	k.remember("r", "u", "old", outcome{1, 1000})
	k.remember("r", "u", "edge", outcome{2, 1001})
	k.remember("r", "u", "new", outcome{3, 2001})
	for key, want := range map[string]bool{"old": false, "edge": true, "new": true} {
		if _, ok := k.find(k.hash("r", "u", key)); ok != want {
			t.Errorf("%s: remembered %v, want %v", key, ok, want)
		}
	}
	if k.held.Load() != 2 || k.evicted.Load() != 0 {
		t.Errorf("held %d, evicted %d", k.held.Load(), k.evicted.Load())
	}
}

func TestRetryKeysAreBoundedInNumber(t *testing.T) {
	k := newRetryKeys(time.Hour, 100)
	for i := range 5000 {
		k.remember("r", "u", fmt.Sprint(i), outcome{uint64(i), 1})
	}
	if k.held.Load() != 100 || k.evicted.Load() != 4900 || len(k.order) > 3000 {
		t.Errorf("held %d, evicted %d, queue of %d", k.held.Load(), k.evicted.Load(), len(k.order))
	}
	for i := range 5000 {
		if _, ok := k.find(k.hash("r", "u", fmt.Sprint(i))); ok != (i >= 4900) {
			t.Fatalf("key %d: remembered %v", i, ok)
		}
	}
}

func TestRetryKeysKeepRoomUserAndKeyApart(t *testing.T) {
	k := newRetryKeys(time.Hour, 100)
	seen := map[keyHash]string{}
	for _, s := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"a", "bc", ""}, {"a", "b", "c\x00"}, {"a", "c", "b"}} {
		h := k.hash(s[0], s[1], s[2])
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q are one key", s, other)
		}
		seen[h] = fmt.Sprint(s)
	}
}
