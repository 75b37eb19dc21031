package issuance

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/crypto/acme"
)

const (
	// orderTimeout is for one order, requestTimeout for each of its requests.
	orderTimeout   = 5 * time.Minute
	requestTimeout = 30 * time.Second
	// largestAnswer bounds what the authority may say at once.
	largestAnswer = 1 << 20
	// nonces is how often a request is signed anew when the authority wants another nonce, RFC 8555 6.5.
	nonces = 20
	// userAgent names the program to it, RFC 8555 6.1.
	userAgent = "rookery"
)

// given is what came of an order.
type given struct {
	certificate *tls.Certificate
	file        []byte
}

// order has the authority give a certificate for a name.
func (k *Keeper) order(name string) (*given, error) {
	// First what is here: an order counts at the authority.
	if err := k.folder.probe(); err != nil {
		return nil, folderFault(err)
	}
	ctx, cancel := context.WithTimeout(k.ctx, orderTimeout)
	defer cancel()
	requests, done := k.requests()
	defer done()
	client, err := k.account(ctx, requests)
	if err != nil {
		return nil, err
	}
	var options []acme.OrderOption
	if k.cfg.Profile != "" {
		options = append(options, acme.WithOrderIssuanceProfile(acme.ProfileName(k.cfg.Profile)))
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(name), options...)
	if err != nil {
		return nil, fmt.Errorf("order a certificate: %w", err)
	}
	for _, address := range order.AuthzURLs {
		if err := k.authorize(ctx, client, name, address); err != nil {
			return nil, err
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, fmt.Errorf("wait for the order: %w", err)
	}
	return finalize(ctx, client, order, name)
}

// requests makes a client for those to the authority. done ends its connections.
func (k *Keeper) requests() (client *http.Client, done func()) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: k.cfg.Roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Timeout: requestTimeout, Transport: bounded{transport}}, transport.CloseIdleConnections
}

// account is that of the key in the folder. It is asked for with each order, which costs one request in weeks: so one that the authority has
// forgotten is made anew.
func (k *Keeper) account(ctx context.Context, requests *http.Client) (*acme.Client, error) {
	key, broken, err := k.folder.account()
	if err != nil {
		return nil, folderFault(err)
	}
	if broken != nil {
		k.cfg.Log.Error("the key of the account can't be used, another account is made", "folder", k.folder.dir, "kept", accountFile+".broken", "err", broken)
	}
	client := &acme.Client{
		Key: key, HTTPClient: requests, DirectoryURL: k.cfg.Directory, UserAgent: userAgent, RetryBackoff: retryNonce,
	}
	account := &acme.Account{}
	if k.cfg.Email != "" {
		account.Contact = []string{"mailto:" + k.cfg.Email}
	}
	if k.cfg.KeyID != "" {
		account.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: k.cfg.KeyID, Key: k.cfg.MACKey}
	}
	// That the terms are agreed to was asked of the operator: nobody orders without that setting.
	if _, err := client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("register the account at %s: %w", k.cfg.Directory, err)
	}
	return client, nil
}

// retryNonce repeats a request at once that was refused for its nonce, and no other: when those are tried again is decided in schedule.go.
func retryNonce(n int, _ *http.Request, response *http.Response) time.Duration {
	if response.StatusCode != http.StatusBadRequest || n > nonces {
		return 0
	}
	return time.Duration(n) * 10 * time.Millisecond
}

// bounded is a transport whose answers are, in length and in how fast they may be asked for.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	// RFC 8555 6.1. The addresses are those of the directory, or of a redirection.
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("the authority leads to %q, and only https:// is spoken with it", r.URL.String())
	}
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		// Of a time that is over here the client would make no pause at all between its questions.
		if retryAfter(response.Header, time.Now()) <= 0 {
			response.Header.Del("Retry-After")
		}
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, largestAnswer), response.Body}
	}
	return response, err
}

// authorize shows the authority that a name is ours.
func (k *Keeper) authorize(ctx context.Context, client *acme.Client, name, address string) error {
	authorization, err := client.GetAuthorization(ctx, address)
	if err != nil {
		return fmt.Errorf("ask what is to be shown: %w", err)
	}
	if authorization.Status == acme.StatusValid { // it remembers
		return nil
	}
	for _, c := range authorization.Challenges {
		if c.Type != k.challengeKind() {
			continue
		}
		if err := k.answers(client, name, c); err != nil {
			return err
		}
		defer k.challenge.Store(nil)
		if _, err := client.Accept(ctx, c); err != nil {
			return fmt.Errorf("accept the challenge %s: %w", c.Type, err)
		}
		if _, err := client.WaitAuthorization(ctx, address); err != nil {
			return fmt.Errorf("show by %s that the name is ours: %w", c.Type, err)
		}
		return nil
	}
	return fmt.Errorf("%w: it does not offer %s", errNoChallenge, k.challengeKind())
}

// finalize makes a key, and has the certificate be made for it.
func finalize(ctx context.Context, client *acme.Client, order *acme.Order, name string) (*given, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, fmt.Errorf("have the certificate made: %w", err)
	}
	file, err := keyBlock(key)
	if err != nil {
		return nil, err
	}
	for _, der := range chain {
		file = append(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	certificate, err := parse(file, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUseless, err)
	}
	// One that is not good yet is kept: if this clock is slow, clients know better, and another one would be no better.
	if now := time.Now(); now.After(certificate.Leaf.NotAfter) {
		return nil, fmt.Errorf("%w: it is good from %v to %v, and here it is %v", errUseless, certificate.Leaf.NotBefore, certificate.Leaf.NotAfter, now)
	}
	return &given{certificate, file}, nil
}
