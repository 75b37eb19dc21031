package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rookery/storage/ship"
)

// TestTarget: what a target promises, with and without TLS.
func TestTarget(t *testing.T) {
	for name, tls := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			target := startStore(t, tls).target("some/prefix")
			large := bytes.Repeat([]byte("chunk of a log "), 8<<20/15)
			for name, content := range map[string][]byte{"chunks/large": large, "chunks/small": []byte("x"), "manifests/1": []byte("{}"), "other": []byte("y")} {
				mustPut(t, target, name, content)
				got, err := target.Get(t.Context(), name)
				if err != nil || !bytes.Equal(got, content) {
					t.Fatalf("%s: got %d bytes of %d, %v", name, len(got), len(content), err)
				}
			}
			names, err := target.List(t.Context(), "chunks")
			slices.Sort(names)
			if err != nil || !slices.Equal(names, []string{"chunks/large", "chunks/small"}) {
				t.Errorf("list: %q, %v", names, err)
			}
			if names, err := target.List(t.Context(), "nothing"); err != nil || len(names) != 0 {
				t.Errorf("list of what is not there: %q, %v", names, err)
			}
			mustPut(t, target, "chunks/small", []byte("another"))
			if got, err := target.Get(t.Context(), "chunks/small"); err != nil || string(got) != "another" {
				t.Errorf("replaced: %q, %v", got, err)
			}
			for range 2 { // the second time it is not there
				if err := target.Remove(t.Context(), "chunks/small"); err != nil {
					t.Errorf("remove: %v", err)
				}
			}
			if _, err := target.Get(t.Context(), "chunks/small"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("get of what was removed: %v", err)
			}
		})
	}
}

// TestLongList: a store gives a list in pages of a thousand.
func TestLongList(t *testing.T) {
	target := startStore(t, false).target("")
	var want []string
	for i := range 1010 {
		want = append(want, fmt.Sprintf("chunks/%04d", i))
		mustPut(t, target, want[i], []byte("x"))
	}
	names, err := target.List(t.Context(), "chunks")
	slices.Sort(names)
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("%d names of %d: %v", len(names), len(want), err)
	}
}

// TestCredentials: from a file too; wrong and missing ones are an error that says so and does not show them.
func TestCredentials(t *testing.T) {
	s := startStore(t, false)
	location := ship.Location{Bucket: bucketName}
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(secret string) {
		content := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", accessKey, secret)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secretKey)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	mustPut(t, s.open(location), "chunks/a", []byte("x"))

	write("a-wrong-secret")
	err := s.open(location).Put(t.Context(), "chunks/b", []byte("x"))
	if err == nil || strings.Contains(err.Error(), "a-wrong-secret") || !strings.Contains(err.Error(), bucketName) {
		t.Errorf("wrong credentials: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	target := s.open(location)
	if err := target.Put(t.Context(), "chunks/b", []byte("x")); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("no credentials: %v", err)
	}
	// They come while the server runs.
	write(secretKey)
	mustPut(t, target, "chunks/b", []byte("x"))
	if names, err := target.List(t.Context(), "chunks"); err != nil || len(names) != 2 {
		t.Errorf("list: %q, %v", names, err)
	}
	if err := s.open(ship.Location{Bucket: "no-such-bucket"}).Put(t.Context(), "chunks/a", []byte("x")); err == nil || !strings.Contains(err.Error(), "no-such-bucket") {
		t.Errorf("a bucket that is not there: %v", err)
	}
}
