// Release writes what a release says of the program in it, read from what the Go toolchain has left in the binary:
//
//	release sbom BINARY VERSION      its modules, as CycloneDX 1.5 in JSON
//	release licences BINARY          the licences of those modules, which have to be given along
//
// Both go to the standard output. The same binary gives the same bytes: SOURCE_DATE_EPOCH is the only time in them.
// The release itself is put together by deploy/release/build.
package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string, epoch string, out io.Writer) error {
	if !(len(args) == 3 && args[0] == "sbom" || len(args) == 2 && args[0] == "licences") {
		return fmt.Errorf("called with %q: it is sbom BINARY VERSION, or licences BINARY", args)
	}
	info, err := buildinfo.ReadFile(args[1])
	if err != nil {
		return fmt.Errorf("read what is in %s: %w", args[1], err)
	}
	if args[0] == "licences" {
		return writeLicences(out, info, moduleDirectory)
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH %q is no time in seconds", epoch)
	}
	return writeBill(out, info, args[2], time.Unix(seconds, 0))
}
