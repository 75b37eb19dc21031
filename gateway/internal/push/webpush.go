package push

import (
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	webpush "github.com/SherClockHolmes/webpush-go"

	"rookery/gateway/internal/handoff"
)

// WebPush sends summaries to the browsers of users, by way of the push services that these have named: RFC 8030, encrypted for
// the browser alone (RFC 8291) and signed with the key of this server (VAPID, RFC 8292).
type WebPush struct {
	devices         Devices
	public, private string // base64url
	contact         string // as the library wants it
	local           bool
	client          *http.Client
}

const (
	maxEndpoint = 1024 // bytes
	// A browser that is off is told when it is back, within the time for which a summary is of use.
	timeToLive = oldest
)

// NewWebPush needs a key and a contact that CheckWebPushKey and CheckContact find nothing wrong with. local, for development, lets endpoints be http:// and
// on this machine or its network.
func NewWebPush(key, contact string, local bool, devices Devices) (*WebPush, error) {
	private, err := parseWebPushKey(key)
	if err := errors.Join(err, CheckContact(contact)); err != nil {
		return nil, fmt.Errorf("web push: %w", err)
	}
	w := &WebPush{
		devices: devices, local: local,
		public:  base64.RawURLEncoding.EncodeToString(private.PublicKey().Bytes()),
		private: key,
		contact: strings.TrimPrefix(contact, "mailto:"),
	}
	dialer := &net.Dialer{Timeout: webhookTimeout, Control: func(_, address string, _ syscall.RawConn) error { return w.mayDial(address) }}
	w.client = &http.Client{
		// No proxy: it would look up the name that a client gave, and from there this machine's network may be in reach.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: webhookTimeout,
			MaxIdleConns: laneWidth, IdleConnTimeout: time.Minute,
		},
		Timeout:       webhookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return w, nil
}

// CheckWebPushKey says why a key can't be one.
func CheckWebPushKey(key string) error {
	_, err := parseWebPushKey(key)
	return err
}

func parseWebPushKey(key string) (*ecdh.PrivateKey, error) {
	b, err := base64.RawURLEncoding.DecodeString(key)
	if err == nil {
		var private *ecdh.PrivateKey
		if private, err = ecdh.P256().NewPrivateKey(b); err == nil {
			return private, nil
		}
	}
	return nil, errors.New("is no private key of P-256, 32 bytes in base64url; make one with: openssl rand -base64 32 | tr '+/' '-_' | tr -d =")
}

// CheckContact says why a contact can't be one.
func CheckContact(contact string) error {
	u, err := url.Parse(contact)
	if err == nil && (u.Scheme == "mailto" && strings.Contains(u.Opaque, "@") || u.Scheme == "https" && u.Host != "") {
		return nil
	}
	return errors.New("is neither mailto:name@host nor https://host, where push services reach who runs this server")
}

// PublicKey is what pages subscribe with, their applicationServerKey.
func (w *WebPush) PublicKey() string { return w.public }

// Check says what is wrong with a subscription, in a sentence; "" is nothing.
func (w *WebPush) Check(s handoff.WebPush) string {
	u, err := url.Parse(s.Endpoint)
	point, errPoint := base64.RawURLEncoding.DecodeString(s.P256dh)
	auth, errAuth := base64.RawURLEncoding.DecodeString(s.Auth)
	if errPoint == nil {
		_, errPoint = ecdh.P256().NewPublicKey(point)
	}
	switch {
	case len(s.Endpoint) > maxEndpoint || err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(w.local && u.Scheme == "http"):
		return fmt.Sprintf("endpoint is https://host/path of at most %d bytes.", maxEndpoint)
	case errPoint != nil:
		return "p256dh is a public key of P-256, 65 bytes in base64url without padding."
	case errAuth != nil || len(auth) != 16:
		return "auth is 16 bytes in base64url without padding."
	}
	return ""
}

// Addresses that IANA's registries of special purposes do not call globally reachable, beside those that netip has a word for. Networks use
// some of them for their own machines, whatever they were meant for.
var (
	special = networks("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
	// global is all of IPv6 that was ever given to anybody, RFC 4291 2.4 and its registry.
	global = netip.MustParsePrefix("2000::/3")
	// translated leads to the IPv4 address at its end (RFC 6052), where a machine has no IPv4 of its own.
	translated = netip.MustParsePrefix("64:ff9b::/96")
)

func networks(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// public reports whether an address can be anywhere in the internet.
func public(ip netip.Addr) bool {
	ip = ip.Unmap()
	if translated.Contains(ip) {
		bytes := ip.As16()
		ip = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	inside := slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) })
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !inside && (ip.Is4() || global.Contains(ip))
}

// mayDial keeps clients from having this server ask what stands beside it: the name of an endpoint is theirs to choose.
func (w *WebPush) mayDial(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !w.local && !public(to.Addr()) {
		return fmt.Errorf("%w: %v", errNotPublic, to.Addr())
	}
	return nil
}

var errNotPublic = errors.New("the endpoint is at an address that is not public")

// Devices implements Sender.
func (w *WebPush) Devices(user string) ([]string, error) {
	return w.devices.Names(user, handoff.ServiceWebPush)
}

// Send implements Sender.
func (w *WebPush) Send(ctx context.Context, s *Summary) Outcome {
	found, out, ok := find(w.devices, s, handoff.ServiceWebPush)
	if !ok {
		return out
	}
	to := found.WebPush
	body, err := json.Marshal(newDeviceBody(s))
	if err != nil {
		return Outcome{Verdict: Final, Err: err}
	}
	urgency := webpush.UrgencyNormal
	if urgent(s) {
		urgency = webpush.UrgencyHigh
	}
	now := time.Now()
	answer, err := webpush.SendNotificationWithContext(ctx, body,
		&webpush.Subscription{Endpoint: to.Endpoint, Keys: webpush.Keys{P256dh: to.P256dh, Auth: to.Auth}},
		&webpush.Options{
			HTTPClient: w.client, Subscriber: w.contact, TTL: int(timeToLive.Seconds()), Urgency: urgency,
			VAPIDPublicKey: w.public, VAPIDPrivateKey: w.private,
		})
	if errors.Is(err, errNotPublic) {
		return Outcome{Verdict: Final, Err: errNotPublic}
	}
	if err != nil {
		return Outcome{Verdict: Retry, Err: withoutURL(err)}
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, answerBytes)) // the status has said it all
	if answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusGone {
		// RFC 8030 section 7.3 has 404 for a subscription that is no more; push services answer 410 too.
		return end(w.devices, s, found, errors.New("answered "+answer.Status))
	}
	return judge(answer.StatusCode, answer.Status, answer.Header, now)
}

// withoutURL takes the endpoint out of an error: whoever has it could send to the browser's push service.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
