package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"rookery/gateway/internal/signin"
)

// OIDCConfig lets people sign in to the chat page at an OpenID Connect provider, docs/oidc.md. Without an Issuer it is off.
type OIDCConfig struct {
	// Issuer is the provider, as it writes itself: https://…, or http:// of this machine. Default empty, off.
	Issuer string
	// Name is what the page calls it. Default empty: the issuer's host.
	Name string
	// ClientID is what the provider calls this server. Default none; an Issuer needs one.
	ClientID string
	// ClientSecret is what the provider knows it by. Default none, for a public client. Prefer ClientSecretFile.
	ClientSecret Secret
	// ClientSecretFile names the file that holds it; the line end behind it is not part of it. Default none.
	ClientSecretFile string
	// RedirectURL is the page's address for the way back, https://host/oidc/callback. Default empty: of the only origin of Limits.Origins.
	RedirectURL string
	// Scopes are asked for beside openid. Default none.
	Scopes []string
	// UserClaim is the claim that has the user's name. Default "sub": the only one that providers promise to give to nobody else.
	UserClaim string
	// Rights are rules, "CLAIM VALUE rooms=PATTERN …": what people may do by their claims. Default none: as a token without claims.
	Rights []string
	// Session is how long somebody is signed in. Default 12 h.
	Session time.Duration
}

// leastHeader has room for the largest cookies, which come together at the logout, and for what browsers send beside them.
const leastHeader = 8 << 10

// on reports whether people can sign in.
func (c OIDCConfig) on() bool { return c.Issuer != "" }

// shownName is what the page calls the provider.
func (c OIDCConfig) shownName() string {
	if u, err := url.Parse(c.Issuer); c.Name == "" && err == nil {
		return u.Hostname()
	}
	return c.Name
}

// clientSecret reads it, "" if there is none.
func (c OIDCConfig) clientSecret() (string, error) {
	switch {
	case c.ClientSecretFile == "":
		return string(c.ClientSecret), nil
	case c.ClientSecret != "":
		return "", errors.New("is set together with oidc.client_secret; take one of them out")
	}
	data, err := readPrivate(c.ClientSecretFile)
	if err != nil {
		return "", err
	}
	secret := string(bytes.TrimRight(data, "\r\n"))
	if secret == "" {
		return "", fmt.Errorf("file %s is empty; a public client, which has no secret, does without this setting", c.ClientSecretFile)
	}
	return secret, nil
}

// redirectURL is where the provider sends people back to.
func (c Config) redirectURL() (string, error) {
	if c.OIDC.RedirectURL == "" {
		if origins := c.Limits.Origins; len(origins) == 1 && origins[0] != "*" {
			return origins[0] + signin.CallbackPath, nil
		}
		return "", errors.New("is empty, and limits.origins has not exactly one origin that it could be taken from; write https://your-host" + signin.CallbackPath)
	}
	u, err := url.Parse(c.OIDC.RedirectURL)
	if err != nil || u.Path != signin.CallbackPath || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", errors.New("is not the address of the way back; write https://your-host" + signin.CallbackPath)
	}
	return c.OIDC.RedirectURL, nil
}

// validateOIDC refuses what can't work, each fault at its setting.
func (c Config) validateOIDC(refuse func(broken bool, reason string, names ...string)) {
	o := c.OIDC
	if !o.on() {
		refuse(o.ClientID != "", "is of no use without oidc.issuer; set that too, or leave this out", "oidc.client_id")
		return
	}
	err := signin.CheckIssuer(o.Issuer)
	refuse(err != nil, fmt.Sprint(err), "oidc.issuer")
	refuse(o.ClientID == "", "is empty; write what the provider calls this server, which it tells when a client is registered there", "oidc.client_id")
	_, err = o.clientSecret()
	refuse(err != nil, fmt.Sprint(err), "oidc.client_secret_file")
	redirect, err := c.redirectURL()
	refuse(err != nil, fmt.Sprint(err), "oidc.redirect_url", "limits.origins")
	if u, parseErr := url.Parse(redirect); err == nil && parseErr == nil {
		origin := u.Scheme + "://" + u.Host
		reason := originFault(origin)
		if reason == "" && u.Scheme == "http" && !signin.Loopback(u.Hostname()) {
			reason = "is without TLS, and cookies of a session would be read on the way; write https://, http:// is for this machine only"
		}
		refuse(reason != "", reason, "oidc.redirect_url", "limits.origins")
		listed := c.Limits.Origins
		reason = fmt.Sprintf("has not %s, where people sign in, so that their page could not connect; add it", origin)
		refuse(len(listed) > 0 && !slices.Contains(listed, origin) && !slices.Contains(listed, "*"), reason, "limits.origins", "oidc.redirect_url")
	}
	reason := fmt.Sprintf("is too little for the cookies of who is signed in; write %s or more", formatSize(leastHeader))
	refuse(c.Limits.HeaderBytes < leastHeader, reason, "limits.header_bytes")
	for _, scope := range o.Scopes {
		// RFC 6749 section 3.3: visible ASCII but " and \.
		bad := scope == "" || strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
		refuse(bad, fmt.Sprintf("has %q, which is no scope; write names without spaces, with commas between them", scope), "oidc.scopes")
	}
	refuse(o.UserClaim == "", "is empty; write the claim that has the user's name, like sub", "oidc.user_claim")
	_, err = signin.ParseRules(o.Rights)
	refuse(err != nil, fmt.Sprint(err), "oidc.rights")
}
