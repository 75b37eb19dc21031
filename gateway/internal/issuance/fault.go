package issuance

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// reason is why there is no certificate.
type reason uint8

const (
	unreachable reason = iota // the authority does not answer, or says that it can't now
	rateLimited               // it has given, or refused, enough for now
	notShown                  // it did not see that the name is ours
	refused                   // it does not want to, for another reason
	folderFails               // the folder can't be written
)

var reasonNames = [...]string{"unreachable", "rate_limited", "not_shown", "refused", "folder"}

// ReasonNames gives the reasons by index in Counters.Failed.
func ReasonNames() []string { return reasonNames[:] }

var (
	errNoChallenge = errors.New("the authority has no challenge that can be answered")
	errUseless     = errors.New("the certificate that was given can't be used")
)

// fault is an error with what to do about it.
type fault struct {
	err       error
	reason    reason
	advice    string
	notBefore time.Time // by the authority's word; zero: it gave none
}

func (f fault) Error() string { return f.err.Error() }
func (f fault) Unwrap() error { return f.err }

func folderFault(err error) fault {
	return fault{err: err, reason: folderFails, advice: "make room on the disk of tls.acme.folder, and let the server's user write there; nothing is ordered until then"}
}

// longestWait bounds what an authority says of when to come again.
const longestWait = 48 * time.Hour

// judge says what kind of error came of an order.
func judge(err error) fault {
	var f fault
	if errors.As(err, &f) {
		return f
	}
	f = fault{err: err, reason: refused, advice: "see what the authority says; SIGHUP tries again at once"}
	problem := problemOf(err)
	if problem == nil {
		switch {
		case isNetwork(err):
			f.reason, f.advice = unreachable, "see whether this machine reaches tls.acme.directory by HTTPS, and believes its certificate; tls.acme.ca_file is for authorities that the system does not know"
		case isGarbage(err):
			f.reason, f.advice = unreachable, "see whether tls.acme.directory is the address of a directory of ACME (RFC 8555), and whether a proxy answers in its place"
		case errors.Is(err, errNoChallenge):
			f.advice = "set tls.acme.http for http-01, or leave it out for tls-alpn-01; for wildcards neither is offered"
		case errors.Is(err, errUseless):
			f.advice = "see whether the clock of this machine is right"
		}
		return f
	}
	if after := retryAfter(problem.Header, time.Now()); after > 0 {
		f.notBefore = time.Now().Add(min(after, longestWait))
	}
	kind := problem.ProblemType[strings.LastIndexByte(problem.ProblemType, ':')+1:]
	switch kind = strings.ToLower(kind); {
	case kind == "ratelimited" || problem.StatusCode == http.StatusTooManyRequests:
		f.reason, f.advice = rateLimited, "nothing: it is tried again when the authority allows it. Its limits are counted by name and by account"
		if f.notBefore.IsZero() {
			f.notBefore = time.Now().Add(time.Hour)
		}
	case problem.StatusCode >= http.StatusInternalServerError || kind == "serverinternal":
		f.reason, f.advice = unreachable, "nothing: the authority has a fault of its own, and is asked again"
	case kind == "dns":
		f.reason, f.advice = notShown, "have the name lead to this machine: its A and AAAA records, as the authority's resolver sees them"
	case kind == "connection" || kind == "tls":
		f.reason, f.advice = notShown, "have the authority reach this server from outside: port 443 of the name has to come to tls.listen for tls-alpn-01, port 80 to tls.acme.http for http-01, without a proxy that ends TLS; look at firewalls and at AAAA records"
	case kind == "unauthorized" && isAuthorization(err), kind == "incorrectresponse":
		f.reason, f.advice = notShown, "see who answers for the name: another server does, or a proxy in front; look at AAAA records too"
	case kind == "caa":
		f.reason, f.advice = notShown, "the CAA record of the name allows other authorities only: add this one, or use one of those in tls.acme.directory"
	case kind == "rejectedidentifier" || kind == "unsupportedidentifier" || kind == "malformed":
		f.advice = "the authority gives nothing for this name: see that it is spelled right and public, or take it out of tls.acme.domains"
	case kind == "useractionrequired":
		f.advice = "the authority has new terms of service: read them, at " + problem.Instance
	case kind == "externalaccountrequired":
		f.advice = "set tls.acme.eab_key_id and tls.acme.eab_key_file to what the authority gives its customers"
	case kind == "invalidcontact" || kind == "unsupportedcontact":
		f.advice = "correct tls.acme.email, or leave it out"
	case kind == "unauthorized" || kind == "accountdoesnotexist":
		f.advice = "the account is closed, or its binding is wrong: check tls.acme.eab_key_id, or take account.key out of tls.acme.folder, and another account is made"
	}
	return f
}

// problemOf is what the authority said, of an order the part that says most; nil if it said nothing.
func problemOf(err error) *acme.Error {
	var authorization *acme.AuthorizationError
	if errors.As(err, &authorization) {
		for _, e := range authorization.Errors {
			var problem *acme.Error
			if errors.As(e, &problem) {
				return problem
			}
		}
	}
	var order *acme.OrderError
	if errors.As(err, &order) && order.Problem != nil {
		return order.Problem
	}
	var problem *acme.Error
	if errors.As(err, &problem) {
		return problem
	}
	return nil
}

func isAuthorization(err error) bool {
	var authorization *acme.AuthorizationError
	return errors.As(err, &authorization)
}

func isNetwork(err error) bool {
	var address *url.Error
	var network net.Error
	return errors.As(err, &address) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF)
}

// isGarbage: what answers is no authority, or not a whole one.
func isGarbage(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, io.EOF)
}

// retryAfter reads the header, RFC 9110 10.2.3; 0: there is none that can be read.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), int(longestWait/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return at.Sub(now)
	}
	return 0
}
