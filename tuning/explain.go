package tuning

import (
	"fmt"
	"io"
	"strings"

	"rookery/tuning/host"
)

// Explain shows all that is known of a key, and how it stands on a machine. It reports false if there is no such key.
func Explain(w io.Writer, h *host.Host, t Target, key string) bool {
	c, found := Find(key)
	if !found {
		return explainFolklore(w, key)
	}
	v := newView(h, t)
	f := c.examine(v)
	fmt.Fprintln(w, c.Key)
	part := func(name, text string) {
		if text != "" {
			wrap(w, fmt.Sprintf("  %-9s ", name), strings.Repeat(" ", 12), text)
		}
	}
	part("why", c.Reason)
	part("cost", c.Cost)
	part("when not", c.Avoid)
	part("computed", c.Computed)
	part("now", f.Current)
	part("from", f.From)
	part("wanted", f.Wanted)
	state := string(f.Severity)
	if f.Says != "" {
		state += ": " + f.Says
	}
	part("here", state)
	part("do", f.Do)
	part("set", map[bool]string{true: "by rookery tune apply", false: "not by rookery tune: it only tells"}[c.Sets()])
	part("source", c.Source)
	explainFolklore(w, key)
	return true
}

// explainFolklore shows what is wrong with an advice for a key.
func explainFolklore(w io.Writer, key string) (found bool) {
	for _, f := range allFolklore() {
		if f.key == key {
			found = true
			wrap(w, "  "+"advice    ", strings.Repeat(" ", 12), "a value that is copied is named when a file has it: "+f.reason)
			wrap(w, "  "+"source    ", strings.Repeat(" ", 12), f.source)
		}
	}
	return found
}

// Keys are all that can be explained.
func Keys() (keys []string) {
	for _, c := range Checks() {
		keys = append(keys, c.Key)
	}
	for _, f := range allFolklore() {
		if _, also := Find(f.key); !also {
			keys = append(keys, f.key)
		}
	}
	return keys
}
