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
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"rookery/test/measure"
)

// descriptors is the limit that the server is given, so that a run is the same wherever it
// is run.
const descriptors = 19_000

// server is the process under test, with a data directory of its own.
type server struct {
	// Set by startServer.
	cmd            *exec.Cmd
	data           string
	address, admin string
	ended          chan struct{} // closed when the process has ended
}

// startServer starts the binary and waits until it serves. Whoever calls it calls stop.
func startServer(ctx context.Context, binary string) (*server, error) {
	data, err := os.MkdirTemp("", "rookery-figures-")
	if err != nil {
		return nil, err
	}
	s := &server{data: data, ended: make(chan struct{})}
	s.cmd = exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptors), binary,
		"serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data, "--drain.window", "0s")
	// Nothing of our environment but the path: a ROOKERY_ variable would change the server.
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := s.cmd.StderrPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(data))
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
		s.cmd.Wait() // stop looks at the status
	}()
	select {
	case found := <-serving:
		s.address, s.admin = found[1], found[2]
		return s, nil
	case <-s.ended:
		return nil, errors.Join(fmt.Errorf("the server ended at once: %s", said.String()), os.RemoveAll(data))
	}
}

var servingLine = regexp.MustCompile(`msg=serving address=(\S+) .*admin=(\S+)`)

// stop ends the server and removes its data.
func (s *server) stop() error {
	s.cmd.Process.Signal(os.Interrupt) // an error means that it has ended
	select {
	case <-s.ended:
	case <-time.After(15 * time.Second):
		s.cmd.Process.Kill()
		<-s.ended
	}
	var status error
	if !s.cmd.ProcessState.Success() {
		status = fmt.Errorf("the server ended with %v", s.cmd.ProcessState)
	}
	return errors.Join(status, os.RemoveAll(s.data))
}

// memory is what the process holds, by /proc/PID/smaps_rollup.
type memory struct {
	ResidentBytes     int64 `json:"resident_bytes"`     // Rss
	ProportionalBytes int64 `json:"proportional_bytes"` // Pss: shared pages divided among their users
	AnonymousBytes    int64 `json:"anonymous_bytes"`    // heap and stacks, without the binary's pages
}

func (s *server) memory() (m memory, err error) {
	path := fmt.Sprintf("/proc/%d/smaps_rollup", s.cmd.Process.Pid)
	for name, to := range map[string]*int64{"Rss": &m.ResidentBytes, "Pss": &m.ProportionalBytes, "Anonymous": &m.AnonymousBytes} {
		if *to, err = measure.Kibibytes(path, name); err != nil {
			return m, err
		}
	}
	return m, nil
}

// get asks the admin listener.
func (s *server) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+path, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return body, err
}

type metrics map[string]*dto.MetricFamily

func (s *server) metrics(ctx context.Context) (metrics, error) {
	body, err := s.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(strings.NewReader(string(body)))
}

// value of a metric without labels, 0 if there is none.
func (m metrics) value(name string) float64 {
	for _, v := range m[name].GetMetric() {
		return v.GetGauge().GetValue() + v.GetCounter().GetValue()
	}
	return 0
}

// histogram of a metric without labels; an empty one if there is none.
func (m metrics) histogram(name string) *dto.Histogram {
	for _, v := range m[name].GetMetric() {
		return v.GetHistogram()
	}
	return &dto.Histogram{}
}

// await polls the metrics until done: the server tells nobody what it has come to.
func (s *server) await(ctx context.Context, done func(metrics) bool) error {
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for {
		m, err := s.metrics(ctx)
		if err != nil {
			return err
		}
		if done(m) {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
