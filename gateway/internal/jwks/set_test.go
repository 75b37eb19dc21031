package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// made are keys of each kind, as documents have them.
var made = sync.OnceValue(func() map[string]map[string]any {
	rsaKey := func(bits int) map[string]any {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return map[string]any{"kty": "RSA", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}
	}
	ec := func(curve elliptic.Curve, name string) map[string]any {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			panic(err)
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			panic(err)
		}
		half := (len(point) - 1) / 2
		return map[string]any{"kty": "EC", "crv": name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]map[string]any{
		"rsa": rsaKey(2048), "rsa-1024": rsaKey(1024),
		"p256": ec(elliptic.P256(), "P-256"), "p384": ec(elliptic.P384(), "P-384"),
		"ed25519": {"kty": "OKP", "crv": "Ed25519", "x": b64(public)},
		"secret":  {"kty": "oct", "k": b64([]byte(strings.Repeat("s", 32))), "alg": "HS256"},
	}
})

// key is one of made with more members, which come in pairs.
func key(name string, more ...any) map[string]any {
	k := maps.Clone(made()[name])
	for i := 0; i < len(more); i += 2 {
		k[more[i].(string)] = more[i+1]
	}
	return k
}

func set(keys ...map[string]any) []byte {
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return text
}

func TestParse(t *testing.T) {
	many := make([]map[string]any, maxKeys+1)
	for i := range many {
		many[i] = key("ed25519", "kid", fmt.Sprint(i))
	}
	offCurve := key("p256", "y", b64(make([]byte, 32)))
	for _, c := range []struct {
		name  string
		text  []byte
		want  []string // id algorithm
		fault string
	}{
		{"one of each kind", set(key("rsa", "kid", "1"), key("p256", "kid", "2"), key("ed25519", "kid", "3")), []string{"1 RS256", "2 ES256", "3 EdDSA"}, ""},
		{"for signatures", set(key("rsa", "use", "sig", "alg", "RS256", "key_ops", []string{"verify"})), []string{" RS256"}, ""},
		{"what is not understood is skipped", set(map[string]any{"kty": "new"}, key("rsa", "kid", "1")), []string{"1 RS256"}, ""},
		{"a second key of an id is skipped", set(key("rsa", "kid", "1"), key("p256", "kid", "1")), []string{"1 RS256"}, ""},
		{"a secret", set(key("secret", "kid", "1")), nil, "none of RSA, P-256 and Ed25519"},
		{"an RSA key for HS256", set(key("rsa", "alg", "HS256")), nil, `is for "HS256", not for RS256`},
		{"an RSA key for PS256", set(key("rsa", "alg", "PS256")), nil, "not for RS256"},
		{"a P-256 key for EdDSA", set(key("p256", "alg", "EdDSA")), nil, "not for ES256"},
		{"for encryption", set(key("rsa", "use", "enc")), nil, "not for signatures"},
		{"for signing only", set(key("rsa", "key_ops", []string{"sign"})), nil, "not for verifying"},
		{"a short RSA key", set(key("rsa-1024")), nil, "1024 bits"},
		{"P-384", set(key("p384")), nil, "none of"},
		{"off the curve", set(offCurve), nil, "no point of P-256"},
		{"a short coordinate", set(key("p256", "x", b64([]byte{1}))), nil, "out of bounds"},
		{"an even exponent", set(key("rsa", "e", b64([]byte{4}))), nil, "out of bounds"},
		{"an exponent of 1", set(key("rsa", "e", b64([]byte{1}))), nil, "out of bounds"},
		{"padded base64", set(key("ed25519", "x", made()["ed25519"]["x"].(string)+"=")), nil, "out of bounds"},
		{"a number as kid", set(key("rsa", "kid", 7)), nil, "malformed"},
		{"no keys", set(), nil, "it has no keys"},
		{"too many keys", set(many...), nil, "65 keys"},
		{"a page", []byte("<html>"), nil, "no JSON Web Key Set"},
		{"nothing", nil, nil, "no JSON Web Key Set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := parse(c.text)
			if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Fatalf("error %v, want %q", err, c.fault)
			}
			var got []string
			for _, k := range keys {
				got = append(got, k.ID+" "+k.Algorithm)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("keys %q, want %q", got, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(set(key("rsa", "kid", "1"), key("p256"), key("ed25519")))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parse(text)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys and the error %v", len(keys), err)
		}
	})
}

