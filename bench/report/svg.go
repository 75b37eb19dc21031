package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

// plot is one diagram, drawn as SVG without a script. Colours and dashes come from the page's style, by class.
type plot struct {
	id, title string
	// description is read out in place of the picture, and says what it shows in a sentence.
	description string
	note        string // under the picture
	x, y        axis
	series      []series
	bands       []band
	mark        *mark
	invalid     bool
}

type axis struct {
	name     string
	format   func(float64) string
	log      bool
	from, to float64
	ticks    []float64
}

// series is a line over the xs of its own; NaN breaks it.
type series struct {
	name   string
	class  int // colour and dash
	xs, ys []float64
	kind   seriesKind
	// tips are shown when the mouse rests on a point, one for each x; nil: none.
	tips []string
	// bad points are drawn as crosses.
	bad []bool
}

type seriesKind int

const (
	line seriesKind = iota
	bars            // from each x to the next one; the last x is only an end
	dots            // a line with its points
)

// band is a part of the x axis that is marked.
type band struct {
	name, class string
	from, to    float64
}

// mark is a vertical line with a word.
type mark struct {
	name string
	x    float64
}

// size of a drawing in its own units; the page scales it to its column.
type size struct{ width, height float64 }

var (
	sizeWide   = size{920, 320}
	sizeNarrow = size{400, 250}
)

const (
	marginTop, marginRight, marginBottom = 10, 14, 40
	markHeight                           = 16 // above the plot, where it has a mark
	fontWidth                            = 7  // of a character of a label, about
)

// The exported methods are for the template.

func (p *plot) Wide() template.HTML   { return p.draw(sizeWide, "wide") }
func (p *plot) Narrow() template.HTML { return p.draw(sizeNarrow, "narrow") }
func (p *plot) Title() string         { return p.title }
func (p *plot) Note() string          { return p.note }
func (p *plot) Legend() []series      { return p.series }
func (p *plot) HasLegend() bool       { return len(p.series)+len(p.bands) > 1 }
func (p *plot) Bands() []band         { return p.bands }
func (s series) Name() string         { return s.name }
func (s series) Class() int           { return s.class }
func (b band) Name() string           { return b.name }
func (b band) Class() string          { return b.class }

func escape(text string) string { return template.HTMLEscapeString(text) }

