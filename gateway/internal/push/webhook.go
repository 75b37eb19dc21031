package push

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
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Webhook sends summaries as signed HTTP requests, in the manner of the Standard Webhooks specification
// (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md): its headers, its signature, its form of a secret and of a body.
type Webhook struct {
	url    string
	key    []byte
	client *http.Client
}

const (
	secretPrefix = "whsec_"
	// Bytes of a secret, as the specification has them.
	leastSecret, mostSecret = 24, 64
	webhookTimeout          = 10 * time.Second
	// Of an answer so much is read that the connection can be used again.
	answerBytes = 64 << 10
)

// NewWebhook needs an address and a secret that CheckWebhook and CheckSecret find nothing wrong with.
func NewWebhook(address, secret string) (*Webhook, error) {
	key, err := parseSecret(secret)
	if err := errors.Join(CheckWebhook(address), err); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return &Webhook{address, key, newClient()}, nil
}

// CheckWebhook says why an address can't be one: https://, or http:// of this machine.
func CheckWebhook(address string) error {
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

// CheckSecret says why a secret can't be one.
func CheckSecret(secret string) error {
	_, err := parseSecret(secret)
	return err
}

func parseSecret(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < leastSecret || len(key) > mostSecret {
		return nil, fmt.Errorf("is not %s and then %d to %d bytes in base64; make one with: echo %s$(openssl rand -base64 32)",
			secretPrefix, leastSecret, mostSecret, secretPrefix)
	}
	return key, nil
}

// Devices implements Sender: whoever receives the requests knows how to reach a user.
func (*Webhook) Devices(string) ([]string, error) { return []string{""}, nil }

// The body of a request; its form is docs/push.md.
type webhookBody struct {
	Type      string      `json:"type"`
	Timestamp string      `json:"timestamp"`
	Data      summaryBody `json:"data"`
}

// summaryBody is a summary as it leaves.
type summaryBody struct {
	User          string     `json:"user"`
	Messages      int        `json:"messages"`
	Conversations int        `json:"conversations"`
	Mentions      int        `json:"mentions"`
	More          bool       `json:"more"`
	Newest        newestBody `json:"newest"`
	Rooms         []roomBody `json:"rooms"`
}

type newestBody struct {
	Room string `json:"room"`
	Seq  uint64 `json:"seq"`
	At   int64  `json:"at"`
	From string `json:"from"`
	Text string `json:"text,omitempty"`
}

type roomBody struct {
	Room     string `json:"room"`
	Messages int    `json:"messages"`
	Mentions int    `json:"mentions"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
}

func newSummaryBody(s *Summary) summaryBody {
	messages, mentions := s.Messages()
	b := summaryBody{
		User: s.User, Messages: messages, Conversations: len(s.Rooms), Mentions: mentions, More: s.More,
		Newest: newestBody{s.Newest.Room, s.Newest.Seq, s.Newest.At, s.Newest.From, s.Newest.Text},
	}
	for _, r := range s.Rooms {
		b.Rooms = append(b.Rooms, roomBody(r))
	}
	return b
}

// Send implements Sender.
func (w *Webhook) Send(ctx context.Context, s *Summary) Outcome {
	now := time.Now()
	body, err := json.Marshal(webhookBody{summaryType, now.UTC().Format(time.RFC3339), newSummaryBody(s)})
	if err != nil {
		return Outcome{Verdict: Final, Err: err}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return Outcome{Verdict: Final, Err: err}
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	r.Header = http.Header{
		"Content-Type":      {"application/json"},
		"User-Agent":        {"rookery"},
		"Webhook-Id":        {s.ID},
		"Webhook-Timestamp": {timestamp},
		"Webhook-Signature": {"v1," + sign(w.key, s.ID, timestamp, body)},
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return Outcome{Verdict: Retry, Err: err}
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, answerBytes)) // the status has said it all
	return judge(answer.StatusCode, answer.Status, answer.Header, now)
}

// sign is the signature over "msg_id.timestamp.payload".
func sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// retryAfter reads both forms of RFC 9110 section 10.2.3, 0 if it is neither.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
