package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"rookery/test/measure"
)

// hostServer is a rookery serve with a log of its own, and nothing is forced on it: its settings are those of everybody but for caps, which
// one address would meet.
type hostServer struct {
	process        *exec.Cmd
	data           string
	address, admin string
	secure         string        // with TLS, empty where the settings have none
	ended          chan struct{} // closed when the process has ended
}

var servingLine = regexp.MustCompile(`msg=serving address=(\S+) tls=(\S+) .*admin=(\S+) `)

// serve starts a server and waits until it serves. Whoever calls it calls stop.
func (h *host) serve(ctx context.Context, settings ...string) (*hostServer, error) {
	data, err := os.MkdirTemp(h.work, "data-")
	if err != nil {
		return nil, err
	}
	s := &hostServer{data: data, ended: make(chan struct{})}
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data, "--drain.window", "0s",
		"--auth.hs256-secret-file", h.secret, "--limits.connections-per-ip", "0", "--limits.messages-per-second", "0", "--limits.rates", "off"}, settings...)
	s.process = exec.CommandContext(ctx, h.binary, args...)
	// Nothing of our environment but the path: a ROOKERY_ variable would change the server.
	s.process.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := s.process.StderrPipe()
	if err == nil {
		err = s.process.Start()
	}
	if err != nil {
		return nil, err
	}
	serving := make(chan []string, 1)
	var said strings.Builder
	go func() { // ends with the process
		defer close(s.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if found := servingLine.FindStringSubmatch(lines.Text()); found != nil {
				serving <- found
				break
			}
			said.WriteString(lines.Text() + "\n")
		}
		io.Copy(io.Discard, out)
		s.process.Wait() // stop looks at the status
	}()
	select {
	case found := <-serving:
		s.address, s.secure, s.admin = found[1], strings.Trim(found[2], `"`), found[3]
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("the server did not start: %s", said.String())
	}
}

// serving gives a measurement that has a server of its own. It fails if the server ends badly.
func (h *host) serving(measure func(context.Context, *hostServer) ([]figure, error), settings ...string) func(context.Context) ([]figure, error) {
	return func(ctx context.Context) ([]figure, error) {
		s, err := h.serve(ctx, settings...)
		if err != nil {
			return nil, err
		}
		figures, err := measure(ctx, s)
		return figures, errors.Join(err, s.stop())
	}
}

// stop ends the server in good order and removes its log.
func (s *hostServer) stop() error {
	s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		s.process.Process.Kill()
		<-s.ended
	}
	var failed error
	if !s.process.ProcessState.Success() {
		failed = fmt.Errorf("the server ended with %v", s.process.ProcessState)
	}
	return errors.Join(failed, os.RemoveAll(s.data))
}

// resident is the memory of the server's process.
func (s *hostServer) resident() (int64, error) {
	return measure.Kibibytes(fmt.Sprintf("/proc/%d/smaps_rollup", s.process.Process.Pid), "Rss")
}

// histograms are how long commits took, and the syncs in them.
type histograms struct {
	commits, syncs *dto.Histogram
}

func (s *hostServer) histograms(ctx context.Context) (h histograms, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/metrics", nil)
	if err != nil {
		return h, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return h, err
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		return h, err
	}
	for name, to := range map[string]**dto.Histogram{"rookery_publish_seconds": &h.commits, "rookery_log_sync_seconds": &h.syncs} {
		if len(families[name].GetMetric()) != 1 {
			return h, fmt.Errorf("the server has no metric %s", name)
		}
		*to = families[name].Metric[0].GetHistogram()
	}
	return h, nil
}

// quantile of what a histogram counted between two looks, within a bucket in proportion.
func quantile(before, after *dto.Histogram, q float64) float64 {
	counted := func(h *dto.Histogram, i int) float64 { return float64(h.GetBucket()[i].GetCumulativeCount()) }
	total := float64(after.GetSampleCount() - before.GetSampleCount())
	lower, below := 0.0, 0.0
	for i, bucket := range after.GetBucket() {
		upto := counted(after, i) - counted(before, i)
		if upto >= q*total && upto > below {
			return lower + (bucket.GetUpperBound()-lower)*(q*total-below)/(upto-below)
		}
		lower, below = bucket.GetUpperBound(), upto
	}
	return lower
}
