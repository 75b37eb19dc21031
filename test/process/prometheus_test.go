package process

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/internal/porttest"
)

const (
	monitoring = "../../deploy/prometheus"
	dashboard  = "../../deploy/grafana/rookery.json"
)

// program finds one of Debian's package prometheus: installed, or where test/setup unpacks it so that no service comes along.
func program(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path, err := filepath.Abs("../../bin/tools/prometheus/usr/bin/" + name)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: test/setup gets it, from Debian's package prometheus", err)
	}
	return path
}

// TestAlertsFireWhenTheyShould, by the cases of deploy/prometheus/rookery.test.yml, of which each alert has one that fires and one that does not, at least.
func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "rules", "rookery.rules.yml"}, {"test", "rules", "rookery.test.yml"}} {
		command := exec.Command(program(t, "promtool"), args...)
		command.Dir = monitoring
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
	cases := read(t, filepath.Join(monitoring, "rookery.test.yml"))
	for _, alert := range alerts(t) {
		named := strings.Split(cases, "alertname: "+alert+"\n")[1:]
		quiet := 0
		for _, text := range named {
			first, _, _ := strings.Cut(text, "- interval")
			if strings.Contains(first, "exp_alerts: []") {
				quiet++
			}
		}
		if firing := len(named) - quiet; firing == 0 || quiet == 0 {
			t.Errorf("%s has %d cases that fire and %d that do not; want one of each at least", alert, firing, quiet)
		}
	}
}

// TestEveryAlertHasItsParagraph: who is woken up finds what to do, and no paragraph is about an alert that is no more.
func TestEveryAlertHasItsParagraph(t *testing.T) {
	var told []string
	for _, m := range regexp.MustCompile(`(?m)^### (Rookery[A-Za-z]+)$`).FindAllStringSubmatch(read(t, "../../docs/operations.md"), -1) {
		told = append(told, m[1])
	}
	if want := alerts(t); !slices.Equal(told, want) {
		t.Errorf("docs/operations.md has the alerts\n%q, want in the same order\n%q", told, want)
	}
}

// TestMonitoringIsOfRealMetrics has a real Prometheus scrape a server under load by the scrape configuration that is given away. Every
// expression of the dashboard gives a series, every alert is evaluated, every metric that either or a page of docs names is there, and each there is is named.
func TestMonitoringIsOfRealMetrics(t *testing.T) {
	t.Parallel()
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"allow":true}`) }))
	defer application.Close()
	certificate, key, _ := certify(t, t.TempDir())
	s := start(t, launch{binary: plainBinary, data: t.TempDir(), flags: []string{
		"--tls.listen", "127.0.0.1:0", "--tls.cert-files", certificate, "--tls.key-files", key,
		"--tls.acme.domains", "nowhere.invalid", "--tls.acme.agree-terms", "--tls.acme.directory", "https://127.0.0.1:1/",
		"--ship.to", t.TempDir(), "--webhooks.url", application.URL,
		"--webhooks.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "--webhooks.events", "connect",
	}})
	var peers [2]*peer
	for i := range peers {
		p, err := login(s.address, rawTCP, "alice")
		if err != nil {
			t.Fatal(err)
		}
		peers[i] = p
	}
	publisher, member := peers[0], peers[1]
	if err := member.enter("room"); err != nil {
		t.Fatal(err)
	}
	// Both go on until their connections are closed.
	ended := make(chan error, 2)
	go func() {
		for {
			if _, err := publisher.ask(publishRequest("room", "", "text")); err != nil {
				ended <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	go func() {
		for {
			if _, err := member.next(); err != nil {
				ended <- err
				return
			}
		}
	}()
	defer func() {
		for _, p := range peers {
			p.conn.Close()
		}
		<-ended
		<-ended
	}()

	monitor := startPrometheus(t, s.admin)
	rules := make(map[string]string)
	eventually(t, "three scrapes are in and every rule is evaluated", func() bool {
		var found struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		if monitor.get("rules", nil, &found) != nil {
			return false
		}
		clear(rules)
		for _, g := range found.Groups {
			for _, r := range g.Rules {
				rules[r.Name] = r.Health + r.LastError
			}
		}
		unknown := slices.ContainsFunc(alerts(t), func(name string) bool { return rules[name] == "" || rules[name] == "unknown" })
		return !unknown && monitor.series("count_over_time(rookery_connections[1m]) >= 3") == 1
	})
	for name, health := range rules {
		if health != "ok" {
			t.Errorf("the alert %s is evaluated: %s", name, health)
		}
	}
	if len(ended) > 0 {
		t.Fatal("the load has ended")
	}

	panels := expressions(t)
	if len(panels) < 40 {
		t.Errorf("the dashboard has only %d expressions: they are not found any more", len(panels))
	}
	named := read(t, filepath.Join(monitoring, "rookery.rules.yml"))
	for _, expression := range panels {
		named += expression + "\n"
		if n := monitor.series(expression); n == 0 {
			t.Errorf("the dashboard shows nothing for %s", expression)
		}
	}
	for _, metric := range regexp.MustCompile(`\b(rookery|process|go)_[a-z_]+`).FindAllString(named, -1) {
		if monitor.series(metric) == 0 {
			t.Errorf("there is no metric %s", metric)
		}
	}

	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		named += read(t, page)
	}
	status, shown, err := s.get("/metrics")
	if status != http.StatusOK || err != nil {
		t.Fatalf("GET /metrics: status %d, %v", status, err)
	}
	told := make(map[string]bool)
	for _, m := range regexp.MustCompile(`\b(rookery_[a-z_]*?[a-z])(_bucket|_sum|_count)?\b`).FindAllStringSubmatch(named, -1) {
		told[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (rookery_[a-z_]+) `).FindAllStringSubmatch(shown, -1) {
		if !told[m[1]] {
			t.Errorf("neither an alert nor the dashboard nor a page of docs has the metric %s", m[1])
		}
		delete(told, m[1])
	}
	for name := range told {
		t.Errorf("there is no metric %s, which a page of docs names", name)
	}
}

