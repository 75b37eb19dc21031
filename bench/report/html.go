package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"

	"rookery/bench/result"
)

//go:embed report.html
var pageText string

//go:embed report.css
var pageStyle string

var page = template.Must(template.New("report").Parse(pageText))

// pageData is what the template reads. All texts are plain; the template escapes them.
type pageData struct {
	Style      template.CSS
	Title      string
	Subtitle   string
	State      state
	Invalid    bool
	Headline   string
	Reasons    []string
	Tiles      []tile
	Latency    *plot
	Search     *plot
	Plots      []*plot
	Tables     []pageTable
	Percentile *pageTable
	Seconds    pageTable
	Plan       string
}

// tile is a figure that is shown large.
type tile struct{ Name, Value, Title string }

// pageTable is a section for the template.
type pageTable struct {
	Title   string
	Columns []string
	Rows    [][]string
	Words   bool
	Wide    bool
}

func tableOf(s section) pageTable {
	return pageTable{Title: s.title, Columns: s.columns, Rows: s.rows, Words: s.words, Wide: len(s.columns) > 3 || s.title == "Faults" || s.title == "Conditions"}
}

// tileFigures are those that people ask for first; those that were not measured are left out.
var tileFigures = []struct{ name, title string }{
	{"p50", "delivery p50"},
	{"p99", "delivery p99"},
	{"p99.9", "delivery p99.9"},
	{"deliveries_per_second", "delivered"},
	{"lost", "lost"},
	{"missing", "missing in the end"},
	{"connected", "connected"},
	{"server.cpu_per_delivery", "server CPU for a delivery"},
	{"server.rss_per_connection", "server memory for a connection"},
}

// WriteHTML writes the result as one page that needs nothing else: no script, no font, no picture from elsewhere.
func WriteHTML(w io.Writer, r *result.Result) error {
	data := pageData{
		Style: template.CSS(pageStyle), Title: pageTitle(r), Subtitle: pageSubtitle(r),
		Invalid: !r.Verdict.Valid, Reasons: verdictLines(r), Search: searchChart(r),
	}
	data.State, data.Headline = headline(r)
	s := subjectOf(r)
	for _, t := range tileFigures {
		f := figureNamed(t.name)
		if v, measured := f.value(s); measured && (v != 0 || t.name != "missing") { // mostly nothing is, and "lost" says so
			data.Tiles = append(data.Tiles, tile{Name: t.name, Title: t.title, Value: f.unit.format(v)})
		}
	}
	if len(r.Seconds) > 0 {
		timeline := newTimeline(r)
		data.Latency = timeline.latency()
		data.Plots = timeline.overTime()
		data.Seconds = tableOf(timeline.table())
	}
	var distribution []*plot
	for _, p := range []*plot{histogramChart(r.Latencies.Delivery), percentileChart(r)} {
		if p != nil {
			distribution = append(distribution, p)
		}
	}
	data.Plots = append(distribution, data.Plots...)
	for _, p := range append([]*plot{data.Latency, data.Search}, data.Plots...) {
		if p != nil {
			p.invalid = data.Invalid
		}
	}
	for _, section := range sections(r) {
		data.Tables = append(data.Tables, tableOf(section))
	}
	if table := percentileTable(r); len(table.rows) > 0 {
		percentiles := tableOf(table)
		data.Percentile = &percentiles
	}
	plan, err := json.MarshalIndent(r.Plan, "", "  ")
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	data.Plan = string(plan)
	var b bytes.Buffer
	if err := page.Execute(&b, data); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// WriteHTMLFile writes the page; a reader sees the old file or the new one.
func WriteHTMLFile(path string, r *result.Result) error {
	var b bytes.Buffer
	if err := WriteHTML(&b, r); err != nil {
		return err
	}
	return replace(path, b.Bytes())
}

func pageTitle(r *result.Result) string {
	title := fmt.Sprintf("%s connections", commas(int64(r.Plan.Clients.Connections)))
	switch {
	case r.Plan.Find.What == "clients.connections":
		title = "how many connections"
	case r.Plan.Find.What != "":
		title += ", how many " + raised(r)
	case r.Plan.Publish.Closed > 0:
		title += fmt.Sprintf(", %s messages under way in each room", commas(int64(r.Plan.Publish.Closed)))
	case r.Plan.Publish.Rate > 0:
		title += fmt.Sprintf(", %s messages/s", formatCount(r.Plan.Publish.Rate))
	}
	if r.Plan.Scenario != "" {
		title = r.Plan.Scenario + ": " + title
	}
	return title
}

func pageSubtitle(r *result.Result) string {
	var parts []string
	if r.Plan.Server.Dialect != "" {
		parts = append(parts, strings.TrimSpace(r.Plan.Server.Dialect+" "+r.Plan.Server.Codec))
	}
	parts = append(parts, countedText(r))
	if !r.Started.IsZero() {
		parts = append(parts, r.Started.UTC().Format("2 January 2006, 15:04 UTC"))
	}
	return strings.Join(parts, " · ")
}

// percentileTable is the alternative to the two charts of the distribution.
func percentileTable(r *result.Result) section {
	s := section{title: "Percentiles", columns: []string{"percentile"}}
	var columns []*result.Histogram
	for _, l := range distributions(r) {
		if l.h.Count() > 0 {
			s.columns, columns = append(s.columns, l.name), append(columns, l.h)
		}
	}
	for _, q := range []float64{.25, .5, .75, .9, .95, .99, .995, .999, .9999, .99999, 1} {
		row := []string{unitShareText(q)}
		any := false
		for _, h := range columns {
			cell := ""
			// A percentile beyond the count of values would be the longest one under another name.
			if n := float64(h.Count()); q == 1 || n*(1-q) >= 1 {
				cell, any = formatSeconds(h.Quantile(q).Seconds()), true
			}
			row = append(row, cell)
		}
		if any {
			s.rows = append(s.rows, row)
		}
	}
	return s
}

// unitShareText does not round 99.999% to 100%.
func unitShareText(q float64) string {
	if q == 1 {
		return "longest"
	}
	text := strings.TrimRight(fmt.Sprintf("%.3f", 100*q), "0")
	return strings.TrimSuffix(text, ".") + "%"
}
