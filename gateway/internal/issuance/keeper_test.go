package issuance

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificateOf is a file as the folder has it, for a time around now.
func certificateOf(t *testing.T, name string, since, left time.Duration) []byte {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-since), NotAfter: time.Now().Add(left),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := keyBlock(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(block, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
}

// busyAuthority says that it can't now, for an hour, and counts who asks.
func busyAuthority(t *testing.T) (server *httptest.Server, asked *atomic.Int64) {
	asked = &atomic.Int64{}
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	return server, asked
}

func configOf(t *testing.T, server *httptest.Server, names ...string) Config {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return Config{
		Names: names, Directory: server.URL + "/dir", Roots: pool, Folder: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Pauses: Pauses{Unreachable: time.Millisecond, Refused: time.Millisecond, Folder: time.Millisecond, Turn: time.Millisecond},
	}
}

func open(t *testing.T, cfg Config) *Keeper {
	t.Helper()
	k, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there is still not %s", what)
		}
	}
}

// TestOneProcessOrders: the other one waits for its turn, and meanwhile takes what the first has stored.
func TestOneProcessOrders(t *testing.T) {
	server, asked := busyAuthority(t)
	cfg := configOf(t, server, "chat.example.com", "www.example.com")
	first := open(t, cfg)
	release, err := first.folder.lock()
	if err != nil {
		t.Fatal(err)
	}
	second := open(t, cfg)
	second.Start()
	defer second.Close()
	if err := first.folder.write(certificateFile("chat.example.com"), certificateOf(t, "chat.example.com", time.Hour, time.Hour)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the certificate of the other process", func() bool { return second.Get("CHAT.example.com") != nil })
	if missing := second.Missing(); len(missing) != 1 || missing[0] != "www.example.com" {
		t.Errorf("%q are missing", missing)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the authority was asked %d times out of turn", n)
	}
	release()
	eventually(t, "an order", func() bool { return asked.Load() > 0 })
	third := open(t, cfg)
	third.Start()
	third.Close() // ends one that waits
}

// TestAuthorityIsLeftAlone: as long as it says, for all names, and a reload changes nothing of that.
func TestAuthorityIsLeftAlone(t *testing.T) {
	server, asked := busyAuthority(t)
	var log bytes.Buffer
	cfg := configOf(t, server, "chat.example.com", "www.example.com")
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	k := open(t, cfg)
	k.Start()
	eventually(t, "a failure", func() bool { return k.Counters.Failed[unreachable].Load() == 1 })
	was := asked.Load()
	// What was due for three names is done when there are four.
	names := cfg.Names
	for _, name := range []string{"third.example.com", "fourth.example.com"} {
		names = append(slices.Clip(names), name)
		k.Use(names)
		eventually(t, "a look at the names", func() bool { return len(k.Missing()) == len(names) })
	}
	k.Close()
	if n := asked.Load(); n != was {
		t.Errorf("the authority was asked %d times more", n-was)
	}
	for _, part := range []string{"level=ERROR", "reason=unreachable", "503", "to_do=", "next="} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %s: %s", part, &log)
		}
	}
}

// TestStored: what is in the folder is in force without anybody being asked, unless it can't be.
func TestStored(t *testing.T) {
	server, asked := busyAuthority(t)
	cfg := configOf(t, server, "chat.example.com", "www.example.com")
	f, err := openFolder(cfg.Folder, cfg.Directory)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"chat.example.com": certificateOf(t, "chat.example.com", time.Hour, 3*time.Hour),
		"www.example.com":  certificateOf(t, "other.example.com", time.Hour, 3*time.Hour), // somebody has mixed them up
	} {
		if err := f.write(certificateFile(name), content); err != nil {
			t.Fatal(err)
		}
	}
	k := open(t, cfg)
	if k.Get("chat.example.com") == nil || k.Get("www.example.com") != nil || k.First() == nil || asked.Load() != 0 {
		t.Errorf("missing are %q, and the authority was asked %d times", k.Missing(), asked.Load())
	}
	if n := k.Overdue(time.Now()); n != 1 {
		t.Errorf("%d names are overdue", n)
	}
	if n := k.Overdue(time.Now().Add(150 * time.Minute)); n != 2 {
		t.Errorf("with a sixth of the time left %d names are overdue", n)
	}
	if left := time.Until(k.Expires()); left < 2*time.Hour || left > 3*time.Hour {
		t.Errorf("the first expires in %v", left)
	}
	k.Close()

	// Of another authority, as after a test.
	cfg.Directory = server.URL + "/other"
	if other := open(t, cfg); other.Get("chat.example.com") != nil {
		t.Error("the certificate of another authority is in force")
	}
}