// alerts are the names in the order of the file.
func alerts(t *testing.T) (names []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(read(t, filepath.Join(monitoring, "rookery.rules.yml")), -1) {
		names = append(names, m[1])
	}
	if len(names) < 10 {
		t.Fatalf("only %d alerts were found", len(names))
	}
	return names
}

// expressions are those of the dashboard's panels, as Grafana asks them.
func expressions(t *testing.T) (all []string) {
	t.Helper()
	var page struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, dashboard)), &page); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$instance", ".*", "$__rate_interval", "1m")
	for _, panel := range page.Panels {
		for _, target := range panel.Targets {
			all = append(all, variables.Replace(target.Expr))
		}
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// prometheus is a running one.
type prometheus struct {
	t       *testing.T
	address string
}

// startPrometheus runs one with the configuration that is given away, but for where the server is and how often it is asked.
func startPrometheus(t *testing.T, target string) prometheus {
	t.Helper()
	dir := t.TempDir()
	config := read(t, filepath.Join(monitoring, "prometheus.yml"))
	for from, to := range map[string]string{"127.0.0.1:9090": target, "15s": "500ms"} {
		if !strings.Contains(config, from) {
			t.Fatalf("the scrape configuration has no %s", from)
		}
		config = strings.ReplaceAll(config, from, to)
	}
	rules := read(t, filepath.Join(monitoring, "rookery.rules.yml"))
	for name, text := range map[string]string{"prometheus.yml": config, "rookery.rules.yml": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := porttest.FreeAddress(t) // it does not say which port it was given
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command := exec.Command(program(t, "prometheus"), "--config.file", filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(dir, "tsdb"), "--web.listen-address", address)
	command.Stderr = log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill() // an error means that it has ended
		command.Wait()
		if t.Failed() {
			t.Logf("Prometheus' log:\n%s", read(t, log.Name()))
		}
	})
	return prometheus{t, address}
}

// get asks its API.
func (p prometheus) get(what string, query url.Values, into any) error {
	status, body, err := get("http://" + p.address + "/api/v1/" + what + "?" + query.Encode())
	if err != nil {
		return err
	}
	var answer struct {
		Data  json.RawMessage
		Error string
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return fmt.Errorf("status %d: %w", status, err)
	}
	if answer.Error != "" {
		return fmt.Errorf("status %d: %s", status, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// series counts those of an expression now.
func (p prometheus) series(expression string) int {
	p.t.Helper()
	var found struct{ Result []json.RawMessage }
	if err := p.get("query", url.Values{"query": {expression}}, &found); err != nil {
		p.t.Errorf("%s: %v", expression, err)
	}
	return len(found.Result)
}
