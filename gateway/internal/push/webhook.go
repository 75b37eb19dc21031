package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"rookery/gateway/internal/webhook"
)

// Webhook sends summaries as signed HTTP requests, see package webhook.
type Webhook struct {
	url    string
	key    []byte
	client *http.Client
}

const (
	webhookTimeout = 10 * time.Second
	// Of an answer so much is read that the connection can be used again.
	answerBytes = 64 << 10
)

// NewWebhook needs an address and a secret that CheckWebhook and CheckSecret find nothing wrong with.
func NewWebhook(address, secret string) (*Webhook, error) {
	key, err := webhook.ParseSecret(secret)
	if err := errors.Join(CheckWebhook(address), err); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return &Webhook{address, key, newClient()}, nil
}

// CheckWebhook says why an address can't be one.
func CheckWebhook(address string) error { return webhook.CheckAddress(address) }

// CheckSecret says why a secret can't be one.
func CheckSecret(secret string) error {
	_, err := webhook.ParseSecret(secret)
	return err
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
	r, err := webhook.NewRequest(ctx, w.url, w.key, s.ID, body, now)
	if err != nil {
		return Outcome{Verdict: Final, Err: err}
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return Outcome{Verdict: Retry, Err: withoutURL(err)} // the address may have a secret in it
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, answerBytes)) // the status has said it all
	return judge(answer.StatusCode, answer.Status, answer.Header, now)
}
