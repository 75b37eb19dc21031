package push

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/token"

	"rookery/gateway/internal/handoff"
)

// APNsConfig says as whom summaries are sent to apps by Apple's push service. All but URL must be set.
type APNsConfig struct {
	Key     []byte // of the .p8 file
	KeyID   string
	TeamID  string
	Topic   string // the app's bundle id
	Sandbox bool   // for apps that are not from the store
	URL     string // of a stand-in; default empty, Apple's
}

// APNs sends summaries to apps by Apple's push service.
type APNs struct {
	devices Devices
	topic   string
	client  *apns2.Client
	token   *token.Token
}

const (
	// Apple says that tokens may become longer than the 64 digits that they have.
	maxAPNsToken = 200
	// Apple refuses a key of whose tokens more than one in 20 minutes is new.
	apnsTokenLife = 20 * time.Minute
)

// NewAPNs needs a configuration whose key CheckAPNsKey finds nothing wrong with.
func NewAPNs(cfg APNsConfig, devices Devices) (*APNs, error) {
	key, err := parseAPNsKey(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("apns: key: %w", err)
	}
	a := &APNs{devices: devices, topic: cfg.Topic, token: &token.Token{AuthKey: key, KeyID: cfg.KeyID, TeamID: cfg.TeamID}}
	a.client = &apns2.Client{Host: apns2.HostProduction, Token: a.token, HTTPClient: newClient()}
	if cfg.Sandbox {
		a.client.Host = apns2.HostDevelopment
	}
	if cfg.URL != "" {
		a.client.Host = strings.TrimSuffix(cfg.URL, "/")
	}
	a.client.HTTPClient.Transport = retryAfterTransport{a.client.HTTPClient.Transport}
	return a, nil
}

// CheckAPNsKey says why the content of a file can't be a key.
func CheckAPNsKey(key []byte) error {
	_, err := parseAPNsKey(key)
	return err
}

func parseAPNsKey(key []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := token.AuthKeyFromBytes(key)
	if err != nil || parsed.Curve != elliptic.P256() {
		return nil, errors.New("holds no private key of P-256 in PEM; take the .p8 file as Apple gives it")
	}
	return parsed, nil
}

// CheckToken says what is wrong with the token of a device, in a sentence; "" is nothing.
func (a *APNs) CheckToken(token string) string {
	if _, err := hex.DecodeString(token); err != nil || token == "" || len(token) > maxAPNsToken {
		return fmt.Sprintf("apns is the token of a device, in at most %d hexadecimal digits.", maxAPNsToken)
	}
	return ""
}

// Devices implements Sender.
func (a *APNs) Devices(user string) ([]string, error) {
	return a.devices.Names(user, handoff.ServiceAPNs)
}

// apnsBody is the payload: what the system shows, and the summary for the app.
type apnsBody struct {
	APS struct {
		Alert struct {
			Title string `json:"title"`
			Body  string `json:"body"`
		} `json:"alert"`
		Sound string `json:"sound"`
		// The app may put other words in place of these, and a badge: what is unread in all is not known here.
		MutableContent int `json:"mutable-content"`
	} `json:"aps"`
	Rookery deviceBody `json:"rookery"`
}

// Send implements Sender.
func (a *APNs) Send(ctx context.Context, s *Summary) Outcome {
	to, out, ok := find(a.devices, s, handoff.ServiceAPNs)
	if !ok {
		return out
	}
	now := time.Now()
	body := apnsBody{Rookery: newDeviceBody(s).withoutText()}
	body.APS.Alert.Title, body.APS.Alert.Body = alert(s)
	body.APS.Sound, body.APS.MutableContent = "default", 1
	n := &apns2.Notification{
		DeviceToken: to.APNs, Topic: a.topic, PushType: apns2.PushTypeAlert, Payload: body,
		CollapseID: collapseID(s.User), Expiration: now.Add(timeToLive), Priority: apns2.PriorityLow,
	}
	if urgent(s) {
		n.Priority = apns2.PriorityHigh
	}
	header := http.Header{}
	answer, err := a.client.PushWithContext(context.WithValue(ctx, retryAfterKey{}, header), n)
	if err != nil {
		return Outcome{Verdict: Retry, Err: withoutURL(err)} // the token is in it
	}
	said := errors.New(strings.TrimSpace(fmt.Sprintf("answered %d %s", answer.StatusCode, answer.Reason)))
	if answer.StatusCode == http.StatusGone || answer.Reason == apns2.ReasonBadDeviceToken {
		return end(a.devices, s, to, said)
	}
	o := judge(answer.StatusCode, "", header, now)
	if o.Verdict != Sent {
		o.Err = said
	}
	switch answer.Reason {
	case apns2.ReasonExpiredProviderToken, apns2.ReasonInvalidProviderToken:
		a.renew(now)
	case apns2.ReasonTooManyRequests: // to this device
		o.Alone = true
	case apns2.ReasonBadTopic, apns2.ReasonTopicDisallowed, apns2.ReasonMissingTopic:
		o.Alone = false
	}
	return o
}

// renew has the next attempt sign anew, but not more often than Apple allows: clocks may differ.
func (a *APNs) renew(now time.Time) {
	a.token.Lock()
	defer a.token.Unlock()
	if now.Unix()-a.token.IssuedAt >= int64(apnsTokenLife.Seconds()) {
		a.token.IssuedAt = 0
	}
}

// collapseID has a summary take the place of the one before that is still shown: of the same user, whose name may be too long for it.
func collapseID(user string) string {
	sum := sha256.Sum256([]byte(user))
	return "rookery-" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// retryAfterTransport keeps of an answer what package apns2 does not give: the request's context has an http.Header for it.
type retryAfterTransport struct{ http.RoundTripper }

type retryAfterKey struct{}

func (t retryAfterTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(r)
	if header, ok := r.Context().Value(retryAfterKey{}).(http.Header); ok && err == nil {
		header.Set("Retry-After", answer.Header.Get("Retry-After"))
	}
	return answer, err
}

// CloseIdleConnections is for http.Client, which looks for it.
func (t retryAfterTransport) CloseIdleConnections() {
	t.RoundTripper.(*http.Transport).CloseIdleConnections()
}