func TestATokenWithoutAnIDIsForTheOnlyKey(t *testing.T) {
	s := &Set{cfg: Config{Log: quiet}}
	s.table.Store(&table{})
	keys, err := parse(set(key("rsa", "kid", "1"), key("rsa", "kid", "2"), key("p256", "kid", "3")))
	if err != nil {
		t.Fatal(err)
	}
	s.replace(keys)
	for _, c := range []struct {
		id, algorithm string
		found         bool
	}{
		{"1", RS256, true}, {"2", RS256, true}, {"3", ES256, true}, {"", ES256, true},
		{"", RS256, false}, {"1", ES256, false}, {"3", "HS256", false}, {"4", RS256, false}, {"", EdDSA, false},
	} {
		if _, found := s.Find(c.id, c.algorithm); found != c.found {
			t.Errorf("key %q for %s: found %v, want %v", c.id, c.algorithm, found, c.found)
		}
	}
}

// write puts a document into a file as an operator should, in one step.
func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestAnUnknownIDBringsTheNextFetchForward, once for all who ask, and what it did not bring is then known not to be there.
func TestAnUnknownIDBringsTheNextFetchForward(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	write(t, path, set(key("ed25519", "kid", "old")))
	synctest.Test(t, func(t *testing.T) {
		s := Start(Config{Source: path, Refresh: time.Hour, Log: quiet})
		defer s.Close()
		synctest.Wait()
		if _, ok := s.Find("old", EdDSA); !ok {
			t.Fatal("the first key is not there")
		}
		write(t, path, set(key("ed25519", "kid", "old"), key("p256", "kid", "new")))
		time.Sleep(time.Second)
		if _, ok := s.Find("new", ES256); ok {
			t.Fatal("the new key is there though nobody asked for it")
		}
		wait := s.Wait("new")
		if want := standardPause; wait != want { // 4 s until it may be fetched, and one for the fetch
			t.Errorf("told to come back in %v, want %v", wait, want)
		}
		for i := range 5000 { // more than are remembered
			s.Wait(fmt.Sprint(i))
		}
		s.Wait("never")
		time.Sleep(wait)
		synctest.Wait()
		if _, ok := s.Find("new", ES256); !ok {
			t.Error("the new key is not there when it was promised")
		}
		if n := s.Stats().Fetches; n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
		if n := len(s.seen.since); n > maxSeen {
			t.Errorf("%d unknown ids are remembered", n)
		}
		if wait := s.Wait("never"); wait != 0 {
			t.Errorf("an id that was looked for is to be waited for %v more", wait)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := s.Stats().Fetches; n != 2 {
			t.Errorf("a known answer had it fetched %d times", n)
		}
		time.Sleep(time.Hour) // a key may be published at last
		synctest.Wait()
		if wait := s.Wait("never"); wait == 0 {
			t.Error("an id from long ago is still taken as unknown")
		}
	})
}

func TestOldKeysStayGoodWhileTheFetchFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	write(t, path, set(key("ed25519", "kid", "old")))
	synctest.Test(t, func(t *testing.T) {
		s := Start(Config{Source: path, Refresh: time.Minute, Log: quiet})
		defer s.Close()
		synctest.Wait()
		for _, bad := range []string{"<html>", `{"keys":[]}`, strings.Repeat("x", maxDocument+1)} {
			write(t, path, []byte(bad))
			before := s.Stats().Failed
			time.Sleep(time.Minute)
			synctest.Wait()
			if _, ok := s.Find("old", EdDSA); !ok || s.Stats().Failed == before {
				t.Fatalf("after %.20q: the old key is there: %v; %+v", bad, ok, s.Stats())
			}
		}
		write(t, path, set(key("ed25519", "kid", "next")))
		time.Sleep(time.Minute) // as long as the pause between failures gets
		synctest.Wait()
		_, old := s.Find("old", EdDSA)
		_, next := s.Find("next", EdDSA)
		if old || !next {
			t.Errorf("after the repair: old key %v, next key %v", old, next)
		}
	})
}

