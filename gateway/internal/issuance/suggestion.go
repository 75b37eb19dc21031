package issuance

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

const (
	// askAgain is how long an authority's word of when to renew holds where it does not say itself; what it says is kept between the other two,
	// RFC 9773 4.3.
	askAgain     = 6 * time.Hour
	soonestAgain = longestSleep // nothing is looked at more often
	latestAgain  = 24 * time.Hour
	// unanswered is how long nothing is asked when the authority does not answer, or has nothing to say: for all names, but for one where it is
	// this certificate of which it says nothing.
	unanswered = time.Hour
	// settled is how old a certificate has to be, or a thirtieth of its time if that is less, for a word of the authority to have it renewed: one that
	// always says now would be asked for another one again and again.
	settled = 24 * time.Hour
)

// window is when the authority would have a certificate renewed.
type window struct {
	Start, End time.Time
}

// suggestion is an answer of the authority, RFC 9773 4.2.
type suggestion struct {
	SuggestedWindow window
	ExplanationURL  string
}

var (
	errNoSuggestions = errors.New("the authority's directory has no renewalInfo")
	// errOfThis is a fault of one certificate: others may be asked for.
	errOfThis = errors.New("of this certificate there is no word")
)

// consult asks the authority when a certificate is to be renewed (ARI). It may be sooner than in schedule.go, as when it has to revoke many, and never later:
// nothing depends on an answer.
func (k *Keeper) consult(s *state) {
	ctx, cancel := context.WithTimeout(k.ctx, requestTimeout)
	defer cancel()
	now := time.Now()
	word, wait, err := k.suggested(ctx, s.certificate.Leaf)
	if err != nil {
		next := now.Add(unanswered)
		if errors.Is(err, errOfThis) {
			s.ask = next
		} else {
			k.mute = next
		}
		if !errors.Is(err, errNoSuggestions) && k.ctx.Err() == nil {
			k.cfg.Log.Info("the authority was asked when to renew a certificate, and it is renewed in its time", "name", s.name, "err", err, "next", next.Round(time.Second))
		}
		return
	}
	s.ask = now.Add(wait)
	if w := word.SuggestedWindow; w.Start.Equal(s.window.Start) && w.End.Equal(s.window.End) {
		return // a time in it has been chosen
	}
	s.window = word.SuggestedWindow
	if at := s.window.choose(s.certificate.Leaf); at.Before(s.renew) {
		s.renew = at
		k.cfg.Log.Info("the authority has a certificate renewed sooner", "name", s.name, "at", at.Round(time.Second), "explanation", word.ExplanationURL)
	}
}

// choose gives a time in the window at random, for not all who are told of it shall come at once, and not before the certificate has settled.
func (w window) choose(leaf *x509.Certificate) time.Time {
	at := w.Start.Add(time.Duration(rand.Float64() * float64(w.End.Sub(w.Start))))
	earliest := leaf.NotBefore.Add(min(settled, leaf.NotAfter.Sub(leaf.NotBefore)/30))
	if at.Before(earliest) {
		return earliest
	}
	return at
}

// suggested asks, without a signature: nobody's right depends on it. wait is how long the answer holds.
func (k *Keeper) suggested(ctx context.Context, leaf *x509.Certificate) (word suggestion, wait time.Duration, err error) {
	id, err := certificateID(leaf)
	if err != nil {
		return suggestion{}, 0, err
	}
	requests, done := k.requests()
	defer done()
	var directory struct{ RenewalInfo string }
	if _, err := get(ctx, requests, k.cfg.Directory, &directory); err != nil {
		return suggestion{}, 0, err
	}
	if directory.RenewalInfo == "" {
		return suggestion{}, 0, errNoSuggestions
	}
	header, err := get(ctx, requests, strings.TrimSuffix(directory.RenewalInfo, "/")+"/"+id, &word)
	if err != nil {
		return suggestion{}, 0, err
	}
	// RFC 9773 4.2: the end is behind the start.
	if w := word.SuggestedWindow; w.Start.IsZero() || !w.Start.Before(w.End) {
		return suggestion{}, 0, fmt.Errorf("%w: the authority suggests from %v to %v", errOfThis, w.Start, w.End)
	}
	if wait = retryAfter(header, time.Now()); wait <= 0 {
		wait = askAgain
	}
	return word, min(max(wait, soonestAgain), latestAgain), nil
}

func get(ctx context.Context, requests *http.Client, address string, v any) (http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", userAgent)
	response, err := requests.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusNotFound, http.StatusGone:
		return nil, fmt.Errorf("%w: %s answers %s", errOfThis, address, response.Status)
	default:
		return nil, fmt.Errorf("%s answers %s", address, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(v); err != nil {
		return nil, fmt.Errorf("read what %s answers: %w", address, err)
	}
	return response.Header, nil
}

// certificateID is a certificate's name in a question, RFC 9773 4.1: its issuer's key and its serial number as in DER.
func certificateID(leaf *x509.Certificate) (string, error) {
	if len(leaf.AuthorityKeyId) == 0 {
		return "", fmt.Errorf("%w: it does not name its issuer's key", errOfThis)
	}
	serial := leaf.SerialNumber.Bytes()
	if len(serial) == 0 || serial[0]&0x80 != 0 {
		serial = append([]byte{0}, serial...) // or it would be a number below 0
	}
	return base64.RawURLEncoding.EncodeToString(leaf.AuthorityKeyId) + "." + base64.RawURLEncoding.EncodeToString(serial), nil
}
