package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// connectRow is what it costs the server to let somebody in.
func (h *host) connectRow() row {
	const rounds = 5
	return row{
		name:  "connect",
		what:  fmt.Sprintf("%s clients connect, upgrade, authenticate by HS256 and join a room of ten, as fast as they come; median of %d rounds. A bare server is one with the same event loops that upgrades them and lets them join, but reads no token and looks after nobody (`test/benchmarks/bare`), measured in turn with the gateway", grouped(hostConnections), rounds),
		limit: 4 * time.Minute,
		measure: h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) {
			storm := []string{"--connections", fmt.Sprint(hostConnections), "--duration", seconds(1), "--warmup", seconds(0)}
			var used, rate, bare []float64
			failed := int64(0)
			for range rounds {
				r, err := h.load(ctx, s, "storm", storm...)
				if err != nil {
					return nil, err
				}
				used = append(used, 1e6*r.Connect.ServerCPUSeconds/float64(r.Connect.Count))
				rate = append(rate, float64(r.Connect.Count)/r.Connect.Seconds)
				failed += r.Counts.ConnectsFailed
				if r, err = h.bare(ctx, "storm", storm...); err != nil {
					return nil, err
				}
				bare = append(bare, 1e6*r.Connect.ServerCPUSeconds/float64(r.Connect.Count))
			}
			return []figure{
				{what: "CPU of the server for each", value: median(used), unit: microseconds, target: most(90)},
				{what: "connects that failed, of all rounds", value: float64(failed), target: most(0)},
				{what: "connects a second", value: median(rate)},
				{what: "CPU of a bare server for each", value: median(bare), unit: microseconds},
			}, nil
		}),
	}
}

// idleRow is what a connection costs that does nothing.
func (h *host) idleRow() row {
	return row{
		name:  "idle",
		what:  fmt.Sprintf("Memory of the server for an idle WebSocket, authenticated by HS256, in a room of ten, with heartbeats; %s of them, without the kernel's sockets", grouped(hostConnections)),
		limit: 2 * time.Minute,
		measure: h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) {
			r, err := h.load(ctx, s, "idle", "--connections", fmt.Sprint(hostConnections), "--rooms", fmt.Sprint(hostConnections/10), "--warmup", seconds(0), "--duration", seconds(40))
			if err != nil {
				return nil, err
			}
			load := loaded(r)
			if len(load) == 0 {
				return nil, errors.New("the load had no seconds")
			}
			before, after := r.ServerBefore.MemoryBytes, load[len(load)-1].Server.MemoryBytes
			return []figure{
				{what: "resident before the first", value: float64(before), unit: byteSize},
				{what: "resident for each, 40 s after the last has come", value: float64(after-before) / hostConnections, unit: byteSize, doubt: doubt(r)},
			}, nil
		}),
	}
}

// waveRow is what is left of the memory of a wave of connections when it has gone.
func (h *host) waveRow() row {
	const stay, after = 2000, time.Minute
	return row{
		name:  "wave",
		what:  fmt.Sprintf("Resident memory of the server with %s connections, before %s more came and a minute after they left", grouped(stay), grouped(hostConnections-stay)),
		limit: 4 * time.Minute,
		measure: h.serving(func(ctx context.Context, s *hostServer) ([]figure, error) {
			staying, leave := context.WithCancel(ctx)
			defer leave()
			stayed := make(chan error, 1)
			go func() {
				_, err := h.beside("stay").load(staying, s, "idle", "--connections", fmt.Sprint(stay), "--warmup", seconds(0), "--duration", seconds(600))
				stayed <- err
			}()
			memory := func(wait time.Duration) (float64, error) {
				if err := pause(ctx, wait); err != nil {
					return 0, err
				}
				select {
				case err := <-stayed:
					return 0, fmt.Errorf("those that were to stay left: %w", err)
				default:
				}
				resident, err := s.resident()
				return float64(resident), err
			}
			before, err := memory(10 * time.Second)
			if err != nil {
				return nil, err
			}
			came, err := h.load(ctx, s, "idle", "--connections", fmt.Sprint(hostConnections-stay), "--warmup", seconds(0), "--duration", seconds(5))
			if err != nil {
				return nil, err
			}
			highest := int64(0)
			for _, second := range came.Seconds {
				highest = max(highest, second.Server.MemoryBytes)
			}
			left, err := memory(after)
			leave()
			<-stayed
			return []figure{
				{what: "before", value: before, unit: byteSize},
				{what: "with all", value: float64(highest), unit: byteSize},
				{what: "a minute after they left, more than before", value: 100 * (left - before) / before, unit: percent, target: most(20), doubt: doubt(came)},
			}, err
		}),
	}
}

// pause waits, or gives the reason for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
