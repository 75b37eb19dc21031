package issuance

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

// liar is an authority that agrees to everything, and then gives what the test says.
type liar struct {
	*httptest.Server
	redirect string                                              // where the directory is said to be
	body     string                                              // of the directory, in place of one
	after    string                                              // the header Retry-After of an order that is not ready, three times
	chain    func(request *x509.CertificateRequest) (pem []byte) // what is given
	pending  int
	request  *x509.CertificateRequest
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Replay-Nonce", "nonce")
	order := func(status string) {
		fmt.Fprintf(w, `{"status":%q,"finalize":"%s/finalize","certificate":"%s/certificate","authorizations":[]}`, status, l.URL, l.URL)
	}
	switch r.URL.Path {
	case "/dir":
		switch {
		case l.redirect != "":
			http.Redirect(w, r, l.redirect, http.StatusFound)
		case l.body != "":
			fmt.Fprint(w, l.body)
		default:
			fmt.Fprintf(w, `{"newNonce":"%s/nonce","newAccount":"%s/account","newOrder":"%s/order"}`, l.URL, l.URL, l.URL)
		}
	case "/account":
		w.Header().Set("Location", l.URL+"/account/1")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"status":"valid"}`)
	case "/order":
		w.Header().Set("Location", l.URL+"/order/1")
		w.WriteHeader(http.StatusCreated)
		order("pending")
	case "/order/1":
		if l.pending++; l.pending <= 3 && l.after != "" {
			w.Header().Set("Retry-After", l.after)
			order("pending")
		} else if l.request == nil {
			order("ready")
		} else {
			order("valid")
		}
	case "/finalize":
		var signed struct{ Payload string }
		var payload struct{ CSR string }
		_ = json.NewDecoder(r.Body).Decode(&signed)
		text, _ := base64.RawURLEncoding.DecodeString(signed.Payload)
		_ = json.Unmarshal(text, &payload)
		der, _ := base64.RawURLEncoding.DecodeString(payload.CSR)
		l.request, _ = x509.ParseCertificateRequest(der)
		order("processing")
	case "/certificate":
		_, _ = w.Write(l.chain(l.request))
	}
}

// certified is a certificate for a key, signed by another one.
func certified(t *testing.T, key any, name string, since, left time.Duration) []byte {
	issuer, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-since), NotAfter: time.Now().Add(left),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key, issuer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestWhatIsGiven: only a certificate that is for this key and this name and has not ended is taken.
func TestWhatIsGiven(t *testing.T) {
	const name = "chat.example.com"
	other, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		liar   liar
		reason reason
		parts  []string // of the error and what to do; none: it is taken
	}{
		"right": {liar{chain: func(r *x509.CertificateRequest) []byte { return certified(t, r.PublicKey, name, time.Hour, time.Hour) }}, 0, nil},
		"not good yet": {liar{chain: func(r *x509.CertificateRequest) []byte {
			return certified(t, r.PublicKey, name, -time.Hour, 2*time.Hour)
		}}, 0, nil},
		"another key": {liar{chain: func(*x509.CertificateRequest) []byte { return certified(t, other.Public(), name, time.Hour, time.Hour) }}, refused, []string{"can't be used", "does not match"}},
		"another name": {liar{chain: func(r *x509.CertificateRequest) []byte {
			return certified(t, r.PublicKey, "other.example", time.Hour, time.Hour)
		}}, refused, []string{"can't be used", "other.example"}},
		"ended": {liar{chain: func(r *x509.CertificateRequest) []byte {
			return certified(t, r.PublicKey, name, 2*time.Hour, -time.Hour)
		}}, refused, []string{"can't be used", "clock"}},
		"no certificate": {liar{chain: func(*x509.CertificateRequest) []byte { return []byte("hello") }}, refused, []string{"have the certificate made"}},
		"no DER": {liar{chain: func(*x509.CertificateRequest) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("hello")})
		}}, refused, []string{"can't be used"}},
		"a page":         {liar{body: "<html>log in to this network</html>"}, unreachable, []string{"invalid character", "a proxy answers"}},
		"nothing at all": {liar{body: " "}, unreachable, []string{"EOF", "tls.acme.directory"}},
		"numbers":        {liar{body: `{"newOrder":[1]}`}, unreachable, []string{"cannot unmarshal", "tls.acme.directory"}},
		"another thing":  {liar{body: `{"hello":"world"}`}, refused, []string{"RFC 8555"}},
		"not encrypted":  {liar{redirect: "http://127.0.0.1:1/dir"}, unreachable, []string{"only https://", "tls.acme.directory"}},
		"in circles":     {liar{redirect: "/dir"}, unreachable, []string{"redirects", "tls.acme.directory"}},
		"not encrypted from the directory on": {liar{body: `{"newNonce":"http://127.0.0.1:1/nonce","newAccount":"http://127.0.0.1:1/account","newOrder":"http://127.0.0.1:1/order"}`},
			unreachable, []string{"only https://"}},
	} {
		t.Run(what, func(t *testing.T) {
			l := &c.liar
			l.Server = httptest.NewTLSServer(l)
			defer l.Close()
			k := open(t, configOf(t, l.Server, name))
			given, err := k.order(name)
			if c.parts == nil {
				if err != nil || given.certificate.Leaf.VerifyHostname(name) != nil {
					t.Errorf("it was not taken: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("it was taken")
			}
			f := judge(err)
			for _, part := range c.parts {
				if said := err.Error() + f.advice; f.reason != c.reason || !strings.Contains(said, part) {
					t.Errorf("%s lacks %q: %s", reasonNames[f.reason], part, said)
				}
			}
		})
	}
}

// TestNoHotQuestions: an authority whose clock is another one's says that it may be asked again in the past. It is asked each second.
func TestNoHotQuestions(t *testing.T) {
	for _, after := range []string{time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), "-5", "0", "soon"} {
		t.Run(after, func(t *testing.T) {
			t.Parallel()
			l := &liar{after: after, chain: func(r *x509.CertificateRequest) []byte {
				return certified(t, r.PublicKey, "chat.example.com", time.Hour, time.Hour)
			}}
			l.Server = httptest.NewTLSServer(l)
			defer l.Close()
			transport := l.Client().Transport
			client := &acme.Client{DirectoryURL: l.URL + "/dir", HTTPClient: &http.Client{Transport: bounded{transport}}}
			var err error
			if client.Key, err = newKey(); err != nil {
				t.Fatal(err)
			}
			client.KID = "known"
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if _, err := client.WaitOrder(ctx, l.URL+"/order/1"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("in half a second it was asked %d times, %v", l.pending, err)
			}
		})
	}
}

// TestOrderEndsWithTheProcess: an authority that says nothing holds up no end.
func TestOrderEndsWithTheProcess(t *testing.T) {
	asked, over := make(chan bool, 8), make(chan bool)
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- true
		<-over
	}))
	defer server.Close()
	defer close(over)
	k := open(t, configOf(t, server, "chat.example.com"))
	k.Start()
	<-asked
	began := time.Now()
	k.Close()
	if took := time.Since(began); took > requestTimeout/2 {
		t.Errorf("to close took %v", took)
	}
	if release, err := k.folder.lock(); err != nil {
		t.Errorf("the turn was kept: %v", err)
	} else {
		release()
	}
	if past := k.folder.attempts("chat.example.com", time.Now()); past != (attempts{}) {
		t.Errorf("an order that was cut off is noted: %+v", past)
	}
}
