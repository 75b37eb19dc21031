package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"rookery/test/benchmarks/control"
)

// server is a rookery serve in a machine, and nothing is forced on it: its settings are those of everybody but for caps, which one
// address and one user would meet, and for the handshake's patience, which an emulated processor needs.
type server struct {
	*machine
	program     *program
	collections *collections
	succession  *succession
	heartbeat   time.Duration
	loader      loader
}

// loader is the machine that the load tester is in, and from where to where its connections go.
type loader struct {
	*machine
	processor int
	target    string // URL
	source    string // range of addresses
}

const (
	// slowHeartbeat is for what heartbeats have no part in: as good as none.
	slowHeartbeat = 24 * time.Hour
	// startPatience is for the server to be ready.
	startPatience = time.Minute
	// look is how often the server's metrics are asked.
	look = 3 * time.Second
)

// heartbeatFor gives an emulated processor time: a heartbeat and its answer cost it 0.3 ms, and with the default of 25 s a crowd of
// 160,000 would leave none for others to come. So there are 2,500 a second at most.
func heartbeatFor(connections int) time.Duration {
	return max(25*time.Second, time.Duration(connections)*400*time.Microsecond)
}

// serve boots a machine with room for so many connections and starts the server, which listens at an address and port of the machine.
func (e *equipment) serve(ctx context.Context, connections int, listen string, heartbeat time.Duration) (*server, error) {
	m, err := e.boot(ctx, connections)
	if err != nil {
		return nil, err
	}
	s, err := m.serve(listen, heartbeat)
	if err != nil {
		m.off()
	}
	return s, err
}

// serve starts the server. The load tester is to be in the same machine.
func (m *machine) serve(listen string, heartbeat time.Duration) (*server, error) {
	s := &server{machine: m, collections: &collections{}, succession: newSuccession(), heartbeat: heartbeat}
	s.loader = loader{m, benchProcessor, "ws://127.0.0.1:8080/ws", "127.0.0.0/16"}
	hear := func(line string) {
		s.collections.hear(line)
		s.succession.hear(line)
	}
	var err error
	s.program, err = m.start(serverProcessor, []string{"GODEBUG=gctrace=1"}, hear,
		"serve", "--data", "/data", "--listen", listen, "--admin", fmt.Sprintf("0.0.0.0:%d", control.AdminPort),
		"--auth.hs256-secret-file", control.SecretFile, "--heartbeat", heartbeat.String(),
		"--limits.connections-per-ip", "0", "--limits.connections-per-user", "0", "--limits.handshake-timeout", "1m",
		"--log.segment-bytes", "2MiB") // the machine's disk is its memory
	if err != nil {
		return nil, err
	}
	return s, s.ready()
}

func (s *server) ready() error {
	for deadline := time.Now().Add(startPatience); ; {
		_, err := s.get("/readyz")
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server is not ready after %v: %w; it said:\n%s", startPatience, err, s.program.lines())
		}
		if err := s.pause(time.Second); err != nil {
			return err
		}
	}
}

// get asks the admin listener.
func (s *server) get(path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, "http://"+s.Address+path, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: answerPatience}
	res, err := client.Do(req)
	if err != nil {
		if s.ctx.Err() != nil {
			return nil, context.Cause(s.ctx)
		}
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return body, err
}

// state is what the server counts.
type state struct {
	sessions, subscriptions float64
	closed                  float64            // connections, ever, whoever closed them
	closedBy                map[string]float64 // the same by code
	probes                  float64            // heartbeats that the server asked for, ever
	answers                 float64            // of them, those that were answered
}

func (s *server) state() (state, error) {
	body, err := s.get("/metrics")
	if err != nil {
		return state{}, err
	}
	return parseState(string(body))
}

// nextState waits a while before.
func (s *server) nextState() (state, error) {
	if err := s.pause(look); err != nil {
		return state{}, err
	}
	return s.state()
}

func parseState(text string) (st state, err error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return st, fmt.Errorf("metrics of the server: %w", err)
	}
	for name, to := range map[string]*float64{
		"rookery_sessions": &st.sessions, "rookery_subscriptions": &st.subscriptions, "rookery_connections_closed_total": &st.closed,
		"rookery_probes_total": &st.probes, "rookery_probes_answered_total": &st.answers,
	} {
		if families[name] == nil {
			return st, fmt.Errorf("the server has no metric %s", name)
		}
		for _, m := range families[name].Metric {
			*to += valueOf(m)
		}
	}
	st.closedBy = map[string]float64{}
	for _, m := range families["rookery_connections_closed_total"].Metric {
		for _, label := range m.Label {
			st.closedBy[label.GetValue()] += valueOf(m)
		}
	}
	return st, nil
}

func valueOf(m *dto.Metric) float64 { return m.GetGauge().GetValue() + m.GetCounter().GetValue() }

// resident is the memory of a process of the machine.
func (m *machine) resident(pid int) (memory, error) {
	text, err := m.read(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return memory{}, err
	}
	return parseMemory(text)
}

// profileTime is how long a profile is taken.
const profileTime = 30 * time.Second

// takeProfile writes a CPU profile of the server to the directory that was asked for.
func (s *server) takeProfile(name string) error {
	body, err := s.get(fmt.Sprintf("/debug/pprof/profile?seconds=%.0f", profileTime.Seconds()))
	if err != nil {
		return fmt.Errorf("profile of the server: %w", err)
	}
	return os.WriteFile(filepath.Join(s.equipment.profile, name+"-server.pprof"), body, 0o644)
}
