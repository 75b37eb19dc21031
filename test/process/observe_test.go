package process

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// get asks the admin listener.
func (s *server) get(path string) (status int, body string, err error) {
	return get("http://" + s.admin + path)
}

func get(url string) (status int, body string, err error) {
	// A transport of its own: a kept connection would count as a leak, or be half dead after
	// a restart.
	transport := &http.Transport{DisableKeepAlives: true}
	client := http.Client{Timeout: patience, Transport: transport}
	res, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// scrape reads the metrics as Prometheus does.
func (s *server) scrape(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	status, body, err := s.get("/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("GET /metrics: status %d, %v", status, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("the metrics are not Prometheus text: %v\n%s", err, body)
	}
	return families
}

// metric returns one value; label is that of a metric with one label, else empty.
func (s *server) metric(t *testing.T, name, label string) float64 {
	t.Helper()
	family := s.scrape(t)[name]
	for _, m := range family.GetMetric() {
		if label == "" || m.GetLabel()[0].GetValue() == label {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s %s", name, label)
	return 0
}

// eventually polls, since another process tells nobody what it has come to.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for begun := time.Now(); !done(); <-poll.C {
		if time.Since(begun) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// memory returns the resident bytes of the process now and at most so far.
func (s *server) memory() (now, peak int64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", s.pid()))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		switch {
		case name == "VmRSS" && err == nil:
			now = kib << 10
		case name == "VmHWM" && err == nil:
			peak = kib << 10
		}
	}
	return now, peak, nil
}

// descriptors counts the open files of the process.
func (s *server) descriptors() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid()))
	return len(entries), err
}

// watchDescriptors looks at the number of open files until stop is called, which returns the
// most that were seen.
func (s *server) watchDescriptors() (stop func() int) {
	most := 0
	ending := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		look := time.NewTicker(2 * time.Millisecond)
		defer look.Stop()
		for {
			if n, err := s.descriptors(); err == nil {
				most = max(most, n)
			}
			select {
			case <-look.C:
			case <-ending:
				return
			}
		}
	})
	return func() int {
		close(ending)
		running.Wait()
		return most
	}
}
