package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by deploy/release where the toolchain can't know it.
var release string

// version prints what a report of a fault needs: what was built, from which commit, by
// which compiler.
func version(_ context.Context, args []string, p process) int {
	if len(args) > 0 {
		if args[0] == "--help" || args[0] == "-h" {
			fmt.Fprintln(p.stdout, "Usage: rookery version\n\nPrints the version of this binary, the commit it was built from and the compiler.")
			return exitOK
		}
		return p.refuse("version", "takes no arguments")
	}
	fmt.Fprintln(p.stdout, versionText())
	return exitOK
}

// versionText is the line of this binary.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if release != "" {
		info.Main.Version = release
	}
	return versionLine(info)
}

// versionLine makes one line of what the toolchain wrote into the binary. A build outside
// of a module proxy and of version control has none of it.
func versionLine(info *debug.BuildInfo) string {
	release := info.Main.Version
	if release == "" || release == "(devel)" {
		release = "development build"
	}
	line := "rookery " + release
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if commit := settings["vcs.revision"]; commit != "" {
		line += ", commit " + commit[:min(12, len(commit))]
		if settings["vcs.modified"] == "true" {
			line += " with changes"
		}
	}
	return line + fmt.Sprintf(", %s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
