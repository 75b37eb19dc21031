package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	chat "rookery/client/go"
	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/storage/backup"
	"rookery/storage/vfs"
)

// TestClientsAfterARestore: a client has seen messages that the restored log has no more. It is told so, and gets what
// takes their numbers; it is not taken for one that has seen them.
func TestClientsAfterARestore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	dir := t.TempDir()
	connect := func(s *gatewaytest.Server) *chat.Client {
		c, err := chat.New(chat.Config{URL: s.URL(), Name: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	publish := func(c *chat.Client, text string) (seq uint64) {
		published, err := c.Publish(ctx, "lobby", text)
		if err != nil {
			t.Fatal(err)
		}
		return published.Seq
	}

	before := gatewaytest.Start(t, func(c *gateway.Config) { c.Data = filepath.Join(dir, "data") })
	c := connect(before)
	for i := range 5 {
		publish(c, fmt.Sprint("kept ", i+1))
	}
	made, err := backup.Make(ctx, backup.Config{FS: vfs.Disk(), From: filepath.Join(dir, "data"), To: filepath.Join(dir, "backup")})
	if err != nil {
		t.Fatal(err)
	}
	publish(c, "lost 6")
	subscription, err := c.Join(ctx, "lobby", chat.JoinOptions{After: &chat.Position{}})
	if err != nil {
		t.Fatal(err)
	}
	for m, err := range subscription.Messages(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Seq == 6 {
			break
		}
	}
	seen := subscription.Position()
	c.Close()
	before.Stop()

	restored := filepath.Join(dir, "restored")
	result, err := backup.Restore(ctx, backup.Directory(vfs.Disk(), filepath.Join(dir, "backup")),
		backup.RestoreConfig{FS: vfs.Disk(), To: restored, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if seen.Seq != 6 || seen.Epoch != made.Manifest.Epoch.String() || result.Epoch == made.Manifest.Epoch {
		t.Fatalf("client has seen %+v, the backup is of epoch %v, the restored log of %v", seen, made.Manifest.Epoch, result.Epoch)
	}
	after := gatewaytest.Start(t, func(c *gateway.Config) { c.Data = restored })
	c = connect(after)
	if seq := publish(c, "new 6"); seq != 6 {
		t.Errorf("first message after the restore has number %d, want 6", seq)
	}
	subscription, err = c.Join(ctx, "lobby", chat.JoinOptions{After: &seen})
	if err != nil {
		t.Fatal(err)
	}
	publish(c, "new 7")
	var reset *chat.ResetError
	for m, err := range subscription.Messages(ctx) {
		switch {
		case errors.As(err, &reset):
			continue
		case err != nil:
			t.Fatal(err)
		case m.Text != "new 7":
			t.Errorf("got %q, want new 7", m.Text)
		}
		break
	}
	if reset == nil || reset.Old != seen || reset.New.Epoch != result.Epoch.String() || reset.New.Seq != 6 {
		t.Errorf("got %+v, want to be told that %+v is void", reset, seen)
	}
	page, err := c.History(ctx, "lobby", chat.HistoryQuery{})
	if err != nil || len(page.Messages) != 7 || page.Messages[4].Text != "kept 5" || page.Messages[5].Text != "new 6" {
		t.Errorf("history: %+v, %v", page.Messages, err)
	}
}
