package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rookery/gateway/internal/issuance"
	"rookery/gateway/internal/tlslisten"
)

// tlsMetrics are given while there is a public listener with TLS, those of certificates also while the admin listener has it.
var tlsMetrics = struct {
	handshakes, resumed, kernel, failures, underWay *prometheus.Desc
	expires, certificateFailures                    *prometheus.Desc
	challenges                                      *prometheus.Desc
	orders, orderFailures, overdue                  *prometheus.Desc
}{
	handshakes: desc("tls_handshakes_total", "Handshakes of TLS that went well."),
	resumed:    desc("tls_handshakes_resumed_total", "Of them, those that went on with a session from before."),
	kernel:     desc("tls_kernel_connections_total", "Of them, those whose records the kernel opens and seals."),
	failures:   desc("tls_handshake_failures_total", "Connections for TLS that came to no event loop, by reason.", "reason"),
	underWay:   desc("tls_handshakes_under_way", "Handshakes of TLS now."),

	expires:             desc("tls_certificate_expires_timestamp_seconds", "When the first of the certificates of a listener expires, Unix time.", "listener"),
	certificateFailures: desc("tls_certificate_failures_total", "Times that changed files of certificates could not be used, and the old ones stayed in force.", "listener"),

	challenges:    desc("tls_challenges_total", "Connections by which an authority looked whether a name leads here, tls-alpn-01."),
	orders:        desc("tls_acme_orders_total", "Certificates that were ordered by ACME, with those that were not obtained."),
	orderFailures: desc("tls_acme_failures_total", "Attempts to obtain or store a certificate by ACME that came to nothing, by reason.", "reason"),
	overdue:       desc("tls_acme_overdue", "Names that have no certificate by ACME, or one with less than a sixth of its time left."),
}

func (m *metrics) collectTLS(value func(*prometheus.Desc, prometheus.ValueType, float64, ...string)) {
	certificates := func(listener string, first time.Time, c *tlslisten.Certificates) {
		if !first.IsZero() {
			value(tlsMetrics.expires, gauge, float64(first.Unix()), listener)
		}
		value(tlsMetrics.certificateFailures, counter, float64(c.Failures()), listener)
	}
	if a := m.server.adminTLS; a != nil {
		certificates("admin", a.certificates.Expires(), a.certificates)
	}
	s := &m.server.secure
	if s.listener == nil {
		return
	}
	certificates("public", s.expires(), s.certificates)
	c := s.counters
	value(tlsMetrics.handshakes, counter, float64(c.Done.Load()))
	value(tlsMetrics.resumed, counter, float64(c.Resumed.Load()))
	value(tlsMetrics.kernel, counter, float64(c.Kernel.Load()))
	value(tlsMetrics.underWay, gauge, float64(c.UnderWay.Load()))
	for i, name := range tlslisten.FailureNames() {
		value(tlsMetrics.failures, counter, float64(c.Failed[i].Load()), name)
	}
	k := s.keeper
	if k == nil {
		return
	}
	value(tlsMetrics.challenges, counter, float64(c.Challenges.Load()))
	value(tlsMetrics.orders, counter, float64(k.Counters.Orders.Load()))
	value(tlsMetrics.overdue, gauge, float64(k.Overdue(time.Now())))
	for i, name := range issuance.ReasonNames() {
		value(tlsMetrics.orderFailures, counter, float64(k.Counters.Failed[i].Load()), name)
	}
}
