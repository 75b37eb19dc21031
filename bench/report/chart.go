package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"rookery/bench/result"
)

// mostPoints is how many points a line has at most; longer runs have several seconds in one.
const mostPoints = 240

// point is some seconds of a run in a row.
type point struct {
	from, to                    int // [from, to)
	open, serverRSS, clientRSS  float64
	sent, delivered             float64 // a second
	latency                     [5]float64
	serverCores, clientCores    float64
	busiest                     float64
	measured, served, clientRun bool // deliveries came, the server was seen, the client watched itself
}

// points gives the run in at most mostPoints parts. Latencies and the busiest loop are the worst second's: a mean
// of percentiles means nothing, and a stall must not fade.
func points(r *result.Result) []point {
	width := (len(r.Seconds) + mostPoints - 1) / mostPoints
	var all []point
	for from := 0; from < len(r.Seconds); from += width {
		p := point{from: from, to: min(from+width, len(r.Seconds))}
		n := float64(p.to - p.from)
		for _, s := range r.Seconds[p.from:p.to] {
			p.open = float64(s.Open)
			p.sent += float64(s.Counts.Sent) / n
			p.delivered += float64(s.Counts.Delivered) / n
			p.serverRSS, p.clientRSS = max(p.serverRSS, float64(s.Server.MemoryBytes)), max(p.clientRSS, float64(s.Client.MemoryBytes))
			p.serverCores += s.Server.CPUSeconds / n
			p.clientCores += s.Client.CPUSeconds / n
			p.busiest = max(p.busiest, s.Client.BusiestLoop)
			p.served = p.served || s.Server.Seen
			p.clientRun = p.clientRun || s.Client.MemoryBytes > 0 || s.Client.CPUSeconds > 0
			if s.Delivery.Count > 0 {
				p.measured = true
				for i, q := range quantiles {
					p.latency[i] = max(p.latency[i], q.read(s.Delivery))
				}
			}
		}
		all = append(all, p)
	}
	return all
}

// timeline makes the charts that share the axis of time.
type timeline struct {
	r      *result.Result
	points []point
	xs     []float64
	axis   axis
	bands  []band
}

func newTimeline(r *result.Result) *timeline {
	t := &timeline{r: r, points: points(r)}
	for _, p := range t.points {
		t.xs = append(t.xs, float64(p.from+p.to)/2)
	}
	t.axis = timeAxis(len(r.Seconds))
	if warm := warmupFrom(r); warm < r.LoadFrom {
		t.bands = append(t.bands, band{"warm-up", "warmup", float64(warm), float64(r.LoadFrom)})
	}
	if r.LoadTo > r.LoadFrom {
		t.bands = append(t.bands, band{"counted load", "counted", float64(r.LoadFrom), float64(min(r.LoadTo, len(r.Seconds)))})
	}
	return t
}

func timeAxis(length int) axis {
	step := 1
	for _, step = range []int{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 12 * 3600, 24 * 3600} {
		if length <= 8*step {
			break
		}
	}
	a := axis{name: "time since the first connect", to: float64(max(length, 1))}
	a.format = func(v float64) string {
		if v == 0 {
			return "0"
		}
		return formatDuration(time.Duration(v) * time.Second)
	}
	for at := 0; at <= length; at += step {
		a.ticks = append(a.ticks, float64(at))
	}
	return a
}

// values reads a number of each point; NaN where has says that there is none.
func (t *timeline) values(has func(*point) bool, read func(*point) float64) []float64 {
	all := make([]float64, len(t.points))
	for i := range t.points {
		all[i] = math.NaN()
		if has == nil || has(&t.points[i]) {
			all[i] = read(&t.points[i])
		}
	}
	return all
}

// chart puts lines together, nil if none of them has a value. Lines without any are left out.
func (t *timeline) chart(id, title string, format func(float64) string, lines ...series) *plot {
	p := &plot{id: id, title: title, x: t.axis, bands: t.bands}
	most := 0.0
	for _, l := range lines {
		top, any := 0.0, false
		for _, v := range l.ys {
			if !math.IsNaN(v) {
				top, any = max(top, v), true
			}
		}
		if any {
			most = max(most, top)
			l.xs = t.xs
			p.series = append(p.series, l)
			p.description += fmt.Sprintf("%s: at most %s. ", l.name, format(top))
		}
	}
	if len(p.series) == 0 {
		return nil
	}
	p.y = linear("", most, format)
	p.description += "The numbers are in the table of seconds below."
	t.tips(p, format)
	return p
}

// tips gives the first line the words for each of its points.
func (t *timeline) tips(p *plot, format func(float64) string) {
	tips := make([]string, len(t.points))
	for i, point := range t.points {
		words := []string{spanText(point)}
		for _, s := range p.series {
			if !math.IsNaN(s.ys[i]) {
				words = append(words, s.name+" "+format(s.ys[i]))
			}
		}
		tips[i] = strings.Join(words, "\n")
	}
	p.series[0].tips = tips
}

// spanText names the seconds of a point by their begin and end.
func spanText(p point) string { return fmt.Sprintf("%d to %d s", p.from, p.to) }

