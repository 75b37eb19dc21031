package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"

	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

const logUsage = `Usage: rookery log verify|dump|stat [FLAGS]

Looks into the log of a server, also while the server runs: nothing is locked and nothing is
written.

  verify   read every byte, and say what is damaged or missing
  dump     print the records as JSON lines
  stat     say what there is: segments, records, rooms, times, positions

rookery log verify --help says more about one.
`

// logTools is the command of the tools for the log; named so since log is a word of its own here.
func logTools(ctx context.Context, args []string, p process) int {
	if len(args) == 0 {
		return p.refuse("log", "say what to do: rookery log verify, dump or stat")
	}
	switch args[0] {
	case "verify":
		return logVerify(ctx, args[1:], p)
	case "dump":
		return logDump(ctx, args[1:], p)
	case "stat":
		return logStat(ctx, args[1:], p)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(p.stdout, logUsage)
		return exitOK
	}
	return p.refuse("log", "there is no %q; it is verify, dump or stat", args[0])
}

// addData declares the directory of the log, as serve has it.
func addData(set *flag.FlagSet, environ []string) *string {
	data := lookup(environ, "ROOKERY_DATA")
	if data == "" {
		data = "data"
	}
	return set.String("data", data, "`directory` of the log")
}

// openView opens the log in a directory; when done is true the command ends with status.
func openView(command, dir string, p process) (v *commitlog.View, status int, done bool) {
	v, err := commitlog.OpenView(vfs.Disk(), dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, p.refuse(command, "%v; is --data right?", err), true
	case err != nil:
		return nil, p.fail(command, err), true
	}
	return v, exitOK, false
}

// withCommas shows a large number in groups of three digits.
func withCommas[N int | int64 | uint64](n N) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
