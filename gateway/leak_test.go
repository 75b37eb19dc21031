package gateway_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// gnet's worker pool, which adopts our wake-up sockets, is made once for the process and
// has housekeepers that never end. That of a closed buntdb ends within a second.
func TestMain(m *testing.M) {
	if step := os.Getenv(heirVariable); step != "" {
		failAsHeir(step) // this is a process of a test's
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/tidwall/buntdb.(*DB).backgroundManager"),
	)
}
