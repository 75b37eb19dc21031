package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"rookery/gateway/internal/webhook"
)

// WebhooksConfig says which application is asked and told, and of what, docs/webhooks.md. Without a URL nobody is.
type WebhooksConfig struct {
	// URL is the application's: https://host/path, or http:// of this machine. Default empty, off.
	URL string
	// Secret signs the requests: whsec_ and 24 to 64 bytes in base64. Default none. Prefer SecretFile: an environment is easily printed.
	Secret Secret
	// SecretFile names the file that holds the secret. Default none.
	SecretFile string
	// Events are what it is asked about (connect, publish) and told of (disconnect, membership). Default none; a URL needs one.
	Events []string
	// Rooms are the patterns of the rooms whose publishes it is asked about. Default all.
	Rooms []string
	// Timeout is how long a connect or a publish waits for its answer. Default 2 s.
	Timeout time.Duration
	// Concurrency is how many connects and publishes it is asked about at the same time. Default 32. Each is a descriptor.
	Concurrency int
	// OnFailure is what becomes of a connect or a publish without an answer. Default FailureRefuses: who asks an application wants nothing that it
	// would have refused, least of all because it is overloaded.
	OnFailure FailureMode
}

// FailureMode says what becomes of what an application does not answer.
type FailureMode string

// What is not answered is refused with an error that says to try again, or goes on as if nobody had been asked.
const (
	FailureRefuses FailureMode = "refuse"
	FailureAllows  FailureMode = "allow"
)

// Events of WebhooksConfig.
const (
	ConnectWebhook    = "connect"
	PublishWebhook    = "publish"
	MembershipWebhook = "membership"
	DisconnectWebhook = "disconnect"
)

func (c WebhooksConfig) has(event string) bool {
	return c.URL != "" && slices.Contains(c.Events, event)
}

// asks says in which rooms publishes are asked about.
func (c WebhooksConfig) asks(room string) bool {
	return c.has(PublishWebhook) && anyMatches(c.Rooms, room)
}

// fault says what keeps the settings from working together, and which is to blame; "" is nothing.
func (c WebhooksConfig) fault() (setting, reason string) {
	events := []string{ConnectWebhook, PublishWebhook, MembershipWebhook, DisconnectWebhook}
	for _, event := range c.Events {
		if !slices.Contains(events, event) {
			return "webhooks.events", fmt.Sprintf("has %q; write some of connect, publish, membership and disconnect", event)
		}
	}
	if c.URL == "" {
		return "", ""
	}
	if err := webhook.CheckAddress(c.URL); err != nil {
		return "webhooks.url", err.Error()
	}
	if len(c.Events) == 0 {
		return "webhooks.events", "names nothing that webhooks.url is to be asked or told; write some of connect, publish, membership and disconnect"
	}
	if c.has(PublishWebhook) && len(c.Rooms) == 0 {
		return "webhooks.rooms", "names no room, and webhooks.events has publish; write patterns, or take publish out"
	}
	secret, err := c.secret()
	if err == nil {
		_, err = webhook.ParseSecret(secret)
	}
	switch {
	case err != nil && c.SecretFile != "":
		return "webhooks.secret_file", err.Error()
	case err != nil:
		return "webhooks.secret", err.Error()
	}
	return "", ""
}

func (c WebhooksConfig) secret() (string, error) {
	if c.SecretFile == "" {
		return string(c.Secret), nil
	}
	if c.Secret != "" {
		return "", errors.New("is set together with webhooks.secret; take one of them out")
	}
	data, err := readPrivate(c.SecretFile)
	return string(bytes.TrimSpace(data)), err
}

// hook is the way to the application, nil if it is off. A publish may come back as another, in base64 and with escapes.
func (c WebhooksConfig) hook(messageBytes int) (*webhook.Hook, error) {
	if c.URL == "" {
		return nil, nil
	}
	secret, err := c.secret()
	if err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	return webhook.NewHook(c.URL, secret, c.Concurrency+noticeDescriptors, 64<<10+2*messageBytes)
}
