package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// unit is what a figure counts. Values are always in base units: seconds, bytes, cores, shares of one.
type unit int

const (
	unitCount unit = iota
	unitRate       // a second
	unitTime       // seconds
	unitBytes
	unitCores
	unitShare // of 1
	unitTimes // of another figure
)

// format shows a value with about three digits, "4.21 ms".
func (u unit) format(v float64) string {
	switch u {
	case unitTime:
		return formatSeconds(v)
	case unitBytes:
		return scaled(v, 1000, []string{" B", " kB", " MB", " GB", " TB"})
	case unitRate:
		return formatCount(v) + "/s"
	case unitCores:
		return digits(v) + " cores"
	case unitShare:
		return digits(100*v) + "%"
	case unitTimes:
		return digits(v) + " times"
	default:
		return formatCount(v)
	}
}

// example is a value of the unit as a condition writes it.
func (u unit) example() string {
	return [...]string{"1000", "1000", "50ms", "1GB", "1.5", "80%", "1.2"}[u]
}

// parse reads a value as a condition writes it.
func (u unit) parse(text string) (float64, error) {
	switch u {
	case unitTime:
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, fmt.Errorf("%q is no time", text)
		}
		return d.Seconds(), nil
	case unitBytes:
		return parseBytes(text)
	case unitShare:
		if number, percent := strings.CutSuffix(text, "%"); percent {
			v, err := parseNumber(number)
			return v / 100, err
		}
	}
	return parseNumber(text)
}

func parseNumber(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return v, nil
}

func parseBytes(text string) (float64, error) {
	number := strings.TrimRight(text, "BKMGTkib")
	factor, known := map[string]float64{
		"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[text[len(number):]]
	v, err := parseNumber(number)
	if !known || err != nil {
		return 0, fmt.Errorf("%q is no size", text)
	}
	return v * factor, nil
}

// digits shows three digits of what matters.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a < 0.001:
		return strconv.FormatFloat(v, 'g', 2, 64)
	case a < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
}

// scaled picks the unit that leaves a number of up to three digits before the point.
func scaled(v, step float64, units []string) string {
	i := 0
	for ; math.Abs(v) >= step*0.9995 && i < len(units)-1; i++ {
		v /= step
	}
	if i == 0 && v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64) + units[0]
	}
	return digits(v) + units[i]
}

// tick is the format of an axis, 5 ms and not 5.00 ms.
func (u unit) tick(v float64) string {
	number, name, _ := strings.Cut(u.format(v), " ")
	if strings.Contains(number, ".") {
		number = strings.TrimSuffix(strings.TrimRight(number, "0"), ".")
	}
	return strings.TrimSpace(number + " " + name)
}

func formatSeconds(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a < 1:
		return scaled(v*1e9, 1000, []string{" ns", " µs", " ms", " s"})
	case a < 120:
		return digits(v) + " s"
	default:
		return formatDuration(time.Duration(v * float64(time.Second)).Round(time.Second))
	}
}

// formatDuration shows a duration without its zeros, 10m and not 10m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// formatCount shows whole numbers as such; means of counts have a fraction.
func formatCount(v float64) string {
	if v == math.Trunc(v) || math.Abs(v) >= 100 {
		return commas(int64(math.Round(v)))
	}
	return digits(v)
}

// commas groups the digits, 1,234,567.
func commas(n int64) string {
	sign := ""
	text := strconv.FormatInt(n, 10)
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// short is a count in few characters for axes and narrow windows, 1.2k.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a < 1000 && v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a < 1000:
		return strings.TrimSuffix(strings.TrimRight(digits(v), "0"), ".")
	}
	text := scaled(v, 1000, []string{"", "k", "M", "G"})
	number, suffix := text[:len(text)-1], text[len(text)-1:]
	if strings.Contains(number, ".") {
		number = strings.TrimSuffix(strings.TrimRight(number, "0"), ".")
	}
	return number + suffix
}
