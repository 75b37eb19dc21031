package main

import (
	"context"
	"fmt"

	"rookery/storage/commitlog"
)

const logVerifyUsage = `Usage: rookery log verify [FLAGS]

Reads every byte of the log's files and prints a line for each thing that is wrong: where it
is, and which messages of which room are missing because of it, as far as the rest of the
log tells. What retention has dropped is not missing.

The exit status is 0 if the log is whole, 1 if it is not, 2 if there is none.

`

// logVerify says whether a log is whole.
func logVerify(_ context.Context, args []string, p process) int {
	set := newFlagSet("log verify", p)
	data := addData(set, p.environ)
	rest, status, done := parse(set, logVerifyUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("log verify", "argument %q: everything is a flag, --data DIR", rest[0])
	}
	v, status, done := openView("log verify", *data, p)
	if done {
		return status
	}
	defer v.Close()
	s, err := v.Verify(func(f commitlog.Finding) { fmt.Fprintln(p.stdout, f) })
	if err != nil {
		return p.fail("log verify", err)
	}
	what := fmt.Sprintf("%s records of %s rooms in %d segments, %s bytes, up to position %d", withCommas(s.Records), withCommas(s.Rooms), s.Segments, withCommas(s.Bytes), s.End)
	if s.Findings > 0 {
		fmt.Fprintf(p.stdout, "damaged, found %d faults: %s\n", s.Findings, what)
		return exitFailed
	}
	if _, err := fmt.Fprintf(p.stdout, "whole: %s\n", what); err != nil {
		return p.fail("log verify", err)
	}
	return exitOK
}
