package room

import (
	"testing"
	"time"
)

func TestLatencyIsCumulative(t *testing.T) {
	rs := &Rooms{shards: []*shard{{}, {}}}
	rs.shards[0].latency.observe(50 * time.Microsecond)
	rs.shards[0].latency.observe(100 * time.Microsecond)
	rs.shards[0].latency.observe(101 * time.Microsecond)
	rs.shards[1].latency.observe(-time.Second) // a clock that was set back
	rs.shards[1].latency.observe(time.Hour)
	got := rs.latency()
	last := len(got.Counts) - 1
	if got.Counts[0] != 3 || got.Counts[1] != 4 || got.Counts[last-1] != 4 || got.Counts[last] != 5 || len(got.Bounds) != len(got.Counts) || got.Bounds[0] != 0.0001 {
		t.Errorf("%+v", got)
	}
	if got.Sum < 3600 || got.Sum > 3600.001 {
		t.Errorf("all together took %v s", got.Sum)
	}
}