// TestAFailedFetchIsTriedAgainSoon, also where fetches are otherwise made once a day.
func TestAFailedFetchIsTriedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Start(Config{Source: filepath.Join(t.TempDir(), "nothing"), Refresh: 24 * time.Hour, Log: quiet})
		defer s.Close()
		time.Sleep(6 * time.Hour)
		before := s.Stats().Failed
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := s.Stats().Failed - before; n != uint64(time.Hour/longestRetry) {
			t.Errorf("%d fetches in an hour, want %d", n, time.Hour/longestRetry)
		}
	})
}

// issuer is a server of keys.
type issuer struct {
	*httptest.Server
	text    atomic.Pointer[[]byte]
	header  http.Header
	asked   atomic.Int64
	unmoved atomic.Int64 // answered with 304
}

func newIssuer(t *testing.T, text []byte) *issuer {
	i := &issuer{header: http.Header{}}
	i.text.Store(&text)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		text := *i.text.Load()
		maps.Copy(w.Header(), i.header)
		etag := fmt.Sprintf(`"%d"`, len(text))
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			i.unmoved.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Write(text)
	}))
	t.Cleanup(i.Close)
	return i
}

// until asks again and again; that it never comes true is told by the test's own time limit.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within 30 s", what)
		}
	}
}

func TestRotationOverHTTP(t *testing.T) {
	i := newIssuer(t, set(key("rsa", "kid", "old")))
	s := Start(Config{Source: i.URL + "/keys?secret=1", Refresh: time.Hour, Log: quiet, soonest: time.Millisecond})
	defer s.Close()
	until(t, "the first fetch", func() bool { _, ok := s.Find("old", RS256); return ok })

	s.Wait("new")
	until(t, "an answer that nothing changed", func() bool { return i.unmoved.Load() > 0 })
	next := set(key("rsa", "kid", "old"), key("p256", "kid", "new"))
	i.text.Store(&next)
	until(t, "the new key", func() bool {
		s.Wait(fmt.Sprint("other ", i.asked.Load()))
		_, ok := s.Find("new", ES256)
		return ok
	})
	if _, ok := s.Find("old", RS256); !ok {
		t.Error("the old key, which is still published, is gone")
	}
	if name := s.name(); strings.Contains(name, "secret") {
		t.Errorf("log lines name the source as %s", name)
	}
}

func TestWhatIsNoKeySetOverHTTP(t *testing.T) {
	good := newIssuer(t, set(key("rsa")))
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, good.URL, http.StatusFound) }},
		{"an error with a key set", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			w.Write(set(key("rsa")))
		}},
		{"more than fits", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(slices.Concat(set(key("rsa")), []byte(strings.Repeat(" ", maxDocument))))
		}},
		{"304 to a first request", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.answer)
			defer server.Close()
			s := Start(Config{Source: server.URL, Log: quiet})
			defer s.Close()
			until(t, "a failed fetch", func() bool { return s.Stats().Failed > 0 })
			if st := s.Stats(); st.Keys != 0 || st.Age != 0 {
				t.Errorf("keys were taken: %+v", st)
			}
		})
	}
}

// TestCloseDoesNotWaitForTheIssuer: a server that hangs must not hold up the end of ours.
func TestCloseDoesNotWaitForTheIssuer(t *testing.T) {
	asked := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	defer server.Close()
	s := Start(Config{Source: server.URL, Log: quiet})
	<-asked
	s.Close()
	if n := s.Stats().Failed; n != 0 {
		t.Errorf("the end counts as %d failures", n)
	}
}

func TestMaxAge(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "no-store": 0, "max-age=300": 5 * time.Minute, "public, Max-Age=60, must-revalidate": time.Minute,
		"max-age=-1": 0, "max-age=x": 0, "s-maxage=9": 0, "max-age=0": time.Second, "max-age=99999999999": 0,
	} {
		if got := maxAge(header); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

func TestCheckSource(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	write(t, file, set(key("rsa")))
	for source, ok := range map[string]bool{
		"https://issuer.example/keys": true, "http://localhost:8000/keys": true, "http://127.0.0.1/keys": true, "http://[::1]:1/k": true,
		"http://issuer.example/keys": false, "https://": false, "https://user:password@issuer.example/": false, "https://a/#b": false,
		file: true, file + ".not": false, t.TempDir(): false,
	} {
		if err := CheckSource(source); (err == nil) != ok {
			t.Errorf("%s: %v", source, err)
		}
	}
}
