package main

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"rookery/storage/commitlog"
)

const logStatUsage = `Usage: rookery log stat [FLAGS]

Reads the log and says what there is. A position is a place in the log as a whole, in bytes.

`

// logStat sums a log up.
func logStat(_ context.Context, args []string, p process) int {
	set := newFlagSet("log stat", p)
	data := addData(set, p.environ)
	rest, status, done := parse(set, logStatUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("log stat", "argument %q: everything is a flag, --data DIR", rest[0])
	}
	v, status, done := openView("log stat", *data, p)
	if done {
		return status
	}
	defer v.Close()
	s, err := v.Verify(func(commitlog.Finding) {})
	if err != nil {
		return p.fail("log stat", err)
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 3, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(table, "%s\t%s\n", name, value) }
	line("state", s.State)
	line("epoch", strconv.FormatUint(s.Epoch, 16))
	line("segments", fmt.Sprintf("%d, of them %d rewritten by retention, %d missing", s.Segments, s.Packed, s.Missing))
	line("bytes", withCommas(s.Bytes))
	line("records", withCommas(s.Records))
	line("rooms", withCommas(s.Rooms))
	line("oldest", timeOf(s, s.OldestAt))
	line("newest", timeOf(s, s.NewestAt))
	line("end", fmt.Sprintf("position %d", s.End))
	line("synced", fmt.Sprintf("position %d, when the log was opened or closed last", s.Synced))
	line("checkpoints", strconv.Itoa(s.Checkpoints))
	faults := "none"
	if s.Findings > 0 {
		faults = fmt.Sprintf("%d: rookery log verify lists them", s.Findings)
	}
	line("faults", faults)
	if err := table.Flush(); err != nil {
		return p.fail("log stat", err)
	}
	return exitOK
}

// timeOf shows a time of a record.
func timeOf(s commitlog.Summary, at int64) string {
	if s.Records == 0 {
		return "there is no record"
	}
	return time.UnixMilli(at).UTC().Format(timeWithMillis)
}

// timeWithMillis is RFC 3339 with all that a record's time has.
const timeWithMillis = "2006-01-02T15:04:05.000Z07:00"