// TestFilesAreReplacedAsAWhole: what a process that ended in the middle has left is no hindrance.
func TestFilesAreReplacedAsAWhole(t *testing.T) {
	f, err := openFolder(t.TempDir(), "https://ca.example:14000/dir")
	if err != nil {
		t.Fatal(err)
	}
	if base := filepath.Base(f.dir); base != "ca.example_14000_dir" {
		t.Errorf("the folder is %s", base)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "a"+newEnding), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"one", "two"} {
		if err := f.write("a", []byte(content)); err != nil {
			t.Fatal(err)
		}
		got, err := f.read("a")
		if err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := openFolder(filepath.Join(f.dir, "a"), "https://ca.example/dir"); err == nil || !strings.Contains(err.Error(), "server's user") {
		t.Errorf("a folder below a file: %v", err)
	}
}

// TestAnswers: at the listener for HTTP, and by TLS.
func TestAnswers(t *testing.T) {
	server, _ := busyAuthority(t)
	cfg := configOf(t, server, "chat.example.com")
	cfg.Redirect = true
	k := open(t, cfg)
	k.challenge.Store(&answer{name: "chat.example.com", token: "abc", text: "abc.thumbprint", certificate: &tls.Certificate{}})
	for _, c := range []struct {
		method, url, where, body string
		status                   int
	}{
		{"GET", "http://chat.example.com/.well-known/acme-challenge/abc", "", "abc.thumbprint", 200},
		{"GET", "http://chat.example.com/.well-known/acme-challenge/abd", "", "", 404},
		{"GET", "http://chat.example.com/.well-known/acme-challenge/", "", "", 404},
		{"GET", "http://CHAT.example.com:80/a?b=c", "https://chat.example.com/a?b=c", "", 308},
		{"GET", "http://chat.example.com./a", "https://chat.example.com/a", "", 308},
		{"GET", "http://chat.example.com//evil.example/%2e%2e/?u=//a", "https://chat.example.com//evil.example/%2e%2e/?u=//a", "", 308},
		{"GET", "http://evil.example.com/", "", "", 404},
		{"GET", "http://evil.example.com/.well-known/acme-challenge/../../a", "", "", 404},
		{"PUT", "http://chat.example.com/", "", "", 404},
		{"OPTIONS", "http://chat.example.com/", "", "", 404},
		{"POST", "http://chat.example.com/.well-known/acme-challenge/abc", "", "", 404},
		{"POST", "http://chat.example.com/", "", "", 404},
	} {
		w := httptest.NewRecorder()
		k.answerHTTP(w, httptest.NewRequest(c.method, c.url, nil))
		if w.Code != c.status || w.Header().Get("Location") != c.where || c.body != "" && w.Body.String() != c.body {
			t.Errorf("%s %s: %d, %q, %q", c.method, c.url, w.Code, w.Header().Get("Location"), w.Body)
		}
	}
	for _, target := range []string{"*", "evil:.evil.example/", "evil:@evil.example/", "http:evil.example"} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: chat.example.com\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "chat.example.com"
		w := httptest.NewRecorder()
		k.answerHTTP(w, r)
		if got := w.Header().Get("Location"); got != "https://chat.example.com/" {
			t.Errorf("who asks for %q is led to %q", target, got)
		}
	}
	for _, c := range []struct {
		name      string
		protocols []string
		want      bool
	}{
		{"chat.example.com", []string{"acme-tls/1"}, true},
		{"chat.example.com", []string{"acme-tls/1", "http/1.1"}, false},
		{"chat.example.com", []string{"http/1.1"}, false},
		{"chat.example.com", nil, false},
		{"CHAT.example.com", []string{"acme-tls/1"}, true},
		{"www.example.com", []string{"acme-tls/1"}, false},
		{"chat.example.com.", []string{"acme-tls/1"}, false}, // RFC 6066 3: without a dot
		{"192.0.2.1", []string{"acme-tls/1"}, false},
		{"", []string{"acme-tls/1"}, false},
	} {
		if got := k.Challenge(&tls.ClientHelloInfo{ServerName: c.name, SupportedProtos: c.protocols}) != nil; got != c.want {
			t.Errorf("%s with %q: %v", c.name, c.protocols, got)
		}
	}
	k.challenge.Store(nil)
	if k.Challenge(&tls.ClientHelloInfo{ServerName: "chat.example.com", SupportedProtos: []string{"acme-tls/1"}}) != nil {
		t.Error("there is an answer when nothing is asked")
	}
}
