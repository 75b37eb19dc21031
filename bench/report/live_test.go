package report

import (
	"bytes"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rookery/bench/result"
)

// progress turns a run into what Show is given.
func progress(r *result.Result) []Progress {
	var all []Progress
	begins := map[Phase]int{}
	for i, s := range r.Seconds {
		p := Progress{Phase: phaseOf(r, i), Connections: int64(r.Plan.Clients.Connections), Second: s}
		if _, began := begins[p.Phase]; !began {
			begins[p.Phase] = i
		}
		p.Elapsed = time.Duration(i-begins[p.Phase]+1) * time.Second
		switch p.Phase {
		case WarmUp:
			p.Length = r.Plan.Time.Warmup
		case Load:
			p.Length = r.Plan.Time.Duration
		}
		all = append(all, p)
	}
	return all
}

func TestLiveWithoutATerminal(t *testing.T) {
	r := fullRun()
	r.Seconds[7].Counts.Lost = 1234
	r.Seconds[0].Counts.ConnectsFailed = 2
	var b bytes.Buffer
	live := NewLive(&b, nil)
	for _, p := range progress(r) {
		live.Show(p)
	}
	live.End()
	if strings.Contains(b.String(), "\x1b") {
		t.Error("there are escape sequences")
	}
	golden(t, "live-lines.txt", b.Bytes())
}

func TestLiveLinesGetFewer(t *testing.T) {
	var b bytes.Buffer
	live := NewLive(&b, nil)
	for i := range 60 {
		live.Show(Progress{Phase: Load, Elapsed: time.Duration(i+1) * time.Second})
	}
	if n := strings.Count(b.String(), "\n"); n != 15 {
		t.Errorf("a minute has %d lines, want one for each of the first ten seconds and five more", n)
	}
}

func TestLiveOnATerminal(t *testing.T) {
	var b bytes.Buffer
	live := &Live{out: &b, width: func() int { return 40 }}
	r := fullRun()
	r.Seconds[7].Counts = result.Counts{Sent: 123456789, Delivered: 9876543210, Lost: 1e9, Duplicated: 5000, Reordered: 1e6, Refused: 12345}
	for _, p := range progress(r) {
		p.Step = "20,000 messages/s, and a long name of a step"
		live.Show(p)
	}
	live.End()
	blocks := strings.Split(b.String(), "\x1b[J")
	shown := 0
	for i, block := range blocks[:len(blocks)-1] {
		// Each block goes up over all lines of the one before.
		if up := regexp.MustCompile(`\x1b\[(\d+)A\r$`).FindStringSubmatch(block); i > 0 && (up == nil || up[1] != itoa(shown)) {
			t.Errorf("block %d goes up by %v, want %d lines", i, up, shown)
		}
		shown = strings.Count(blocks[i+1], "\n")
		for line := range strings.Lines(blocks[i+1]) {
			line = strings.TrimSuffix(line, "\n")
			if n := utf8.RuneCountInString(line); n > 40 && !strings.HasPrefix(line, "\x1b") {
				t.Errorf("%q is %d columns wide", line, n)
			}
		}
	}
	golden(t, "live-terminal.txt", []byte(strings.ReplaceAll(b.String(), "\x1b", "ESC")))
}

func itoa(n int) string { return formatCount(float64(n)) }

func TestLiveKnowsATerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if NewLive(file, nil).width != nil || NewLive(&bytes.Buffer{}, nil).width != nil {
		t.Error("a file or a buffer is taken for a terminal")
	}
	for environ, want := range map[string]bool{"NO_COLOR=1": true, "NO_COLOR=": false, "TERM=dumb": true, "TERM=xterm": false, "X=NO_COLOR": false} {
		if isPlain([]string{"A=b", environ}) != want {
			t.Errorf("%s asks for plain lines: want %v", environ, want)
		}
	}
}

func TestBar(t *testing.T) {
	for want, share := range map[string][2]float64{
		"[                        ]   0%": {0, 0},
		"[############            ]  50%": {1, 2},
		"[########################] 100%": {3, 2},
	} {
		if got := bar(share[0], share[1]); got != want {
			t.Errorf("%v is %q, want %q", share, got, want)
		}
	}
}

func TestMetrics(t *testing.T) {
	m := NewMetrics()
	scrape := func() string {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	before := scrape()
	for _, absent := range []string{"server_memory", "latency", "lateness"} {
		if strings.Contains(before, absent) {
			t.Errorf("%s is there before the first second:\n%s", absent, before)
		}
	}
	r := fullRun()
	for _, p := range progress(r)[:8] {
		m.Show(p)
	}
	golden(t, "metrics.txt", []byte(scrape()))
	m.Show(Progress{Phase: Filling})
	if filling := scrape(); strings.Count(filling, `rookery_bench_phase{phase=`) != 5 || !strings.Contains(filling, `rookery_bench_phase{phase="filling rooms"} 1`) {
		t.Errorf("rooms are filled, and the phase is wrong:\n%s", filling)
	}
	m.Show(Progress{Phase: Draining})
	after := scrape()
	if strings.Contains(after, "server_memory") || strings.Contains(after, "latency") {
		t.Errorf("a second without a server or deliveries shows the ones before:\n%s", after)
	}
	if !strings.Contains(after, "\nrookery_bench_deliveries_total 12000\n") || !strings.Contains(after, `rookery_bench_phase{phase="draining"} 1`) {
		t.Errorf("counters went back, or the phase is wrong:\n%s", after)
	}
}
