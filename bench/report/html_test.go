package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rookery/bench/result"
)

func pageOf(t *testing.T, r *result.Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// elements reads the page as XML, which it also is, so that an element that is not closed is found.
func elements(t *testing.T, page string) (counts map[string]int, ids map[string]int, texts string) {
	t.Helper()
	counts, ids = map[string]int{}, map[string]int{}
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return counts, ids, texts
		}
		if err != nil {
			line, _ := d.InputPos()
			t.Fatalf("line %d: %v: %.300s", line, err, strings.Split(page, "\n")[line-1])
		}
		switch token := token.(type) {
		case xml.StartElement:
			counts[token.Name.Local]++
			for _, a := range token.Attr {
				if a.Name.Local == "id" {
					ids[a.Value]++
				}
				if strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("an element has a script: %s=%q", a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			texts += string(token)
		}
	}
}

func TestPageIsWholeAndAlone(t *testing.T) {
	for name, r := range map[string]*result.Result{"full": fullRun(), "bare": bareRun(), "invalid": invalidRun(), "search": searchRun(), "nothing": {Latencies: result.NewLatencies()}} {
		page := pageOf(t, r)
		counts, ids, _ := elements(t, page)
		for _, element := range []string{"script", "link", "img", "iframe", "object", "image", "use"} {
			if counts[element] > 0 {
				t.Errorf("%s: the page has %s", name, element)
			}
		}
		if found := regexp.MustCompile(`(?i)(src|href)=|url\(|@import|https?://`).FindString(page); found != "" {
			t.Errorf("%s: the page refers to something: %s", name, found)
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("%s: the id %s is there %d times", name, id, n)
			}
		}
		for _, match := range regexp.MustCompile(`aria-labelledby="([^"]+)"`).FindAllStringSubmatch(page, -1) {
			for _, id := range strings.Fields(match[1]) {
				if ids[id] != 1 {
					t.Errorf("%s: a picture is named by %s, which is not there", name, id)
				}
			}
		}
		if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") || strings.Contains(page, "ZgotmplZ") {
			t.Errorf("%s: a value on the page is no number, or was refused by the template", name)
		}
	}
}

func TestPageHasEveryPlot(t *testing.T) {
	ids := func(r *result.Result) map[string]int {
		_, ids, _ := elements(t, pageOf(t, r))
		return ids
	}
	all := []string{"latency", "histogram", "percentiles", "delivered", "sent", "open", "memory", "cpu"}
	full := ids(fullRun())
	for _, id := range all {
		if full[id+"-narrow-t"] != 1 || full[id+"-narrow-d"] != 1 {
			t.Errorf("the plot %s is not there", id)
		}
	}
	if full["search-wide-t"] != 0 || ids(searchRun())["search-wide-t"] != 1 {
		t.Error("the plot of a search is where there was none, or the other way round")
	}
	left := ids(bareRun())
	for _, id := range all {
		if want := map[string]int{"open": 1}[id]; left[id+"-narrow-t"] != want {
			t.Errorf("of a run without load the plot %s is there %d times, want %d", id, left[id+"-narrow-t"], want)
		}
	}
}

