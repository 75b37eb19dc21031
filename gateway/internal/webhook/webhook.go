// Package webhook is a signed request to an address that whoever runs the server has named, in the manner of the Standard Webhooks
// specification (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md): its headers, its signature, its form of a
// secret and of a body. It decides nothing: who sends says what an answer means, and whether to try again.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	secretPrefix = "whsec_"
	// Bytes of a secret, as the specification has them.
	leastSecret, mostSecret = 24, 64

	firstRetry   = 5 * time.Second
	longestRetry = time.Hour
)

// CheckAddress says why an address can't be one: https://, or http:// of this machine.
func CheckAddress(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "":
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("is no https://host/path, or http:// of this machine")
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// ParseSecret gives the key that a secret holds.
func ParseSecret(secret string) (key []byte, err error) {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	key, err = base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < leastSecret || len(key) > mostSecret {
		return nil, fmt.Errorf("is not %s and then %d to %d bytes in base64; make one with: echo %s$(openssl rand -base64 32)",
			secretPrefix, leastSecret, mostSecret, secretPrefix)
	}
	return key, nil
}

// Sign is the signature over "msg_id.timestamp.payload".
func Sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// NewRequest makes a signed POST of a JSON body.
func NewRequest(ctx context.Context, address string, key []byte, id string, body []byte, now time.Time) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	// The key without a value, which is not sent, has net/http send the request again if the address ended the idle connection just then.
	// Whoever is told twice sees that by the id.
	r.Header = http.Header{
		"Content-Type":      {"application/json"},
		"User-Agent":        {"rookery"},
		"Idempotency-Key":   {},
		"Webhook-Id":        {id},
		"Webhook-Timestamp": {timestamp},
		"Webhook-Signature": {"v1," + Sign(key, id, timestamp, body)},
	}
	return r, nil
}

// Temporary reports whether a status says that the same request may be taken later: what RFC 9110 and RFC 6585 call temporary.
func Temporary(status int) bool {
	return status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests
}

// RetryAfter reads both forms of RFC 9110 section 10.2.3, 0 if it is neither.
func RetryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// Backoff is from 5 s on twice as long each time, up to an hour, the half of it by chance: what failed together is not to come together.
func Backoff(attempts int) time.Duration {
	d := longestRetry
	if shift := attempts - 1; shift < 12 {
		d = min(d, firstRetry<<shift)
	}
	return d/2 + rand.N(d/2)
}

// version is that of the bodies that a Hook sends, and of the answers that it takes.
const version = "1"

// Hook is an address that events are sent to. Its methods are safe for concurrent use.
type Hook struct {
	address     string
	key         []byte
	client      *http.Client
	answerBytes int64
}

// NewHook makes one for at most so many requests at once, and answers of at most so many bytes.
func NewHook(address, secret string, atOnce, answerBytes int) (*Hook, error) {
	key, err := ParseSecret(secret)
	if err := errors.Join(CheckAddress(address), err); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = atOnce, atOnce
	return &Hook{address, key, &http.Client{
		Transport: transport,
		// What is sent goes to where the operator said, and to no one else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, int64(answerBytes)}, nil
}

// Answer is what came back.
type Answer struct {
	Status int
	After  time.Duration // from Retry-After, 0 if there is none
	Body   []byte
}

// Good reports whether it is a success.
func (a *Answer) Good() bool { return a.Status >= 200 && a.Status < 300 }

// Err is an error for an answer that is no success. Nothing of its body is in it: that may repeat what users have said.
func (a *Answer) Err() error {
	return fmt.Errorf("answered %d %s", a.Status, http.StatusText(a.Status))
}

// ErrTooLong says that an answer is longer than the hook takes.
var ErrTooLong = errors.New("the answer is too long")

// Post sends an event until the context ends. The error says that there was no answer, or ErrTooLong.
func (h *Hook) Post(ctx context.Context, id, kind string, data any) (*Answer, error) {
	now := time.Now()
	body, err := json.Marshal(struct {
		Type      string `json:"type"`
		Timestamp string `json:"timestamp"`
		Data      any    `json:"data"`
	}{kind, now.UTC().Format(time.RFC3339), data})
	if err != nil {
		return nil, err
	}
	r, err := NewRequest(ctx, h.address, h.key, id, body, now)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Rookery-Webhook-Version", version)
	response, err := h.client.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the address may have a secret in it
		}
		return nil, err
	}
	defer response.Body.Close()
	a := &Answer{Status: response.StatusCode, After: RetryAfter(response.Header.Get("Retry-After"), now)}
	a.Body, err = io.ReadAll(io.LimitReader(response.Body, h.answerBytes+1))
	if err == nil && int64(len(a.Body)) > h.answerBytes {
		err = fmt.Errorf("%w: it has more than %d bytes", ErrTooLong, h.answerBytes)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Close ends idle connections.
func (h *Hook) Close() { h.client.CloseIdleConnections() }
