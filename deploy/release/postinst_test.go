package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPostinstMakesASecret runs the script in a folder that stands for /etc/rookery, with programs that do nothing in place of those that
// would change this machine.
func TestPostinstMakesASecret(t *testing.T) {
	script, err := os.ReadFile("../debian/postinst")
	if err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	for _, name := range []string{"getent", "adduser", "install", "deb-systemd-helper", "deb-systemd-invoke", "systemctl"} {
		write(t, filepath.Join(programs, name), "#!/bin/sh\n")
	}
	configure := func(settings string) error {
		postinst := exec.Command("sh", "-s", "configure")
		postinst.Stdin = strings.NewReader(strings.ReplaceAll(string(script), "/etc/rookery", settings))
		postinst.Env = []string{"PATH=" + programs + ":/usr/bin:/bin"}
		out, err := postinst.CombinedOutput()
		t.Logf("%s", out)
		return err
	}
	settings := t.TempDir()
	secret := filepath.Join(settings, "token-secret")
	holds := func(when string, files ...string) {
		t.Helper()
		entries, err := os.ReadDir(settings)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, e := range entries {
			found = append(found, e.Name())
		}
		if strings.Join(found, " ") != strings.Join(files, " ") {
			t.Errorf("%s there is %q, want %q", when, found, files)
		}
	}

	full := filepath.Join(programs, "base64") // it writes what still has room
	write(t, full, "#!/bin/sh\nprintf AAAA; exit 1\n")
	if configure(settings) == nil {
		t.Error("a full disk is no error")
	}
	holds("after a full disk")
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}

	write(t, secret, "") // of an installation that a full disk has ended
	if err := configure(settings); err != nil {
		t.Fatal(err)
	}
	holds("with room again", "token-secret")
	made, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(secret)
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != 45 || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret has %d bytes and the mode %v, want 45 and 0600", len(made), info.Mode())
	}
	if err := configure(settings); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(secret); err != nil || string(again) != string(made) {
		t.Errorf("an upgrade has made another one: %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}
