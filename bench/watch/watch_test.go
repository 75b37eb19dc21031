package watch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/bench/plan"
	"rookery/bench/result"
)

// patient is a timeout that no busy machine reaches.
const patient = 5 * time.Minute

// TestWatchARealServer has this process as the server, found by its port, on the real /proc.
func TestWatchARealServer(t *testing.T) {
	served := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served++
		fmt.Fprintf(w, "# TYPE served_total counter\nserved_total %d\n", 10*served)
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	ctx := context.Background()
	w := begin(ctx, plan.Server{Targets: []string{"ws://" + address}, Metrics: server.URL}, patient)
	defer w.Close()
	if !w.Here() || len(w.Trouble()) > 0 || w.server.processes[0].pid != os.Getpid() {
		t.Fatalf("found %+v, trouble %q, want process %d", w.server.processes, w.Trouble(), os.Getpid())
	}
	var opened []net.Conn
	defer func() {
		for _, c := range opened {
			c.Close()
		}
	}()
	before, _ := w.Second(ctx, time.Now())
	for range 10 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, c)
	}
	process, kernel := w.Second(ctx, time.Now())
	if !process.Seen || process.MemoryBytes < 1<<20 || process.Threads < 1 || process.Cores <= 0 || process.CPUSeconds < 0 || process.BusiestThread > 1 {
		t.Errorf("the process: %+v", process)
	}
	if grew := process.Descriptors - before.Descriptors; grew < 10 || process.DescriptorsMax < process.Descriptors {
		t.Errorf("%d descriptors more of %d, want 10 at least", grew, process.DescriptorsMax)
	}
	if process.Metrics["served_total"] != 10 {
		t.Errorf("the metrics: %v", process.Metrics)
	}
	if kernel.Cores < 1 || kernel.Sockets < 20 || kernel.SegmentsOut < 20 || kernel.SocketBytesMax <= 0 || kernel.CPUIdle < 0 || kernel.CPUIdle > 1 {
		t.Errorf("the kernel: %+v", kernel)
	}
}

func TestWatchNothing(t *testing.T) {
	ctx := context.Background()
	w := Begin(ctx, plan.Server{Targets: []string{"ws://192.0.2.1:80"}, Metrics: "http://127.0.0.1:1/metrics"})
	defer w.Close()
	process, kernel := w.Second(ctx, time.Now())
	if w.Here() || process.Seen || !strings.Contains(process.Unseen, "192.0.2.1") || kernel.Cores == 0 {
		t.Errorf("%+v and %+v", process, kernel)
	}
	if got := w.Trouble(); len(got) != 2 || got[0] != process.Unseen || !strings.Contains(got[1], "metrics can't be read") {
		t.Errorf("the trouble is %q", got)
	}
}

// TestOverflowIsCounted fills an accept queue that nobody empties: the counter that grows then is the one that is read.
func TestOverflowIsCounted(t *testing.T) {
	ctx := context.Background()
	listening, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listening)
	if err := errors.Join(unix.Bind(listening, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(listening, 0)); err != nil {
		t.Fatal(err)
	}
	address, err := unix.Getsockname(listening)
	if err != nil {
		t.Fatal(err)
	}
	w := Begin(ctx, plan.Server{PID: -1})
	defer w.Close()
	var sum result.Kernel
	for range 1000 {
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		if err := unix.Connect(c, address); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
		_, grew := w.Second(ctx, time.Now())
		sum.ListenOverflows += grew.ListenOverflows
		sum.ListenDrops += grew.ListenDrops
		if sum.ListenOverflows > 0 && sum.ListenDrops > 0 {
			return
		}
	}
	t.Errorf("a queue of none took 1,000 connections: %+v", sum)
}
