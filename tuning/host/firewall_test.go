package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestListingOfRules: what a program says, why it says nothing, and that there may be none.
func TestListingOfRules(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for name, script := range map[string]string{"nft": "#!/bin/sh\necho \"$@\"\n", "iptables-save": "#!/bin/sh\necho 'not permitted (you must be root)' >&2\nexit 4\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := list([]string{"nft", "list", "ruleset"}); err != nil || said != "list ruleset\n" {
		t.Errorf("rules are %q, %v", said, err)
	}
	for command, want := range map[string]string{"iptables-save": "you must be root", "no-such-program": "no-such-program is not installed"} {
		if _, err := list([]string{command}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", command, err, want)
		}
	}
}
