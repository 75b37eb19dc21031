package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// onSmallDisk starts a server whose data lies on a file system of its own, in a namespace of its own: no
// privilege is needed and nothing stays. files is where this process finds the data.
func onSmallDisk(t *testing.T, size string) (s *server, files string) {
	t.Helper()
	data := t.TempDir()
	s = start(t, launch{
		data:  data,
		in:    []string{"unshare", "--user", "--map-root-user", "--mount"},
		shell: fmt.Sprintf("mount -t tmpfs -o size=%s none %s", size, data),
		flags: []string{"--log.segment-bytes", "4MiB"},
	})
	return s, fmt.Sprintf("/proc/%d/root%s", s.pid(), data)
}

// TestFullDisk: publishes fail with an error that says to try again, all else goes on, and when there is
// room again publishes work without a hand.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s, files := onSmallDisk(t, "32m")
	p, err := login(s.address, webSocket, "alice")
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	text := strings.Repeat("x", 32<<10)
	published := 0
	publish := func() error {
		_, err := p.ask(publishRequest("room", fmt.Sprint("key-", published), text))
		if err == nil {
			published++
		}
		return err
	}
	for range 20 {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
	}
	filler := filepath.Join(files, "filler")
	fillUp(t, filler)
	var reply replyError
	for err = nil; err == nil; err = publish() {
		if published > 1000 {
			t.Fatal("32 MiB took a thousand messages of 32 KiB")
		}
	}
	if !errors.As(err, &reply) || reply.reply.Name != proto.ErrLogUnavailable.Name || !reply.reply.Retry {
		t.Fatalf("a publish to a full disk: %v, want a %s that can be retried", err, proto.ErrLogUnavailable.Name)
	}
	if status, body, err := s.get("/readyz"); err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, "no space left") {
		t.Errorf("readiness: %d %q %v", status, body, err)
	}
	if status, _, err := s.get("/healthz"); err != nil || status != http.StatusOK {
		t.Errorf("health: %d %v", status, err)
	}
	if fault := s.metric(t, "rookery_log_fault", ""); fault != 1 {
		t.Errorf("rookery_log_fault is %v", fault)
	}

	// Who comes now gets in, and gets what there is.
	other, err := login(s.address, rawTCP, "bob")
	if err != nil {
		t.Fatal(err)
	}
	defer other.conn.Close()
	read := func() (n int) {
		err := other.history("room", 0, func(m *v1.Message) { n++ })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := read(); n != published {
		t.Errorf("history has %d messages, %d were acknowledged", n, published)
	}
	if err := other.enter("room"); err != nil {
		t.Error(err)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if err = publish(); err == nil {
			break
		}
		if !errors.As(err, &reply) || time.Since(begun) > patience {
			t.Fatalf("there is room again, a publish says: %v", err)
		}
	}
	if m, err := other.next(); err != nil || m.GetMessage().GetSeq() != uint64(published) {
		t.Errorf("a member got %v, %v, want message %d", m, err, published)
	}
	if status, body, _ := s.get("/readyz"); status != http.StatusOK {
		t.Errorf("readiness afterwards: %d %s", status, body)
	}
}

func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for range 64 << 10 {
		if n, err := f.Write(block); err != nil || n < len(block) {
			return
		}
	}
	t.Fatal("the disk is not small")
}

// TestUnusableDirectory: the server does not start, and says what to do.
func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, shell string
		in, words   []string
	}{
		{
			"read-only file system", "mount -t tmpfs -o ro none %s",
			[]string{"unshare", "--user", "--map-root-user", "--mount"},
			[]string{"read-only file system", "mount it for writing"},
		},
		{
			// In a user namespace without a mapping nobody has privileges, so the mode counts
			// also for root.
			"another user's", "true %s",
			[]string{"unshare", "--user"},
			[]string{"permission denied", "chown -R"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := t.TempDir()
			if err := os.Chmod(data, 0o500); err != nil {
				t.Fatal(err)
			}
			command := append(c.in, "sh", "-c", fmt.Sprintf(c.shell, data)+` && exec "$0" "$@"`,
				raceBinary, "serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "", "--data", data)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("the server did not refuse: got %v, want exit status 1\n%s", err, out)
			}
			for _, word := range append(c.words, data, "setting data") {
				if !strings.Contains(string(out), word) {
					t.Errorf("the error does not say %q:\n%s", word, out)
				}
			}
		})
	}
}
