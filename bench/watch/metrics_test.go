package watch

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const scraped = `# HELP a_total Counted.
# TYPE a_total counter
a_total{loop="0"} 10
a_total{loop="1"} 32
# TYPE b gauge
b{x="1"} 2
b{x="2"} -5
# TYPE sync_seconds histogram
sync_seconds_bucket{le="0.1"} 3
sync_seconds_bucket{le="+Inf"} 4
sync_seconds_sum 1.5
sync_seconds_count 4
# TYPE pause summary
pause{quantile="0.5"} NaN
pause_sum 7
pause_count 9
# TYPE broken gauge
broken NaN
# TYPE endless gauge
endless +Inf
plain 3
`

func TestParseMetrics(t *testing.T) {
	got, err := parseMetrics([]byte(scraped))
	if err != nil {
		t.Fatal(err)
	}
	counters := map[string]float64{"a_total": 42, "sync_seconds_sum": 1.5, "sync_seconds_count": 4, "pause_sum": 7, "pause_count": 9}
	gauges := map[string]float64{"b": -3, "plain": 3}
	if !maps.Equal(got.counters, counters) || !maps.Equal(got.gauges, gauges) {
		t.Errorf("%v, want %v and %v", got, counters, gauges)
	}
	if got, err := parseMetrics([]byte("<html>no</html>")); err == nil {
		t.Errorf("a page was taken for %v", got)
	}
}

func TestMetricsAreCapped(t *testing.T) {
	var text strings.Builder
	for i := range 2 * mostMetrics {
		fmt.Fprintf(&text, "m%04d 1\n", i)
	}
	got, err := parseMetrics([]byte(text.String()))
	if _, first := got.gauges["m0000"]; err != nil || len(got.gauges) != mostMetrics || !first {
		t.Errorf("%d are kept, %v", len(got.gauges), err)
	}
}

func TestMetricsGrow(t *testing.T) {
	text, status := "", http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}))
	defer server.Close()
	m := newMetrics(server.URL, patient)
	defer m.close()
	counter := func(n, gauge int) string {
		return fmt.Sprintf("# TYPE a_total counter\na_total %d\n# TYPE b gauge\nb %d\n", n, gauge)
	}
	for _, step := range []struct {
		what   string
		text   string
		status int
		want   map[string]float64
		fault  string
	}{
		{"first", counter(10, 1), 200, map[string]float64{"b": 1}, ""},
		{"growth", counter(15, 2), 200, map[string]float64{"a_total": 5, "b": 2}, ""},
		{"no growth", counter(15, 3), 200, map[string]float64{"a_total": 0, "b": 3}, ""},
		{"an error", counter(16, 3), 503, nil, "503"},
		{"growth of both seconds", counter(20, 4), 200, map[string]float64{"a_total": 5, "b": 4}, ""},
		{"begun anew", counter(3, 4), 200, map[string]float64{"a_total": 3, "b": 4}, ""},
		{"no metrics", "<html>", 200, nil, "no text of Prometheus"},
		{"too much", strings.Repeat("# comment\n", scrapeBytes/10+1), 200, nil, "gives more than"},
	} {
		text, status = step.text, step.status
		got := m.second(context.Background())
		if !maps.Equal(got, step.want) || (got == nil) != (step.want == nil) {
			t.Errorf("%s: %v, want %v", step.what, got, step.want)
		}
		if (m.err == nil) != (step.fault == "") || m.err != nil && !strings.Contains(m.err.Error(), step.fault) {
			t.Errorf("%s: the error is %v, want %q", step.what, m.err, step.fault)
		}
	}
	server.Close()
	if got := m.second(context.Background()); got != nil || m.err == nil {
		t.Errorf("a server that is gone gave %v", got)
	}
}

// TestMetricsDontWait: a server that takes the request and gives nothing holds the run up no longer than the timeout.
func TestMetricsDontWait(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	m := newMetrics(server.URL, 50*time.Millisecond)
	defer m.close()
	if got := m.second(context.Background()); got != nil || m.err == nil {
		t.Errorf("it gave %v, %v", got, m.err)
	}
}
