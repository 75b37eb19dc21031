package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// scrapeTimeout leaves half of the second to what else is read in it.
	scrapeTimeout = 500 * time.Millisecond
	// scrapeBytes is more than servers with thousands of series have, and little enough to be read each second.
	scrapeBytes = 4 << 20
	// mostMetrics is how many names are kept for a second. Those of Rookery are about 100; a result of an hour
	// with 500 has 40 MB of them.
	mostMetrics = 500
)

// metrics reads what the server says of itself, in the text form of Prometheus.
type metrics struct {
	url    string
	client *http.Client
	before map[string]float64 // counters as they were
	err    error              // of the last read, nil if it was good
}

func newMetrics(url string, timeout time.Duration) *metrics {
	// No proxy: what a user has set for the web is not on the way to the server under load.
	return &metrics{url: url, client: &http.Client{Timeout: timeout, Transport: &http.Transport{MaxIdleConns: 1}}}
}

func (m *metrics) close() { m.client.CloseIdleConnections() }

// second gives gauges as they are and counters as their growth since the last time that they were read, nil
// if they can't be read. A growth is missing where a counter is read for the first time.
func (m *metrics) second(ctx context.Context) map[string]float64 {
	text, err := m.scrape(ctx)
	if err != nil {
		m.err = err
		return nil
	}
	var now reading
	if now, m.err = parseMetrics(text); m.err != nil {
		return nil
	}
	values := now.gauges
	for name, value := range now.counters {
		if before, known := m.before[name]; known {
			if value < before {
				before = 0 // the server began anew
			}
			values[name] = value - before
		}
	}
	m.before = now.counters
	return values
}

func (m *metrics) scrape(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := m.client.Do(request)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, scrapeBytes+1))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", m.url, response.Status)
	}
	if len(text) > scrapeBytes {
		return nil, fmt.Errorf("%s gives more than %d bytes", m.url, scrapeBytes)
	}
	return text, nil
}

// reading is what one scrape gave, each name summed over its labels.
type reading struct{ counters, gauges map[string]float64 }

// parseMetrics takes the first mostMetrics names in the order of the alphabet. Of histograms and summaries it
// takes the sum and the count, of which a mean of each second can be made. What is not a number can't be written
// as JSON and is left out.
func parseMetrics(text []byte) (reading, error) {
	r := reading{counters: map[string]float64{}, gauges: map[string]float64{}}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return r, fmt.Errorf("it is no text of Prometheus: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if len(r.counters)+len(r.gauges) >= mostMetrics {
			break
		}
		for _, one := range families[name].GetMetric() {
			switch families[name].GetType() {
			case dto.MetricType_COUNTER:
				add(r.counters, name, one.GetCounter().GetValue())
			case dto.MetricType_GAUGE:
				add(r.gauges, name, one.GetGauge().GetValue())
			case dto.MetricType_UNTYPED:
				add(r.gauges, name, one.GetUntyped().GetValue())
			case dto.MetricType_HISTOGRAM:
				add(r.counters, name+"_sum", one.GetHistogram().GetSampleSum())
				add(r.counters, name+"_count", float64(one.GetHistogram().GetSampleCount()))
			case dto.MetricType_SUMMARY:
				add(r.counters, name+"_sum", one.GetSummary().GetSampleSum())
				add(r.counters, name+"_count", float64(one.GetSummary().GetSampleCount()))
			}
		}
	}
	return r, nil
}

func add(values map[string]float64, name string, value float64) {
	if !math.IsNaN(value) && !math.IsInf(value, 0) {
		values[name] += value
	}
}
