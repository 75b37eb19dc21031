package issuance

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"rookery/gateway/internal/accept"
)

const (
	challengeHTTP = "http-01"
	challengeTLS  = "tls-alpn-01"
	// challengePath is where the answer is looked for, RFC 8555 8.3.
	challengePath = "/.well-known/acme-challenge/"
	// Connections bounds those to the listener for HTTP, each of which has exchangeTime to ask, and as long to be answered, unless it makes room
	// for another (visitors.go).
	Connections  = 64
	exchangeTime = 5 * time.Second
	headBytes    = 4 << 10
)

// answer is what the authority is shown. Orders are made one after the other, so there is one at a time.
type answer struct {
	name        string
	token, text string           // by HTTP
	certificate *tls.Certificate // by TLS
}

// answers has the authority find what it asks for, until the answer is taken away.
func (k *Keeper) answers(client *acme.Client, name string, c *acme.Challenge) (err error) {
	a := &answer{name: name}
	if c.Type == challengeHTTP {
		a.token = c.Token
		a.text, err = client.HTTP01ChallengeResponse(c.Token)
	} else {
		var certificate tls.Certificate
		certificate, err = client.TLSALPN01ChallengeCert(c.Token, name)
		a.certificate = &certificate
	}
	if err != nil {
		return fmt.Errorf("make the answer to the challenge: %w", err)
	}
	k.challenge.Store(a)
	return nil
}

func (k *Keeper) challengeKind() string {
	if k.cfg.HTTP != nil {
		return challengeHTTP
	}
	return challengeTLS
}

// Challenge is the certificate for an authority that looks whether a name is ours, nil for everybody else. RFC 8737 3: it names the
// protocol and no other.
func (k *Keeper) Challenge(hello *tls.ClientHelloInfo) *tls.Certificate {
	if !slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return nil
	}
	a := k.challenge.Load()
	if a == nil || a.certificate == nil || !strings.EqualFold(a.name, hello.ServerName) {
		return nil
	}
	return a.certificate
}

// serveHTTP answers until the server is closed.
func (k *Keeper) serveHTTP() {
	k.http = &http.Server{
		Handler:     http.HandlerFunc(k.answerHTTP),
		ReadTimeout: exchangeTime, WriteTimeout: exchangeTime, MaxHeaderBytes: headBytes,
		ErrorLog: log.New(io.Discard, "", 0), // of what strangers send
	}
	k.http.SetKeepAlivesEnabled(false)
	k.running.Go(func() {
		// It ends with an error always, mostly since the server is closed.
		if err := k.http.Serve(&visitors{Listener: accept.On(k.cfg.HTTP, k.cfg.Log, k.cfg.Faults), most: Connections - 1}); k.ctx.Err() == nil {
			k.cfg.Log.Error("the listener for challenges ended, and no name can be shown until a restart", "err", err)
		}
	})
}

func (k *Keeper) answerHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "there is nothing here", http.StatusNotFound)
		return
	}
	if token, ok := strings.CutPrefix(r.URL.Path, challengePath); ok {
		if a := k.challenge.Load(); a != nil && token != "" && a.token == token {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = io.WriteString(w, a.text)
			return
		}
	} else if name := k.named(r.Host); name != "" && k.cfg.Redirect {
		w.Header().Set("Location", "https://"+name+place(r.URL))
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	http.Error(w, "there is nothing here", http.StatusNotFound)
}

// place is the path of a request and what is asked there. A target may also be "*", or have a scheme and no path (RFC 9112 3.2): put behind a
// name that would be another name.
func place(target *url.URL) string {
	path := target.EscapedPath()
	if !strings.HasPrefix(path, "/") {
		return "/"
	}
	if target.RawQuery != "" {
		path += "?" + target.RawQuery
	}
	return path
}

// named is the name of ours that a request is for: nobody is led to a host that he has named himself.
func (k *Keeper) named(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(host, ".")
	for h := range k.shown {
		if strings.EqualFold(h.name, host) {
			return h.name
		}
	}
	return ""
}