func TestPageEscapesEverything(t *testing.T) {
	const evil = `</style></title><script>alert("1")</script><img src=x onerror='x'>&amp;`
	r := invalidRun()
	r.Rookery, r.Plan.Scenario, r.Plan.Server.Dialect, r.Plan.Server.Codec = evil, evil, evil, evil
	r.Plan.Server.Targets, r.Plan.Publish.Arrivals, r.Plan.Rooms.Prefix = []string{evil}, evil, evil
	r.Plan.Trouble.Cut.Share, r.Plan.Trouble.Cut.How = 0.5, evil
	r.Hosts[0].Name, r.Hosts[0].CPU, r.Hosts[0].Kernel = evil, evil, evil
	r.Faults = []result.Fault{{What: evil, Message: evil, Count: 1}}
	r.Verdict.Cause, r.Verdict.Limit, r.Verdict.Reasons = evil, evil, []string{evil}
	r.Asserts = []result.Check{{Condition: evil, Reason: evil}}
	r.Plan.Find.What = evil
	r.Steps = searchRun().Steps
	r.Steps[0].Checks, r.Steps[0].Holds, r.Steps[0].Verdict = []result.Check{{Condition: evil, Reason: evil}}, false, result.Verdict{Cause: evil}
	page := pageOf(t, r)
	counts, _, texts := elements(t, page)
	if counts["script"]+counts["img"] > 0 || counts["style"] != 1 {
		t.Errorf("what the result says became elements: %v", counts)
	}
	if n := strings.Count(texts, evil); n < 14 {
		t.Errorf("the text is shown %d times as it is, want it in every place", n)
	}
}

func TestPlotEscapesItsTexts(t *testing.T) {
	const evil = `</text><script>"&`
	p := newTimeline(fullRun()).latency()
	p.title, p.description, p.x.name, p.mark = evil, evil, evil, &mark{name: evil, x: 5}
	p.y.format = func(float64) string { return evil }
	p.x.format, p.series[0].tips[0] = p.y.format, evil
	counts, _, texts := elements(t, string(p.Narrow()))
	if counts["script"] > 0 || strings.Count(texts, evil) < 7 {
		t.Errorf("elements %v, texts %q", counts, texts)
	}
}

// TestInvalidCantBeOverlooked: also in a plot that somebody cuts out, and in the window's title.
func TestInvalidCantBeOverlooked(t *testing.T) {
	page := pageOf(t, invalidRun())
	counts, _, _ := elements(t, page)
	pictures := strings.Count(page, `role="img"`)
	if marks := strings.Count(page, `class="void"`); marks != pictures || pictures < 9 {
		t.Errorf("%d of %d pictures are marked", marks, pictures)
	}
	if !strings.Contains(page, "<title>INVALID · ") || !strings.Contains(page, `<body class="invalid">`) || counts["h1"] != 1 {
		t.Error("the title or the body does not say that the run is invalid")
	}
	if valid := pageOf(t, fullRun()); strings.Contains(valid, "INVALID") {
		t.Error("a valid run is called invalid")
	}
}

func TestPlot(t *testing.T) {
	golden(t, "latency.svg", []byte(strings.ReplaceAll(string(newTimeline(fullRun()).latency().Narrow()), "><", ">\n<")+"\n"))
}

func TestPlotBreaksWhereNothingWasMeasured(t *testing.T) {
	r := fullRun()
	r.Seconds[5].Delivery = result.Summary{}
	r.Seconds[7].Delivery = result.Summary{} // second 6 is alone
	drawn := string(newTimeline(r).latency().Narrow())
	path := regexp.MustCompile(`<path class="s0" d="([^"]*)"`).FindStringSubmatch(drawn)
	if path == nil || strings.Count(path[1], "M") != 2 {
		t.Errorf("the line is %q, want two parts", path)
	}
	if n := strings.Count(drawn, `<circle class="d0"`); n != 1 {
		t.Errorf("%d lone points are drawn, want one", n)
	}
}

// TestALongRunKeepsItsWorstSecond: several seconds share a point, and a stall of one must be seen.
func TestALongRunKeepsItsWorstSecond(t *testing.T) {
	r := fullRun()
	pattern := r.Seconds[4]
	r.Seconds = nil
	for range 3600 {
		r.Seconds = append(r.Seconds, pattern)
	}
	r.LoadTo = 3600
	r.Seconds[1234].Delivery.Max = 9000
	all := points(r)
	if len(all) > mostPoints || all[len(all)-1].to != 3600 {
		t.Errorf("%d points until %d", len(all), all[len(all)-1].to)
	}
	worst, sum := 0.0, 0.0
	for _, p := range all {
		worst, sum = max(worst, p.latency[4]), sum+p.delivered*float64(p.to-p.from)
	}
	if worst != 9000 || math.Abs(sum-3600*2000) > 1e-3 {
		t.Errorf("the worst is %v and the sum %v, want 9000 and %v", worst, sum, 3600*2000)
	}
	if p := newTimeline(r).latency(); !strings.Contains(p.note, "the worst of 15 seconds") {
		t.Errorf("the note is %q", p.note)
	}
}