func coordinate(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

// share is where a value is on the axis, 0 to 1.
func (a axis) share(v float64) float64 {
	if a.log {
		return (math.Log(v) - math.Log(a.from)) / (math.Log(a.to) - math.Log(a.from))
	}
	return (v - a.from) / (a.to - a.from)
}

// canvas places values on a drawing.
type canvas struct {
	*plot
	strings.Builder
	left, right, top, bottom float64
}

func (c *canvas) px(x float64) float64 { return c.left + c.x.share(x)*(c.right-c.left) }
func (c *canvas) py(y float64) float64 {
	return c.bottom - min(max(c.y.share(y), 0), 1)*(c.bottom-c.top)
}

func (c *canvas) add(format string, values ...any) { fmt.Fprintf(c, format, values...) }

func (p *plot) draw(s size, variant string) template.HTML {
	widest := 0
	for _, tick := range p.y.ticks {
		widest = max(widest, len([]rune(p.y.format(tick))))
	}
	c := &canvas{
		plot: p, left: float64(widest)*fontWidth + 12, right: s.width - marginRight,
		top: marginTop, bottom: s.height - marginBottom,
	}
	if p.mark != nil {
		c.top += markHeight
	}
	id := p.id + "-" + variant
	c.add(`<svg class="%s" viewBox="0 0 %s %s" role="img" aria-labelledby="%s-t %s-d">`,
		variant, coordinate(s.width), coordinate(s.height), id, id)
	c.add(`<title id="%s-t">%s</title><desc id="%s-d">%s</desc>`, id, escape(p.title), id, escape(p.description))
	c.drawBands()
	c.drawAxes()
	for i := len(p.series) - 1; i >= 0; i-- { // the first one on top
		c.drawSeries(p.series[i])
	}
	c.drawMark()
	if p.invalid {
		c.add(`<text class="void" x="%s" y="%s" text-anchor="middle">INVALID RUN</text>`,
			coordinate((c.left+c.right)/2), coordinate((c.top+c.bottom)/2+12))
	}
	c.drawTips()
	c.add(`</svg>`)
	return template.HTML(c.String()) // all texts in it went through escape
}

func (c *canvas) drawBands() {
	for _, b := range c.bands {
		from, to := c.px(max(b.from, c.x.from)), c.px(min(b.to, c.x.to))
		if to <= from {
			continue
		}
		c.add(`<rect class="%s" x="%s" y="%s" width="%s" height="%s"/>`, b.class,
			coordinate(from), coordinate(c.top), coordinate(to-from), coordinate(c.bottom-c.top))
		if b.class == "counted" {
			for _, x := range []float64{from, to} {
				c.add(`<line class="edge" x1="%[1]s" x2="%[1]s" y1="%[2]s" y2="%[3]s"/>`, coordinate(x), coordinate(c.top-6), coordinate(c.bottom))
			}
		}
	}
}

func (c *canvas) drawAxes() {
	for _, tick := range c.y.ticks {
		y := coordinate(c.py(tick))
		c.add(`<line class="grid" x1="%s" x2="%s" y1="%[3]s" y2="%[3]s"/>`, coordinate(c.left), coordinate(c.right), y)
		c.add(`<text x="%s" y="%s" text-anchor="end">%s</text>`, coordinate(c.left-6), coordinate(c.py(tick)+4), escape(c.y.format(tick)))
	}
	last := math.Inf(-1)
	for _, tick := range c.x.ticks {
		label, x := c.x.format(tick), c.px(tick)
		c.add(`<line class="tick" x1="%[1]s" x2="%[1]s" y1="%[2]s" y2="%[3]s"/>`, coordinate(x), coordinate(c.bottom), coordinate(c.bottom+4))
		half := float64(len([]rune(label))) * fontWidth / 2
		if x-half < last+4 {
			continue // it would run into the label before it
		}
		anchor, at := "middle", x
		if x+half > c.right+marginRight {
			anchor, at = "end", c.right+marginRight
			if at-2*half < last+4 {
				continue
			}
		}
		c.add(`<text x="%s" y="%s" text-anchor="%s">%s</text>`, coordinate(at), coordinate(c.bottom+17), anchor, escape(label))
		last = x + half
	}
	c.add(`<line class="axis" x1="%s" x2="%s" y1="%[3]s" y2="%[3]s"/>`, coordinate(c.left), coordinate(c.right), coordinate(c.bottom))
	c.add(`<text class="axisname" x="%s" y="%s" text-anchor="middle">%s</text>`,
		coordinate((c.left+c.right)/2), coordinate(c.bottom+34), escape(c.x.name))
}

func (c *canvas) drawSeries(s series) {
	if s.kind == bars {
		for i, y := range s.ys {
			from, to := c.px(s.xs[i]), c.px(s.xs[i+1])
			if y > 0 {
				top := min(c.py(y), c.bottom-1)
				c.add(`<rect class="b%d" x="%s" y="%s" width="%s" height="%s"/>`, s.class,
					coordinate(from), coordinate(top), coordinate(max(to-from-1, 1)), coordinate(c.bottom-top))
			}
		}
		return
	}
	var path strings.Builder
	draws := func(i int) bool { return i >= 0 && i < len(s.ys) && !math.IsNaN(s.ys[i]) }
	for i, y := range s.ys {
		if !draws(i) {
			continue
		}
		x, y := coordinate(c.px(s.xs[i])), coordinate(c.py(y))
		switch {
		case draws(i - 1):
			fmt.Fprintf(&path, "L%s %s", x, y)
		case draws(i + 1):
			fmt.Fprintf(&path, "M%s %s", x, y)
		case s.kind == line: // a lone point would not be seen
			c.add(`<circle class="d%d" cx="%s" cy="%s" r="2.5"/>`, s.class, x, y)
		}
		if s.kind == dots {
			if s.bad != nil && s.bad[i] {
				c.add(`<path class="cross" d="M%[1]s %[2]sm-5 -5l10 10m0 -10l-10 10"/>`, x, y)
			} else {
				c.add(`<circle class="d%d" cx="%s" cy="%s" r="4.5"/>`, s.class, x, y)
			}
		}
	}
	if path.Len() > 0 {
		c.add(`<path class="s%d" d="%s"/>`, s.class, path.String())
	}
}

func (c *canvas) drawMark() {
	if c.mark == nil {
		return
	}
	x := c.px(c.mark.x)
	c.add(`<line class="mark" x1="%[1]s" x2="%[1]s" y1="%[2]s" y2="%[3]s"/>`, coordinate(x), coordinate(c.top), coordinate(c.bottom))
	half := float64(len([]rune(c.mark.name))) * fontWidth / 2
	x = min(max(x, c.left+half), c.right-half)
	c.add(`<text class="markname" x="%s" y="%s" text-anchor="middle">%s</text>`, coordinate(x), coordinate(c.top-8), escape(c.mark.name))
}

// drawTips lays an invisible column over each point, whose title a browser shows at the mouse.
func (c *canvas) drawTips() {
	if len(c.series) == 0 || c.series[0].tips == nil {
		return
	}
	s := c.series[0]
	for i, tip := range s.tips {
		from, to := c.left, c.right
		if s.kind == bars {
			from, to = c.px(s.xs[i]), c.px(s.xs[i+1])
		} else {
			if i > 0 {
				from = (c.px(s.xs[i-1]) + c.px(s.xs[i])) / 2
			}
			if i < len(s.tips)-1 {
				to = (c.px(s.xs[i]) + c.px(s.xs[i+1])) / 2
			}
		}
		c.add(`<rect class="tip" x="%s" y="%s" width="%s" height="%s"><title>%s</title></rect>`,
			coordinate(from), coordinate(c.top), coordinate(to-from), coordinate(c.bottom-c.top), escape(tip))
	}
}

// linear is an axis from 0 with about five round ticks.
func linear(name string, most float64, format func(float64) string) axis {
	if most <= 0 {
		most = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if most/(step*factor) <= 5 {
			step *= factor
			break
		}
	}
	a := axis{name: name, format: format, to: math.Ceil(most/step-1e-9) * step}
	for i := 0.0; i*step <= a.to+step/2; i++ {
		a.ticks = append(a.ticks, i*step)
	}
	return a
}

// logarithmic is an axis from and to one, two or five times a power of ten. Where it is short it has ticks at all of these.
func logarithmic(name string, least, most float64, format func(float64) string) axis {
	var round []float64
	for decade := math.Floor(math.Log10(least)); decade <= math.Log10(most)+1; decade++ {
		for _, part := range []float64{1, 2, 5} {
			round = append(round, part*math.Pow(10, decade))
		}
	}
	a := axis{name: name, format: format, log: true}
	for _, v := range round {
		if v <= least*1.0001 || a.from == 0 {
			a.from = v
		}
		if a.to == 0 && v >= most*0.9999 && v > a.from {
			a.to = v
		}
	}
	few := a.to/a.from <= 1001
	for i, v := range round {
		if (few || i%3 == 0) && v >= a.from && v <= a.to {
			a.ticks = append(a.ticks, v)
		}
	}
	return a
}

// within narrows a logarithmic axis to exact ends.
func (a axis) within(from, to float64) axis {
	a.from, a.to = from, to
	a.ticks = slices.DeleteFunc(a.ticks, func(v float64) bool { return v < from || v > to })
	return a
}
