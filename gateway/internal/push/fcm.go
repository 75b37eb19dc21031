package push

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/handoff"
)

// FCM sends summaries to apps by Firebase Cloud Messaging, its HTTP API of version 1.
type FCM struct {
	devices Devices
	account serviceAccount
	url     string
	client  *http.Client

	// bearer is held by who looks at the access token or asks for one; a channel, so that who waits can end.
	bearer chan accessToken
}

// serviceAccount is the part of Google's file of one that is used.
type serviceAccount struct {
	Type      string `json:"type"`
	ProjectID string `json:"project_id"`
	KeyID     string `json:"private_key_id"`
	Key       string `json:"private_key"`
	Email     string `json:"client_email"`
	TokenURI  string `json:"token_uri"`

	signer *rsa.PrivateKey
}

type accessToken struct {
	text  string
	until time.Time
}

const (
	fcmURL      = "https://fcm.googleapis.com"
	fcmScope    = "https://www.googleapis.com/auth/firebase.messaging"
	maxFCMToken = 1024 // bytes; those of today have some 160
	// An access token is good for an hour; a new one is asked for a minute before.
	assertionLife = time.Hour
	tokenMargin   = time.Minute
)

// NewFCM needs the content of a service account's file that CheckServiceAccount finds nothing wrong with. address is of a stand-in, empty: Google's.
func NewFCM(account []byte, address string, devices Devices) (*FCM, error) {
	parsed, err := parseServiceAccount(account)
	if err != nil {
		return nil, fmt.Errorf("fcm: service account: %w", err)
	}
	if address == "" {
		address = fcmURL
	}
	f := &FCM{devices: devices, account: parsed, client: newClient(), bearer: make(chan accessToken, 1)}
	f.url = strings.TrimSuffix(address, "/") + "/v1/projects/" + url.PathEscape(parsed.ProjectID) + "/messages:send"
	f.bearer <- accessToken{}
	return f, nil
}

// CheckServiceAccount says why the content of a file is no service account's.
func CheckServiceAccount(account []byte) error {
	_, err := parseServiceAccount(account)
	return err
}

func parseServiceAccount(file []byte) (a serviceAccount, err error) {
	if json.Unmarshal(file, &a) != nil || a.Type != "service_account" || a.ProjectID == "" || a.Email == "" {
		return a, errors.New("is no key of a service account; take the JSON file that Google gives for it")
	}
	if CheckWebhook(a.TokenURI) != nil {
		return a, errors.New("has a token_uri that is no https:// address")
	}
	if a.signer, err = jwt.ParseRSAPrivateKeyFromPEM([]byte(a.Key)); err != nil {
		return a, errors.New("has a private_key that is no RSA key in PEM")
	}
	return a, nil
}

// CheckToken says what is wrong with the token of a device, in a sentence; "" is nothing.
func (f *FCM) CheckToken(token string) string {
	unprintable := func(r rune) bool { return r <= ' ' || r >= 0x7f }
	if token == "" || len(token) > maxFCMToken || strings.ContainsFunc(token, unprintable) {
		return fmt.Sprintf("fcm is the registration token of a device, at most %d bytes of ASCII.", maxFCMToken)
	}
	return ""
}

// Devices implements Sender.
func (f *FCM) Devices(user string) ([]string, error) {
	return f.devices.Names(user, handoff.ServiceFCM)
}

// fcmMessage is the body of a request, to a device of any system.
type fcmMessage struct {
	Token        string `json:"token"`
	Notification struct {
		Title string `json:"title"`
		Body  string `json:"body"`
	} `json:"notification"`
	// Data has texts only: the summary is in one, in JSON.
	Data    map[string]string `json:"data"`
	Android struct {
		CollapseKey  string            `json:"collapse_key"`
		Priority     string            `json:"priority"`
		TTL          string            `json:"ttl"`
		Notification map[string]string `json:"notification"`
	} `json:"android"`
	APNs struct {
		Headers map[string]string `json:"headers"`
	} `json:"apns"`
}

func (f *FCM) message(s *Summary, token string, now time.Time) ([]byte, error) {
	summary, err := json.Marshal(newDeviceBody(s).withoutText())
	if err != nil {
		return nil, err
	}
	m := fcmMessage{Token: token, Data: map[string]string{"type": summaryType, "summary": string(summary)}}
	m.Notification.Title, m.Notification.Body = alert(s)
	collapse := collapseID(s.User)
	m.Android.CollapseKey, m.Android.Priority, m.Android.TTL = collapse, "NORMAL", fmt.Sprintf("%ds", int(timeToLive.Seconds()))
	m.Android.Notification = map[string]string{"tag": collapse}
	m.APNs.Headers = map[string]string{
		"apns-collapse-id": collapse, "apns-expiration": fmt.Sprint(now.Add(timeToLive).Unix()), "apns-priority": "5",
	}
	if urgent(s) {
		m.Android.Priority, m.APNs.Headers["apns-priority"] = "HIGH", "10"
	}
	return json.Marshal(map[string]fcmMessage{"message": m})
}