func (t *timeline) latency() *plot {
	var lines []series
	measured := func(p *point) bool { return p.measured }
	for i, q := range quantiles {
		lines = append(lines, series{name: q.name, class: i, ys: t.values(measured, func(p *point) float64 { return seconds(p.latency[i]) })})
	}
	p := t.chart("latency", "Delivery latency over time", formatSeconds, lines...)
	if p == nil {
		return nil
	}
	least, most := extremes(p.series)
	p.y = logarithmic("", least, most, unitTime.tick)
	p.note = "From the moment at which a message was due to its receipt, each second by itself, on a logarithmic scale."
	if width := t.points[0].to - t.points[0].from; width > 1 {
		p.note += fmt.Sprintf(" Each point is the worst of %d seconds.", width)
	}
	return p
}

// extremes of all lines, positive.
func extremes(lines []series) (least, most float64) {
	least, most = math.Inf(1), 1e-6
	for _, s := range lines {
		for _, v := range s.ys {
			if v > 0 { // false for NaN
				least, most = min(least, v), max(most, v)
			}
		}
	}
	return min(least, most), most
}

func ratePerSecond(v float64) string { return short(v) + "/s" }

// overTime is every other chart with the axis of time.
func (t *timeline) overTime() []*plot {
	served := func(p *point) bool { return p.served }
	client := func(p *point) bool { return p.clientRun }
	was := func(counts int64) func(*point) bool { return func(*point) bool { return counts > 0 } }
	cores := func(v float64) string { return digits(v) }
	all := []*plot{
		t.chart("delivered", "Delivered each second", ratePerSecond,
			series{name: "delivered", ys: t.values(was(t.r.Counts.Delivered), func(p *point) float64 { return p.delivered })}),
		t.chart("sent", "Sent each second", ratePerSecond,
			series{name: "sent", ys: t.values(was(t.r.Counts.Sent), func(p *point) float64 { return p.sent })}),
		t.chart("open", "Connections open", short,
			series{name: "open", ys: t.values(nil, func(p *point) float64 { return p.open })}),
		t.chart("memory", "Memory", unitBytes.tick,
			series{name: "server", class: 0, ys: t.values(served, func(p *point) float64 { return p.serverRSS })},
			series{name: "load generator", class: 2, ys: t.values(client, func(p *point) float64 { return p.clientRSS })}),
		t.chart("cpu", "CPU, in cores", cores,
			series{name: "server", class: 0, ys: t.values(served, func(p *point) float64 { return p.serverCores })},
			series{name: "load generator", class: 2, ys: t.values(client, func(p *point) float64 { return p.clientCores })},
			series{name: "its busiest loop", class: 3, ys: t.values(client, func(p *point) float64 { return p.busiest })}),
	}
	return slices.DeleteFunc(all, func(p *plot) bool { return p == nil })
}

// table is the alternative to every chart of time.
func (t *timeline) table() section {
	s := section{title: "Second by second", columns: []string{"seconds", "open", "sent/s", "delivered/s"}}
	for _, q := range quantiles {
		s.columns = append(s.columns, q.name)
	}
	s.columns = append(s.columns, "server cores", "server memory", "client cores", "busiest loop", "client memory")
	cell := func(has bool, text string) string {
		if !has {
			return ""
		}
		return text
	}
	for _, p := range t.points {
		row := []string{fmt.Sprintf("%d–%d", p.from, p.to), formatCount(p.open), formatCount(p.sent), formatCount(p.delivered)}
		for i := range quantiles {
			row = append(row, cell(p.measured, milliseconds(p.latency[i])))
		}
		s.rows = append(s.rows, append(row,
			cell(p.served, digits(p.serverCores)), cell(p.served, unitBytes.format(p.serverRSS)),
			cell(p.clientRun, digits(p.clientCores)), cell(p.clientRun, unitShare.format(p.busiest)), cell(p.clientRun, unitBytes.format(p.clientRSS))))
	}
	return s
}

const barsPerDecade = 12

// histogramChart shows how many deliveries took how long, nil if there were none.
func histogramChart(h *result.Histogram) *plot {
	buckets := h.Buckets()
	if len(buckets) == 0 {
		return nil
	}
	bin := func(d time.Duration) int { return int(math.Floor(math.Log10(d.Seconds()) * barsPerDecade)) }
	edge := func(bin int) float64 { return math.Pow(10, float64(bin)/barsPerDecade) }
	middle := func(b result.Bucket) time.Duration { return max((b.From+b.To)/2, time.Microsecond) }
	first, last := bin(middle(buckets[0])), bin(middle(buckets[len(buckets)-1]))
	s := series{name: "deliveries", kind: bars, ys: make([]float64, last-first+1), tips: make([]string, last-first+1)}
	for _, b := range buckets {
		s.ys[bin(middle(b))-first] += float64(b.Count)
	}
	for i := range len(s.ys) + 1 {
		s.xs = append(s.xs, edge(first+i))
	}
	for i, count := range s.ys {
		s.tips[i] = fmt.Sprintf("%s to %s\n%s deliveries, %s", formatSeconds(s.xs[i]), formatSeconds(s.xs[i+1]),
			formatCount(count), unitShare.format(count/float64(h.Count())))
	}
	p := &plot{
		id: "histogram", title: "How long deliveries took", series: []series{s},
		x:           logarithmic("delivery latency", s.xs[0], s.xs[len(s.xs)-1], unitTime.tick).within(s.xs[0], s.xs[len(s.xs)-1]),
		y:           linear("", slices.Max(s.ys), short),
		description: fmt.Sprintf("Histogram of %s deliveries, the middle one took %s.", commas(h.Count()), formatSeconds(h.Quantile(.5).Seconds())),
		note:        "Deliveries of the counted load by their latency, on a logarithmic scale.",
	}
	return p
}

