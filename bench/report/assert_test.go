package report

import (
	"math"
	"strings"
	"testing"

	"rookery/bench/result"
)

func TestConditionsOfARun(t *testing.T) {
	r := fullRun()
	for text, want := range map[string]bool{
		"p99<50ms": true, "p99 < 5ms": false, "p99.9<=0.1s": true, "max>400ms": true, "ack.p99.9<=0.1s": true, "connect.p99>1s": false,
		"lost==0": true, "lost!=0": false, "delivered>=16000": true, "delivered>16000": false, "connected==1e3": true,
		"server.rss<1GB": true, "server.rss<20MiB": false, "server.rss>=25000000": true, "server.rss_per_connection<4.2kB": true,
		"deliveries_per_second>1999": true, "deliveries_per_second>20000": false, "server.cpu<1.5": true, "server.cpu<0.5": false,
		"server.cpu_per_delivery<=250us": true, "client.busiest_loop<80%": true, "client.busiest_loop<0.25": false,
		"connects_failed==0": true, "kernel.retransmits==0": true, "send_late.p99<1ms": true,
	} {
		c, err := Parse(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := (Conditions{c}).Check(r)[0]; got.Holds != want || got.Reason != "" || got.Condition != c.String() {
			t.Errorf("%s: %+v, want holds %v and no reason", text, got, want)
		}
	}
}

func TestConditionsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"p99":            "has no operator",
		"p99=5ms":        "has no operator of <=",
		"p98<50ms":       `there is no figure "p98"; there are connected, `,
		"<5":             `there is no figure ""`,
		"p99<50":         `"50" is no time; write it like p99<50ms`,
		"p99<":           `"" is no time`,
		"p99<<5ms":       `"<5ms" is no time`,
		"lost==none":     `"none" is no number; write it like lost==1000`,
		"lost==NaN":      "is no number",
		"lost<1ms":       "is no number",
		"server.rss<":    `"" is no size`,
		"server.rss<1XB": `"1XB" is no size; write it like server.rss<1GB`,
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", text, err, want)
		}
	}
	_, err := Parse("nothing>1")
	for _, f := range figures {
		if !strings.Contains(err.Error(), f.name) {
			t.Errorf("the error does not list %s", f.name)
		}
	}
	_, err = ParseAll([]string{"p98<1ms", "lost==0", "p97<1ms"})
	if err == nil || !strings.Contains(err.Error(), "p98") || !strings.Contains(err.Error(), "p97") {
		t.Errorf("all faults at once: %v", err)
	}
}

// TestEveryFigureFailsWhereItWasNotMeasured: no condition may hold, in either direction, on nothing.
func TestEveryFigureFailsWhereItWasNotMeasured(t *testing.T) {
	nothing := &result.Result{Latencies: result.NewLatencies()}
	counted := map[string]bool{ // 0 is what they are, without any measuring
		"connected": true, "connects_failed": true, "disconnected": true, "came_back": true, "joins_refused": true, "stayed_away": true, "sent": true, "unsent": true, "delivered": true, "foreign": true,
	}
	for _, f := range figures {
		for _, operator := range []string{">=", "<="} {
			c, err := Parse(f.name + operator + f.unit.example())
			if err != nil {
				t.Fatal(err)
			}
			check := (Conditions{c}).Check(nothing)[0]
			if counted[f.name] {
				if check.Reason != "" || check.Holds == (operator == ">=") {
					t.Errorf("%s: %+v of a count of 0", c, check)
				}
			} else if check.Holds || check.Reason == "" || check.Reason != f.absent || check.Value != 0 {
				t.Errorf("%s holds, or says not why it can't: %+v", c, check)
			}
		}
	}
}