// Send implements Sender.
func (f *FCM) Send(ctx context.Context, s *Summary) Outcome {
	to, out, ok := find(f.devices, s, handoff.ServiceFCM)
	if !ok {
		return out
	}
	token, out := f.accessToken(ctx)
	if out.Verdict != Sent {
		return out
	}
	now := time.Now()
	body, err := f.message(s, to.FCM, now)
	if err != nil {
		return Outcome{Verdict: Final, Err: err}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		return Outcome{Verdict: Final, Err: err}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := f.client.Do(r)
	if err != nil {
		return Outcome{Verdict: Retry, Err: err}
	}
	defer answer.Body.Close()
	var fault fcmFault
	readJSON(answer, &fault)
	o := judge(answer.StatusCode, answer.Status, answer.Header, now)
	if o.Verdict == Sent {
		return o
	}
	code := fault.code()
	if code != "" {
		o.Err = fmt.Errorf("%w %s", o.Err, code)
	}
	switch {
	case code == "UNREGISTERED", code == "INVALID_ARGUMENT" && fault.blames("message.token"):
		return end(f.devices, s, to, o.Err)
	case code == "SENDER_ID_MISMATCH": // the token is of another project
		o.Alone = true
	case answer.StatusCode == http.StatusUnauthorized:
		f.distrust(token)
	}
	return o
}

// fcmFault is the body of an answer that is none of success.
type fcmFault struct {
	Error struct {
		Status  string `json:"status"`
		Details []struct {
			ErrorCode       string `json:"errorCode"`
			FieldViolations []struct {
				Field string `json:"field"`
			} `json:"fieldViolations"`
		} `json:"details"`
	} `json:"error"`
}

// code is the one of FCM, or that of Google's APIs in general.
func (f *fcmFault) code() string {
	for _, d := range f.Error.Details {
		if d.ErrorCode != "" {
			return d.ErrorCode
		}
	}
	return f.Error.Status
}

func (f *fcmFault) blames(field string) bool {
	for _, d := range f.Error.Details {
		for _, v := range d.FieldViolations {
			if v.Field == field {
				return true
			}
		}
	}
	return false
}

// accessToken gives the token of this server, a new one if need be (RFC 7523 section 2.1). The outcome is Sent if there is one.
func (f *FCM) accessToken(ctx context.Context) (string, Outcome) {
	var token accessToken
	select {
	case token = <-f.bearer:
	case <-ctx.Done():
		return "", Outcome{Verdict: Retry, Err: context.Cause(ctx)}
	}
	defer func() { f.bearer <- token }()
	now := time.Now()
	if now.Before(token.until) {
		return token.text, Outcome{}
	}
	fresh, out := f.askToken(ctx, now)
	if out.Verdict == Sent {
		token = fresh
	}
	return token.text, out
}

func (f *FCM) askToken(ctx context.Context, now time.Time) (token accessToken, out Outcome) {
	failed := func(err error) (accessToken, Outcome) {
		return accessToken{}, Outcome{Verdict: Retry, Err: fmt.Errorf("access token: %w", err)}
	}
	claims := jwt.MapClaims{
		"iss": f.account.Email, "scope": fcmScope, "aud": f.account.TokenURI, "iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	}
	assertion := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	assertion.Header["kid"] = f.account.KeyID
	signed, err := assertion.SignedString(f.account.signer)
	if err != nil {
		return failed(err)
	}
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {signed}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.account.TokenURI, strings.NewReader(form.Encode()))
	if err != nil {
		return failed(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := f.client.Do(r)
	if err != nil {
		return failed(err)
	}
	defer answer.Body.Close()
	var given struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Error       string `json:"error"`
	}
	readJSON(answer, &given)
	if o := judge(answer.StatusCode, answer.Status, answer.Header, now); o.Verdict != Sent {
		_, out := failed(errors.New(strings.TrimSpace(o.Err.Error() + " " + given.Error)))
		out.After = o.After
		return token, out
	}
	if given.AccessToken == "" {
		return failed(errors.New("the answer has none"))
	}
	return accessToken{given.AccessToken, now.Add(time.Duration(given.ExpiresIn)*time.Second - tokenMargin)}, Outcome{}
}

// distrust has the next attempt ask for another token, if this is still the one.
func (f *FCM) distrust(token string) {
	held := <-f.bearer
	if held.text == token {
		held.until = time.Time{}
	}
	f.bearer <- held
}
