package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

// TestRetentionOnAFullDisk: a tighter rule makes room on a disk that others have filled, and publishes work again without a hand.
func TestRetentionOnAFullDisk(t *testing.T) {
	t.Parallel()
	data, in, files := smallDisk(t, "64m")
	settings := filepath.Join(t.TempDir(), "rookery.yaml")
	keep := func(messages int) {
		t.Helper()
		if err := os.WriteFile(settings, fmt.Appendf(nil, "retention:\n  messages: %d\n", messages), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keep(0)
	s := start(t, launch{data: data, in: in, shell: "true", flags: []string{"--log.segment-bytes", "4MiB", "--retry-window", "1s", "--config", settings}})
	reload := func() {
		t.Helper()
		if err := s.signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	p, err := login(s.address, webSocket, "alice")
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	text := strings.Repeat("x", 32<<10)
	publish := func() error {
		_, err := p.ask(publishRequest("room", "", text))
		return err
	}
	published := 0
	for ; published < 400; published++ {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
	}
	reserve := filepath.Join(files, "RESERVE")
	there := func() bool {
		_, err := os.Stat(reserve)
		return err == nil
	}
	reload() // has retention look now, not within a minute
	s.await(t, "a reserve", there)
	fillUp(t, filepath.Join(files, "filler"))
	var reply replyError
	for err = nil; err == nil; err = publish() {
		if published++; published > 2000 {
			t.Fatal("64 MiB took two thousand messages of 32 KiB")
		}
	}
	if !errors.As(err, &reply) || reply.reply.Name != proto.ErrLogUnavailable.Name {
		t.Fatalf("a publish to a full disk: %v", err)
	}
	keep(5)
	s.await(t, "room for a publish", func() bool {
		reload() // again, since files younger than the retry window are left as they are
		return publish() == nil
	})
	kept := 0
	if err := p.history("room", 0, func(*v1.Message) { kept++ }); err != nil || kept < 5 || kept > 6 {
		t.Errorf("history has %d messages, %v, want 5 or 6", kept, err)
	}
	if !there() {
		t.Error("there is no reserve any more")
	}
}

// TestStartOnAFullDisk: a server that was stopped cleanly starts on a disk that others have filled meanwhile. It serves, even without its index of
// changes, which history waits for until there is room.
func TestStartOnAFullDisk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		without bool  // the index
		room    int64 // bytes that are left
	}{
		"no room at all":                  {false, 0},
		"none for the index":              {true, 0},
		"too little to make it anew with": {true, 96 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, in, files := smallDisk(t, "32m")
			l := launch{data: data, in: in, shell: "true", flags: []string{"--log.segment-bytes", "4MiB"}}
			s := start(t, l)
			p, err := login(s.address, webSocket, "alice")
			if err != nil {
				t.Fatal(err)
			}
			const messages = 2000
			for i := range messages {
				request := publishRequest("room", "", "hello")
				if i%2 == 1 {
					request.GetPublish().Content, request.GetPublish().Change = nil, &v1.Change{
						Target: uint64(i), Op: &v1.Change_React{React: &v1.React{Reaction: "+1"}},
					}
				}
				if _, err := p.ask(request); err != nil {
					t.Fatal(err)
				}
			}
			p.conn.Close()
			if err := errors.Join(s.signal(syscall.SIGTERM), s.wait(patience)); err != nil {
				t.Fatal(err)
			}
			if c.without {
				if err := os.Remove(filepath.Join(files, "changes", "changes.db")); err != nil {
					t.Fatal(err)
				}
			}
			filler := filepath.Join(files, "filler")
			fillUp(t, filler)
			if info, err := os.Stat(filler); err != nil || os.Truncate(filler, info.Size()-c.room) != nil {
				t.Fatalf("the filler can't be cut: %v", err)
			}

			s = start(t, l)
			if p, err = login(s.address, webSocket, "alice"); err != nil {
				t.Fatal(err)
			}
			defer p.conn.Close()
			if _, err := p.ask(publishRequest("other", "", "in what is left of the newest file")); err != nil {
				t.Errorf("a publish: %v", err)
			}
			reacted := 0
			read := func() error {
				return p.history("room", 0, func(m *v1.Message) {
					if len(m.GetReactions()) > 0 {
						reacted++
					}
				})
			}
			err = read()
			var reply replyError
			if c.without && (!errors.As(err, &reply) || !reply.reply.Retry) {
				t.Errorf("history without the index: %v, want an error that can be retried", err)
			}
			if !c.without && err != nil {
				t.Errorf("history on the full disk: %v", err)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			for begun := time.Now(); err != nil; err = read() {
				if time.Since(begun) > patience {
					t.Fatalf("there is room again, history says: %v", err)
				}
			}
			if reacted != messages/2 {
				t.Errorf("%d messages have a reaction, want %d", reacted, messages/2)
			}
		})
	}
}

// smallDisk makes a file system of its own in a namespace, which stays as long as the test. in is what goes into it.
func smallDisk(t *testing.T, size string) (data string, in []string, files string) {
	t.Helper()
	data = t.TempDir()
	holder := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		fmt.Sprintf("mount -t tmpfs -o size=%s none %s && echo mounted && exec cat", size, data))
	end, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end.Close()
		_ = holder.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		t.Fatalf("the file system is not there: %q, %v", line, err)
	}
	pid := fmt.Sprint(holder.Process.Pid)
	return data, []string{"nsenter", "--target", pid, "--user", "--mount", "--preserve-credentials"}, filepath.Join("/proc", pid, "root", data)
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
