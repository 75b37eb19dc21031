package crowd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/plan"
	"rookery/bench/result"
)

// configs gives what connections to each target are made with, nil for one without TLS. All ports of a host that speak the same have one:
// sessions are resumed with the tickets that are in it.
func configs(p *plan.TLS, targets []dialect.Target) (all []*tls.Config, err error) {
	type peer struct{ host, scheme string }
	made := map[peer]*tls.Config{}
	for _, target := range targets {
		if !target.TLS {
			all = append(all, nil)
			continue
		}
		to := peer{target.Hostname(), target.Scheme}
		if made[to] == nil {
			if made[to], err = p.Config(to.host, to.scheme == "ws"); err != nil {
				return nil, err
			}
		}
		all = append(all, made[to])
	}
	return all, nil
}

// agreed counts what TLS has agreed on for a connection that was just opened.
func (c *Crowd) agreed(slot int) {
	state, secure := c.loop.Agreed(slot)
	if !secure {
		return
	}
	key := result.Agreement{Version: tls.VersionName(state.Version), Suite: tls.CipherSuiteName(state.CipherSuite), Exchange: state.CurveID.String()}
	a := c.agreements[key]
	if a == nil {
		kept := key
		a = &kept
		c.agreements[key] = a
	}
	a.Handshakes++
	if state.DidResume {
		a.Resumed++
	}
}

// Agreements lists what TLS has agreed on.
func (c *Crowd) Agreements() (all []result.Agreement) {
	for _, a := range c.agreements {
		all = append(all, *a)
	}
	return all
}

// timedOut says how far a connection was when its time was over.
func (c *Crowd) timedOut(slot int) error {
	if c.loop.Shaking(slot) {
		return &engine.HandshakeError{Err: errors.New("timed out")}
	}
	return errors.New("timed out")
}

// explain gives a fault's kind and words for a connection that did not come to be. Of a handshake of TLS it says the cause.
func explain(what string, err error) (kind, words string) {
	failed, is := errors.AsType[*engine.HandshakeError](err)
	if !is {
		return what, err.Error()
	}
	const kindTLS = "handshake"
	if header, is := errors.AsType[tls.RecordHeaderError](err); is {
		return kindTLS, fmt.Sprintf("the server answered without TLS, with %q: use a ws:// or tcp:// target, or the port that has TLS", header.RecordHeader[:])
	}
	if _, is := errors.AsType[x509.UnknownAuthorityError](err); is {
		return kindTLS, "the certificate's issuer is none of those that are believed: name it with --ca (server.tls.ca)"
	}
	if wrong, is := errors.AsType[x509.HostnameError](err); is {
		return kindTLS, fmt.Sprintf("the certificate is for other names, one of which --server-name (server.tls.server_name) asks for: %v", wrong)
	}
	if invalid, is := errors.AsType[x509.CertificateInvalidError](err); is && invalid.Reason == x509.Expired {
		return kindTLS, "the certificate is not valid now: it has expired, or a clock is wrong"
	}
	if alert, is := errors.AsType[*net.OpError](err); is && alert.Op == "remote error" {
		return kindTLS, fmt.Sprintf("the server refused it: %v", alert.Err)
	}
	if gone := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE); gone {
		if failed.Heard {
			return kindTLS, "the server ended the connection in the middle of it"
		}
		return kindTLS, "the server ended the connection before it said anything: it may have too many handshakes under way, in all or of one address, " +
			"or have waited too long for this one (rookery_tls_handshake_failures_total; lower clients.pending), or speak no TLS at this port"
	}
	return kindTLS, failed.Err.Error()
}
