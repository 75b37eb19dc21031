// Summary reads the events of go test -json from its standard input and prints what a person
// wants to see: a line for each package, all that a failed test has said, and in the end
// how many passed and failed.
//
//	go test -json ./... | go run ./test/summary
//
// go test alone prints either nothing about tests that pass, so that they can't be counted, or
// with -v all their logs. Exit status 1 if anything failed, or if there was nothing to count.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	s, err := summarize(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "summary: %v\n", err)
		os.Exit(1)
	}
	if s.failed > 0 || s.passed == 0 {
		os.Exit(1)
	}
}

// event is one line of go test -json, see go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build's output
	Test       string
	Output     string
	Elapsed    float64
}

// counts of tests, subtests among them. A package that fails without a failed test in it (it
// does not build, its TestMain ends it) counts as one.
type counts struct{ passed, failed int }

// summarize works through events until the end of in.
func summarize(in io.Reader, out io.Writer) (counts, error) {
	var sum counts
	said := map[[2]string][]string{} // by package and test, until it is known how that ended
	broken := map[string]int{}       // failed tests by package
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(out, lines.Text()) // go itself said something
			continue
		}
		if e.Package == "" {
			e.Package = e.ImportPath
		}
		id := [2]string{e.Package, e.Test}
		switch e.Action {
		case "output", "build-output":
			said[id] = append(said[id], e.Output)
			continue
		case "pass", "fail", "skip":
		case "build-fail":
			fmt.Fprint(out, strings.Join(said[id], ""))
			delete(said, id)
			continue
		default:
			continue
		}
		if e.Action == "fail" {
			fmt.Fprint(out, strings.Join(said[id], ""))
		}
		delete(said, id)
		switch {
		case e.Test != "" && e.Action == "pass":
			sum.passed++
		case e.Test != "" && e.Action == "fail":
			sum.failed++
			broken[e.Package]++
		case e.Test == "" && e.Action == "pass":
			fmt.Fprintf(out, "ok    %s (%.1f s)\n", e.Package, e.Elapsed)
		case e.Test == "" && e.Action == "fail":
			fmt.Fprintf(out, "FAIL  %s (%.1f s)\n", e.Package, e.Elapsed)
			if broken[e.Package] == 0 {
				sum.failed++
			}
		}
	}
	if err := lines.Err(); err != nil {
		return sum, fmt.Errorf("read events: %w", err)
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", sum.passed, sum.failed)
	return sum, nil
}
