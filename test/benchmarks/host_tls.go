package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rookery/bench/result"
	"rookery/test/measure"
)

// tlsConnections come at once, each with a full handshake.
const tlsConnections = 10_000

// tlsRow is what TLS costs beside none, of the same server, one after the other.
func (h *host) tlsRow() row {
	return row{
		name: "tls",
		what: fmt.Sprintf("WebSockets over TLS 1.3 beside plain ones: %s clients come as fast as they do, with full handshakes of P-256 and AES-128-GCM, authenticate by HS256, join a room of ten and are idle; then messages of 128 bytes in a closed loop, %v, all synced. Records are the process's",
			grouped(tlsConnections), hundreds),
		limit: 8 * time.Minute,
		measure: func(ctx context.Context) (figures []figure, err error) {
			certificate, key, err := measure.Certify(h.work)
			if err != nil {
				return nil, err
			}
			var plain kindOfConnection
			for _, kind := range []kindOfConnection{{name: "plain"}, {name: "TLS", issuer: certificate}} {
				flags := []string{"--tls.listen", "127.0.0.1:0", "--tls.cert-files", certificate, "--tls.key-files", key}
				for _, part := range []func(context.Context, *hostServer, *kindOfConnection) error{h.tlsIdle, h.tlsDelivery} {
					if _, err := h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) { return nil, part(ctx, s, &kind) }, flags...)(ctx); err != nil {
						return nil, fmt.Errorf("%s: %w", kind.name, err)
					}
				}
				figures = append(figures,
					figure{what: kind.name + ": CPU of the server for each that comes", value: kind.connect, unit: microseconds, doubt: kind.doubt},
					figure{what: kind.name + ": connects a second", value: kind.rate},
					figure{what: kind.name + ": connects that failed", value: float64(kind.failed), target: most(0)},
					figure{what: kind.name + ": resident for each, 40 s after the last has come", value: kind.memory, unit: byteSize},
					figure{what: kind.name + ": CPU for a delivery", value: kind.delivery, unit: microseconds, doubt: kind.doubt})
				if kind.issuer == "" {
					plain = kind
				} else {
					figures = append(figures, figure{what: "a delivery over TLS, by a plain one", value: kind.delivery / plain.delivery, unit: times})
				}
			}
			return figures, nil
		},
	}
}

// kindOfConnection is with TLS or without, and what it costs.
type kindOfConnection struct {
	name, issuer                    string // without an issuer it is plain
	connect, rate, memory, delivery float64
	failed                          int64
	doubt                           string
}

func (k kindOfConnection) load(ctx context.Context, h *host, s *hostServer, scenario string, flags ...string) (result.Result, error) {
	if k.issuer == "" {
		return h.load(ctx, s, scenario, flags...)
	}
	return h.loadTarget(ctx, s, "wss://"+s.secure+"/ws", scenario, append(flags, "--ca", k.issuer)...)
}

// tlsIdle has connections come and stay.
func (h *host) tlsIdle(ctx context.Context, s *hostServer, k *kindOfConnection) error {
	r, err := k.load(ctx, h, s, "idle", "--connections", fmt.Sprint(tlsConnections), "--rooms", fmt.Sprint(tlsConnections/10), "--warmup", seconds(0), "--duration", seconds(40))
	if err != nil {
		return err
	}
	load := loaded(r)
	if len(load) == 0 || r.Connect.Count == 0 {
		return errors.New("the load had no seconds, or nobody came")
	}
	k.connect, k.rate = 1e6*r.Connect.ServerCPUSeconds/float64(r.Connect.Count), float64(r.Connect.Count)/r.Connect.Seconds
	k.failed, k.doubt = r.Counts.ConnectsFailed, doubt(r)
	k.memory = float64(load[len(load)-1].Server.MemoryBytes-r.ServerBefore.MemoryBytes) / tlsConnections
	return nil
}

// tlsDelivery has them publish.
func (h *host) tlsDelivery(ctx context.Context, s *hostServer, k *kindOfConnection) error {
	r, err := k.load(ctx, h, s, "rooms", append(hundreds.flags(), "--closed", "1", "--warmup", seconds(3), "--duration", seconds(10))...)
	if err != nil {
		return err
	}
	k.delivery = 1e6 * perDelivery(r)
	if k.doubt == "" {
		k.doubt = doubt(r)
	}
	return nil
}
