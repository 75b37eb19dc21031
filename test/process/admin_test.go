package process

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestAdminListener: what operators look at is there, and not on the public port.
func TestAdminListener(t *testing.T) {
	t.Parallel()
	s := start(t, launch{data: t.TempDir()})
	p, err := login(s.address, rawTCP, "alice")
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	if err := p.enter("r"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := p.send(publishRequest("r", "", "x")); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the reply and the message
			if _, err := p.next(); err != nil {
				t.Fatal(err)
			}
		}
	}

	families := s.scrape(t)
	for name, want := range map[string]float64{
		"rookery_connections": 1, "rookery_sessions": 1, "rookery_subscriptions": 1, "rookery_rooms": 1,
		"rookery_published_total": 3, "rookery_log_records_total": 3, "rookery_requests_total": 5,
		"rookery_deliveries_total": 3, "rookery_log_fault": 0, "rookery_panics_total": 0,
	} {
		m := families[name].GetMetric()
		if len(m) != 1 || m[0].GetGauge().GetValue()+m[0].GetCounter().GetValue() != want {
			t.Errorf("%s is %v, want %v", name, m, want)
		}
	}
	for _, name := range []string{"rookery_log_sync_seconds", "rookery_log_batch_records"} {
		h := families[name].GetMetric()
		if len(h) != 1 || h[0].GetHistogram().GetSampleCount() == 0 {
			t.Errorf("%s is %v, want a histogram with samples", name, h)
			continue
		}
		last := uint64(0)
		for _, b := range h[0].GetHistogram().GetBucket() {
			if b.GetCumulativeCount() < last || b.GetCumulativeCount() > h[0].GetHistogram().GetSampleCount() {
				t.Errorf("%s: the buckets are not cumulative: %v", name, h[0])
			}
			last = b.GetCumulativeCount()
		}
	}
	if n := families["rookery_log_batch_records"].GetMetric()[0].GetHistogram().GetSampleSum(); n != 3 {
		t.Errorf("%v records were committed in batches, want 3", n)
	}

	paths := map[string]string{
		"/healthz": "ok", "/readyz": "ok", "/metrics": "rookery_connections 1",
		"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "goroutine profile",
		"/debug/pprof/mutex?seconds=1": "", "/debug/pprof/block?seconds=1": "",
	}
	for path, word := range paths {
		if status, body, err := s.get(path); err != nil || status != http.StatusOK || !strings.Contains(body, word) {
			t.Errorf("admin %s: %d %v, without %q", path, status, err, word)
		}
	}
	// Behind it: a connection that was just closed may still be counted.
	for path := range paths {
		if status, body, err := get("http://" + s.address + path); err != nil || status != http.StatusNotFound {
			t.Errorf("public %s: %d %v %q, want 404", path, status, err, body)
		}
	}
}

// TestAdminListenerLogsAsTheServerDoes: what net/http has to say comes in the same format.
func TestAdminListenerLogsAsTheServerDoes(t *testing.T) {
	t.Parallel()
	certificate, key, _ := certify(t, t.TempDir())
	s := start(t, launch{data: t.TempDir(), flags: []string{"--logging.format", "json", "--admin-tls.cert-file", certificate, "--admin-tls.key-file", key}})
	if status, _, err := get("http://" + s.admin + "/"); err != nil || status != http.StatusBadRequest {
		t.Fatalf("plain HTTP: status %d, %v", status, err)
	}
	const fault = "client sent an HTTP request to an HTTPS server"
	eventually(t, "the fault is in the log", func() bool { return strings.Contains(s.log(), fault) })
	for line := range strings.SplitSeq(s.log(), "\n") {
		if strings.Contains(line, fault) && (!json.Valid([]byte(line)) || !strings.Contains(line, `"level":"WARN"`)) {
			t.Errorf("the line is %s", line)
		}
	}
}