func TestAxes(t *testing.T) {
	for most, want := range map[float64][2]float64{0: {1, 6}, 1: {1, 6}, 7: {8, 5}, 30000: {30000, 4}, 0.6: {0.6, 4}, 99: {100, 6}} {
		a := linear("", most, short)
		if math.Abs(a.to-want[0]) > 1e-9 || len(a.ticks) != int(want[1]) {
			t.Errorf("an axis to %v ends at %v with %d ticks, want %v", most, a.to, len(a.ticks), want)
		}
	}
	for _, test := range []struct{ least, most, from, to float64 }{
		{0.0015, 0.9, 0.001, 1}, {0.001, 0.001, 0.001, 0.002}, {3, 3.5, 2, 5}, {1000, 8000, 1000, 10000}, {1e-6, 600, 1e-6, 1000},
	} {
		a := logarithmic("", test.least, test.most, short)
		if math.Abs(a.from-test.from) > test.from/1e6 || math.Abs(a.to-test.to) > test.to/1e6 || len(a.ticks) < 2 {
			t.Errorf("from %v to %v the axis goes from %v to %v with ticks %v", test.least, test.most, a.from, a.to, a.ticks)
		}
	}
	for length, most := range map[int]int{0: 1, 1: 2, 11: 9, 90: 10, 3600: 9, 86400: 9} {
		if a := timeAxis(length); len(a.ticks) > most || len(a.ticks) == 0 {
			t.Errorf("%d seconds have ticks %v", length, a.ticks)
		}
	}
}

func TestHistogramChartCountsEverything(t *testing.T) {
	h := result.NewHistogram()
	for _, d := range []time.Duration{0, time.Microsecond, 50 * time.Microsecond, time.Millisecond, 7 * time.Second, time.Hour} {
		h.RecordN(d, 10)
	}
	sum := 0.0
	p := histogramChart(h)
	for _, y := range p.series[0].ys {
		sum += y
	}
	if sum != 60 || len(p.series[0].xs) != len(p.series[0].ys)+1 {
		t.Errorf("the bars hold %v of 60 latencies", sum)
	}
	if histogramChart(result.NewHistogram()) != nil {
		t.Error("nothing has a histogram")
	}
}

func TestPercentilesBeyondTheCountAreLeftOut(t *testing.T) {
	table := percentileTable(fullRun()) // 12,000 deliveries, 120 acknowledgements, 1,000 connects
	last := map[string][]string{}
	for _, row := range table.rows {
		last[row[0]] = row
	}
	for name, want := range map[string][3]bool{"99%": {true, true, true}, "99.9%": {true, false, true}, "99.99%": {true, false, false}, "longest": {true, true, true}} {
		for i, has := range want {
			if row := last[name]; row == nil || (row[i+1] != "") != has {
				t.Errorf("%s is %q, want values in %v", name, row, want)
			}
		}
	}
	r := fullRun()
	r.Latencies.Connect.Reset()
	if columns := percentileTable(r).columns; len(columns) != 3 {
		t.Errorf("the columns are %q, want none for connects", columns)
	}
	if last["99.999%"] != nil {
		t.Errorf("99.999%% of 12,000 is %q", last["99.999%"])
	}
}

func TestPageFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.html")
	for _, r := range []*result.Result{fullRun(), invalidRun()} {
		if err := WriteHTMLFile(path, r); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != pageOf(t, r) {
			t.Errorf("the file is not the page: %v", err)
		}
	}
}
