package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"rookery/gateway/internal/tlslisten"
)

// tlsMetrics are given while there is a public listener with TLS, those of certificates also while the admin listener has it.
var tlsMetrics = struct {
	handshakes, resumed, kernel, failures, underWay *prometheus.Desc
	expires, certificateFailures                    *prometheus.Desc
}{
	handshakes: desc("tls_handshakes_total", "Handshakes of TLS that went well."),
	resumed:    desc("tls_handshakes_resumed_total", "Of them, those that went on with a session from before."),
	kernel:     desc("tls_kernel_connections_total", "Of them, those whose records the kernel opens and seals."),
	failures:   desc("tls_handshake_failures_total", "Connections for TLS that came to no event loop, by reason.", "reason"),
	underWay:   desc("tls_handshakes_under_way", "Handshakes of TLS now."),

	expires:             desc("tls_certificate_expires_timestamp_seconds", "When the first of the certificates of a listener expires, Unix time.", "listener"),
	certificateFailures: desc("tls_certificate_failures_total", "Times that changed files of certificates could not be used, and the old ones stayed in force.", "listener"),
}

func (m *metrics) collectTLS(value func(*prometheus.Desc, prometheus.ValueType, float64, ...string)) {
	certificates := func(listener string, c *tlslisten.Certificates) {
		value(tlsMetrics.expires, gauge, float64(c.Expires().Unix()), listener)
		value(tlsMetrics.certificateFailures, counter, float64(c.Failures()), listener)
	}
	if a := m.server.adminTLS; a != nil {
		certificates("admin", a.certificates)
	}
	s := &m.server.secure
	if s.listener == nil {
		return
	}
	certificates("public", s.certificates)
	c := s.counters
	value(tlsMetrics.handshakes, counter, float64(c.Done.Load()))
	value(tlsMetrics.resumed, counter, float64(c.Resumed.Load()))
	value(tlsMetrics.kernel, counter, float64(c.Kernel.Load()))
	value(tlsMetrics.underWay, gauge, float64(c.UnderWay.Load()))
	for i, name := range tlslisten.FailureNames() {
		value(tlsMetrics.failures, counter, float64(c.Failed[i].Load()), name)
	}
}
