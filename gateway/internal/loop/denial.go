package loop

import (
	"errors"
	"net/http"
	"net/netip"
	"time"

	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/rate"
	"rookery/proto"
)

// denial is why somebody was turned away for what they did, in the line that deploy/fail2ban reads:
//
//	level=WARN msg="access denied" address=192.0.2.1 reason=bad_token conn=0-1f-2 err="…"
//
// Message, address and reason come first and are ours, so that nothing in the line that a stranger chose can stand in their
// place; what a stranger may have chosen is in err alone, and slog quotes it. A proxy's address is not in that place, since to ban
// it would shut everybody out:
//
//	level=WARN msg="access denied" address=unknown reason=bad_handshake conn=0-1f-2 proxy=10.0.0.1 err="…"
type denial uint8

const (
	deniedNot denial = iota
	// Authentication failures.
	deniedToken   // no token, or not one of ours, or a name that is none
	deniedExpired // harmless: a client that came back late
	deniedRevoked
	deniedBanned // from the server
	// What no client of ours does.
	deniedHandshake    // first bytes, an HTTP head or an upgrade that are none
	deniedFrame        // against the rules of WebSocket, TCP frames or the protocol
	deniedNotConnected // a request before connect
	deniedTLS          // first bytes, or records later on, that are no TLS
	deniedFlood        // went on for long though it was told to wait
	// What a client of ours may do in bad times, or many behind one address.
	deniedTooBig
	deniedSlow // half a message, and not the rest
	deniedUserConnections
	deniedAddressConnections
	deniedAddressRate
)

var denialNames = [...]string{
	"", "bad_token", "token_expired", "token_revoked", "banned", "bad_handshake", "bad_frame", "not_connected", "bad_tls", "flood",
	"too_big", "slow", "user_connections", "address_connections", "address_rate",
}

// DenialNames gives the reasons by index in Counters.Denied; the first is none.
func DenialNames() []string { return denialNames[:] }

// denialLines bounds the lines of an address: more than any filter needs, and nobody fills the disk.
var denialLines = rate.PerSecond(1, 20)

// deny writes the line about a connection; err may be nil.
func (l *Loop) deny(c *conn, why denial, err error) {
	if why == deniedNot || c.sock == nil {
		return
	}
	l.engine.deny(l.counted, remoteAddr(c.sock), why, c.name(), err)
}

// deny is for who is no connection yet, too; conn may be empty.
func (e *Engine) deny(counted *Counters, from netip.Addr, why denial, conn string, err error) {
	counted.Denied[why].Add(1)
	if !e.mayLog(from) {
		counted.Unlogged.Add(1)
		return
	}
	fields := []any{"address", from, "reason", denialNames[why]}
	if conn != "" {
		fields = append(fields, "conn", conn)
	}
	if e.rules.Load().trusts(from) {
		fields[1] = "unknown"
		if from.IsValid() {
			fields = append(fields, "proxy", from)
		}
	}
	if err != nil {
		fields = append(fields, "err", err)
	}
	e.cfg.Log.Warn("access denied", fields...)
}

func (e *Engine) mayLog(from netip.Addr) bool {
	bytes := subscriber(from).As16()
	key := e.buckets.Bytes(rate.Address, rate.Other, bytes[:])
	_, wait := e.buckets.Take(int64(time.Since(e.started)), []rate.Ask{{Key: key, Rate: denialLines, Amount: 1}})
	return wait <= 0
}

// denialOf says what is told of a failed authentication.
func denialOf(err error) denial {
	switch {
	case errors.Is(err, identity.ErrTokenExpired):
		return deniedExpired
	case errors.Is(err, identity.ErrTokenRevoked):
		return deniedRevoked
	}
	return deniedToken
}

// denialByClose says which ends of a connection are denials; the others that are have a line of their own.
func denialByClose(code proto.CloseCode) denial {
	switch code.Code {
	case proto.CloseBadFrame.Code, proto.CloseProtocol.Code, proto.CloseUnsupported.Code, proto.CloseInvalidUTF8.Code:
		return deniedFrame
	case proto.CloseNotConnected.Code:
		return deniedNotConnected
	case proto.CloseVersion.Code:
		return deniedHandshake
	case proto.CloseTooBig.Code:
		return deniedTooBig
	case proto.CloseFrameTimeout.Code:
		return deniedSlow
	}
	return deniedNot
}

// denialByRefusal says which refusals of a new connection are.
func denialByRefusal(r refusal) denial {
	switch r {
	case refusedAddress:
		return deniedAddressConnections
	case refusedRate:
		return deniedAddressRate
	}
	return deniedNot
}

// denialByOpening says whether a refused upgrade is one. A page of somebody else's must not be able to have its visitors banned, so
// only what a browser can't be made to send counts: not another method, a plain request, or another origin.
func denialByOpening(method string, r *refusalOfOpening) denial {
	if method == http.MethodGet && r.status == http.StatusBadRequest {
		return deniedHandshake
	}
	return deniedNot
}