func TestConditionsOfAStep(t *testing.T) {
	step := searchRun().Steps[2]
	for text, want := range map[string]struct {
		holds  bool
		reason string
	}{
		"p99<50ms":                       {holds: true},
		"p99<40ms":                       {},
		"lost==0":                        {holds: true},
		"server.cpu<=1":                  {holds: true},
		"server.cpu_per_delivery<=250us": {holds: true},
		"deliveries_per_second>=4000":    {holds: true},
		"ack.p99<1s":                     {reason: "a step of a search does not have this figure"},
		"server.rss<1GB":                 {reason: "a step of a search does not have this figure"},
	} {
		c, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Conditions{c}).CheckStep(step)[0]; got.Holds != want.holds || got.Reason != want.reason {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
		if c.OfSteps() == (want.reason != "") {
			t.Errorf("%s: of steps is %v", text, c.OfSteps())
		}
	}
	step.ServerCPU, step.Seconds, step.Delivery = 0, 0, result.Summary{}
	for _, text := range []string{"server.cpu<9", "deliveries_per_second>=0", "p99<1h"} {
		c, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Conditions{c}).CheckStep(step)[0]; got.Holds || got.Reason != c.figure.absent {
			t.Errorf("%s of a step that has it not: %+v", text, got)
		}
	}
}

// TestOnlyFiguresOfStepsAreInSteps: what a condition for steps may name is what a step with everything in it has.
func TestOnlyFiguresOfStepsAreInSteps(t *testing.T) {
	step := searchRun().Steps[2]
	step.Counts.Acknowledged, step.Counts.BytesIn, step.Counts.BytesOut, step.Counts.Sent = 1, 1, 1, 1
	step.Counts.Typing, step.Counts.Marks, step.Counts.Presence = 1, 1, 1
	s := subjectOfStep(step)
	for _, f := range figures {
		if _, measured := f.value(s); measured != f.ofStep {
			t.Errorf("%s is measured in a step: %v, and may be named there: %v", f.name, measured, f.ofStep)
		}
	}
}

func TestFigureNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range figures {
		if seen[f.name] || f.title == "" || f.group == "" {
			t.Errorf("figure %+v is there twice, or is not whole", f.name)
		}
		seen[f.name] = true
	}
}

func TestValuesInWords(t *testing.T) {
	for _, test := range []struct {
		unit  unit
		value float64
		want  string
	}{
		{unitTime, 0, "0"}, {unitTime, 42e-9, "42 ns"}, {unitTime, 842e-6, "842 µs"}, {unitTime, 0.00421, "4.21 ms"}, {unitTime, 0.9999, "1.00 s"},
		{unitTime, 12.34, "12.3 s"}, {unitTime, 600, "10m"}, {unitTime, 3661, "1h1m1s"}, {unitTime, -0.002, "-2.00 ms"},
		{unitBytes, 0, "0 B"}, {unitBytes, 999, "999 B"}, {unitBytes, 12.5, "12.5 B"}, {unitBytes, 65.7e6, "65.7 MB"}, {unitBytes, 1e15, "1000 TB"},
		{unitCount, 1234567, "1,234,567"}, {unitCount, -1234, "-1,234"}, {unitCount, 1.5, "1.50"}, {unitCount, 2000.4, "2,000"},
		{unitRate, 24383.4, "24,383/s"}, {unitCores, 1.045, "1.04 cores"}, {unitShare, 0.596, "59.6%"}, {unitShare, 1, "100%"},
	} {
		if got := test.unit.format(test.value); got != test.want {
			t.Errorf("%v is shown as %q, want %q", test.value, got, test.want)
		}
	}
	for value, want := range map[float64]string{0: "0", 12: "12", 1.5: "1.5", 1000: "1k", 1250: "1.25k", 2e6: "2M", 200: "200", 20000: "20k"} {
		if got := short(value); got != want {
			t.Errorf("%v in short is %q, want %q", value, got, want)
		}
	}
	if got := unitTime.tick(0.2) + unitTime.tick(0) + unitBytes.tick(4e7); got != "200 ms040 MB" {
		t.Errorf("ticks are %q", got)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]float64{"10": 10, "10B": 10, "1kB": 1000, "1KB": 1000, "1.5MB": 1.5e6, "2GiB": 2 << 30, "1TB": 1e12, "1e3": 1000} {
		if got, err := parseBytes(text); err != nil || math.Abs(got-want) > 1e-6 {
			t.Errorf("%s is %v, %v, want %v", text, got, err, want)
		}
	}
}