// nines are the places of the percentile curve: each step is a tenth of what is left.
var nines = []float64{0, .25, .5, .6, .7, .75, .8, .85, .9, .925, .95, .96, .97, .98, .99, .9925, .995, .9975, .999, .9995, .9999, .99995, .99999, .999999}

// distribution is a histogram with its name.
type distribution struct {
	name string
	h    *result.Histogram
}

// distributions are those that are shown whole; how late the generator sent is only a check of itself.
func distributions(r *result.Result) []distribution {
	return []distribution{{"delivery", r.Latencies.Delivery}, {"acknowledgement", r.Latencies.Ack}, {"connect", r.Latencies.Connect}}
}

// percentileChart is latency against the share that was faster, nil if there is none.
func percentileChart(r *result.Result) *plot {
	p := &plot{
		id: "percentiles", title: "Latency by percentile",
		note: "Read: this share of all took at most so long. The right end is the slowest one.",
	}
	most := 0.0
	for i, l := range distributions(r) {
		if l.h.Count() < 2 {
			continue
		}
		s := series{name: l.name, class: 2 * i}
		// Beyond one in Count there is only the longest one.
		end := math.Log10(float64(l.h.Count()))
		for _, q := range nines {
			if x := -math.Log10(1 - q); x < end {
				s.xs, s.ys = append(s.xs, x), append(s.ys, l.h.Quantile(q).Seconds())
			}
		}
		s.xs, s.ys = append(s.xs, end), append(s.ys, l.h.Quantile(1).Seconds())
		most = max(most, end)
		p.series = append(p.series, s)
		p.description += fmt.Sprintf("%s: half within %s, 99%% within %s, the slowest %s. ", l.name,
			formatSeconds(l.h.Quantile(.5).Seconds()), formatSeconds(l.h.Quantile(.99).Seconds()), formatSeconds(l.h.Quantile(1).Seconds()))
	}
	if len(p.series) == 0 {
		return nil
	}
	p.x = axis{name: "percentile", to: most, format: func(v float64) string {
		return map[int]string{0: "0", 1: "90%", 2: "99%", 3: "99.9%", 4: "99.99%", 5: "99.999%", 6: "99.9999%"}[int(v)]
	}}
	for tick := 0.0; tick <= min(most, 6); tick++ {
		p.x.ticks = append(p.x.ticks, tick)
	}
	least, longest := extremes(p.series)
	p.y = logarithmic("", least, longest, unitTime.tick)
	return p
}

// searchChart is what was raised against p99, nil if this was no search.
func searchChart(r *result.Result) *plot {
	s := series{name: "delivery p99", kind: dots}
	for _, step := range r.Steps {
		if step.Delivery.P99 <= 0 || step.Value <= 0 {
			continue
		}
		s.xs, s.ys = append(s.xs, step.Value), append(s.ys, seconds(step.Delivery.P99))
		s.bad = append(s.bad, !step.Holds)
	}
	if len(s.xs) == 0 {
		return nil
	}
	// Refining goes back between two values: the line goes by value.
	order := make([]int, len(s.xs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(s.xs[a], s.xs[b]) })
	sorted := series{name: s.name, kind: dots}
	for _, i := range order {
		sorted.xs, sorted.ys, sorted.bad = append(sorted.xs, s.xs[i]), append(sorted.ys, s.ys[i]), append(sorted.bad, s.bad[i])
		sorted.tips = append(sorted.tips, fmt.Sprintf("%s %s\np99 %s\nholds: %s", formatCount(s.xs[i]), raised(r), formatSeconds(s.ys[i]), yesNo(!s.bad[i])))
	}
	least, most := extremes([]series{sorted})
	p := &plot{
		id: "search", title: "The limit: " + raised(r) + " against p99", series: []series{sorted},
		x:           logarithmic(raised(r), sorted.xs[0], sorted.xs[len(sorted.xs)-1], short),
		y:           logarithmic("", least, most, unitTime.tick),
		description: kneeText(r),
		note:        kneeText(r) + " A cross is a step that did not hold.",
	}
	if hasKnee(r) {
		value := r.Steps[r.Knee].Value
		p.mark = &mark{name: "knee " + formatCount(value), x: value}
	}
	return p
}
