package room

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkRetryKeys is what a publish with a retry key does to a table that is full: hashed, looked for, remembered, the oldest
// forgotten. bytes/key is what the table holds for each.
func BenchmarkRetryKeys(b *testing.B) {
	for _, held := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(held), func(b *testing.B) {
			names := make([][3]string, 1<<16)
			for i := range names {
				names[i] = [3]string{fmt.Sprint("room-", i%5000), fmt.Sprint("user-", i%10000), fmt.Sprintf("%032x", i)}
			}
			key := make([]byte, 32)
			heap := func() uint64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before := heap()
			k := newRetryKeys(time.Hour, held)
			n := 0
			publish := func() {
				name := &names[n%len(names)]
				copy(key, name[2])
				for i, rest := 0, n; rest > 0; i, rest = i+1, rest>>4 {
					key[i] = 'a' + byte(rest&15)
				}
				h := k.hash(name[0], name[1], string(key))
				if _, known := k.find(h); known {
					b.Fatal("two keys are one")
				}
				k.add(h, outcome{uint64(n), 1}, 0)
				n++
			}
			for n < held+held/4 {
				publish()
			}
			bytes := float64(heap()-before) / float64(held)
			b.ReportAllocs()
			for b.Loop() {
				publish()
			}
			b.ReportMetric(bytes, "bytes/key")
			runtime.KeepAlive(k)
		})
	}
}
