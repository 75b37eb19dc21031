package operator

import (
	"context"
	"encoding/json"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKernelFigures(t *testing.T) {
	v4 := "sockets: used 20\nTCP: inuse 6 orphan 1 tw 11 alloc 9 mem 3\nUDP: inuse 4 mem 7\n"
	v6 := "TCP6: inuse 2\nUDP6: inuse 1\n"
	want := Kernel{InUse: 8, TimeWait: 11, Sockets: 9, BufferBytes: 3 * 4096}
	if got := parseSockstat([]byte(v4), []byte(v6), 4096); got != want {
		t.Errorf("sockstat says %+v, want %+v", got, want)
	}
	slabs := "slabinfo - version: 2.1\n# name <active_objs>\n" +
		"TCPv6                 26     26   2496   13    8 : tunables    0    0    0 : slabdata      2      2      0\n" +
		"TCP                 3000   3000   2368   13    8 : tunables    0    0    0 : slabdata    230    231      0\n" +
		"sock_inode_cache    3007   3007    832   19    4 : tunables    0    0    0 : slabdata    158    158      0\n" +
		"tw_sock_TCP           10     10    248   16    1 : tunables    0    0    0 : slabdata      1      1      0\n"
	if got, want := parseSlabs([]byte(slabs), 4096), int64(4096*(2*8+231*8+158*4)); got != want {
		t.Errorf("slabinfo says %d, want %d", got, want)
	}
	for _, bad := range []string{"", "\n\n", "TCP", "TCP: inuse", "TCP: inuse x mem y", "TCP 1 2 3 : tunables"} {
		if got := parseSockstat([]byte(bad), nil, 4096); got != (Kernel{}) {
			t.Errorf("of %q: %+v", bad, got)
		}
		if got := parseSlabs([]byte(bad), 4096); got != 0 {
			t.Errorf("of %q: %d", bad, got)
		}
	}
}

func TestQuantiles(t *testing.T) {
	bounds := []float64{1, 2, 4, math.Inf(1)}
	for _, test := range []struct {
		counts []uint64
		q      float64
		want   float64
	}{
		{[]uint64{10, 10, 10, 10}, 0.5, 0.5},
		{[]uint64{0, 10, 10, 10}, 0.5, 1.5},
		{[]uint64{0, 5, 10, 10}, 0.99, 3.96},
		{[]uint64{0, 0, 0, 3}, 0.5, 4}, // all took longer than anybody knows
		{[]uint64{0, 0, 1, 1}, 0.999, 3.998},
	} {
		if got := quantile(bounds, test.counts, test.q); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("the %v quantile of %v is %v, want %v", test.q, test.counts, got, test.want)
		}
	}
	was, is := Histogram{bounds, []uint64{5, 5, 5, 5}}, Histogram{bounds, []uint64{5, 9, 9, 9}}
	if l := latencyOf(is, was, time.Minute, 1000); l.Count != 4 || l.Over != 60 || l.Median != 1.5 {
		t.Errorf("between two readings: %+v", l)
	}
	if l := latencyOf(is, is, 0, 1000); l.Count != 9 || l.Over != 1000 {
		t.Errorf("of a single one: %+v", l)
	}
	if l := latencyOf(is, is, time.Minute, 1000); l != (Latency{Over: 60}) {
		t.Errorf("of none: %+v", l)
	}
}

func TestRatesAreOfTheLastSeconds(t *testing.T) {
	var readings []Reading
	begin := time.Unix(1000, 0)
	for i := range 20 {
		n := int64(i * i)
		readings = append(readings, Reading{
			At: begin.Add(time.Duration(i) * time.Second), Counts: Counts{Published: n},
			Errors: []Named{{Name: "never"}, {Name: "often", Count: n}, {Name: "once", Count: 1}},
		})
	}
	look := lookAt(readings, Survey{})
	if want := float64(19*19-14*14) / 5; look.Rates.Published != want || look.Rates.Seconds != 5 {
		t.Errorf("%v a second over %v s, want %v", look.Rates.Published, look.Rates.Seconds, want)
	}
	if e := look.Limits.Errors; len(e) != 2 || e[0].Name != "often" || e[0].Second != look.Rates.Published || e[1].Name != "once" {
		t.Errorf("limits that were hit: %+v", e)
	}
	if one := lookAt(readings[:1], Survey{}); one.Rates != (Rates{}) {
		t.Errorf("the first look has rates: %+v", one.Rates)
	}
}

// TestALookIsMadeForThoseWhoLook, and for nobody else; who does not take one is given the newest later.
func TestALookIsMadeForThoseWhoLook(t *testing.T) {
	var read, asked atomic.Int64
	b := New(Config{
		Read:   func() Reading { return Reading{At: time.Now(), SlowMode: int(read.Add(1))} },
		Survey: func(context.Context) Survey { asked.Add(1); return Survey{} },
	})
	defer b.Close()
	if read.Load() != 0 {
		t.Error("it reads although nobody looks")
	}
	v, end, err := b.view()
	if err != nil {
		t.Fatal(err)
	}
	slow, leave, err := b.view()
	if err != nil {
		t.Fatal(err)
	}
	var look Look
	for want := 1; want <= 3; want++ {
		if err := json.Unmarshal(<-v.looks, &look); err != nil || look.SlowMode != want {
			t.Errorf("the look is %+v, %v; want number %d", look, err, want)
		}
	}
	if asked.Load() != 2 {
		t.Errorf("the loops were asked %d times", asked.Load())
	}
	end()
	leave()
	b.running.Wait()
	if err := json.Unmarshal(<-slow.looks, &look); err != nil || look.SlowMode < 3 {
		t.Errorf("who has taken nothing is given %+v, %v", look, err)
	}
	// It begins anew for the next who comes.
	v, end, err = b.view()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	<-v.looks
}
