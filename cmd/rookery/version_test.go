package main

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionLine(t *testing.T) {
	long := "0123456789abcdef0123456789abcdef01234567"
	tests := []struct {
		name string
		info debug.BuildInfo
		want string
	}{
		{"nothing known", debug.BuildInfo{}, "rookery development build, go"},
		{"devel", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "rookery development build, go"},
		{"release", debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "rookery v1.2.3, go"},
		{
			"commit",
			debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: long}, {Key: "vcs.modified", Value: "false"}}},
			"rookery development build, commit 0123456789ab, go",
		},
		{
			"changed",
			debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123"}, {Key: "vcs.modified", Value: "true"}}},
			"rookery development build, commit 0123 with changes, go",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := versionLine(&test.info); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q…", got, test.want)
			}
		})
	}
}
