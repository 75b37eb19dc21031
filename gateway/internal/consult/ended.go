package consult

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/handoff"
)

const (
	// Sessions that are told of together, and most that wait to be: what is beyond is dropped.
	endedTogether = 100
	maxEnded      = 10_000
	endedTimeout  = 10 * time.Second
)

// ended is what waits to be told. Nothing of it is kept: an application that has to know for certain looks at who is there.
type ended struct {
	wake chan struct{} // holds one ring

	mu       sync.Mutex // guards sessions, held for memory work
	sessions []endedBody

	dropped, failed atomic.Int64
}

// endedBody is a session that has ended.
type endedBody struct {
	User    string `json:"user"`
	Session string `json:"session"`
	Code    uint16 `json:"code,omitempty"` // absent: the client left
	At      int64  `json:"at"`             // Unix milliseconds
}

type endedBodies struct {
	Sessions []endedBody `json:"sessions"`
}

func (k *Keeper) startTelling() {
	k.ended.wake = make(chan struct{}, 1)
	if k.cfg.TellEnded {
		k.asking.Go(k.endedLoop)
	}
}

// Ended has the end of a session told, if there is room.
func (k *Keeper) Ended(e handoff.Ended) {
	if !k.cfg.TellEnded {
		return
	}
	k.ended.mu.Lock()
	full := len(k.ended.sessions) >= maxEnded
	if !full {
		k.ended.sessions = append(k.ended.sessions, endedBody{e.User, e.From.String(), e.Code, time.Now().UnixMilli()})
	}
	k.ended.mu.Unlock()
	if full {
		k.ended.dropped.Add(1)
		return
	}
	select {
	case k.ended.wake <- struct{}{}:
	default: // it is awake
	}
}

// endedLoop tells of ended sessions, some together: started by Start, ended by Close.
func (k *Keeper) endedLoop() {
	for {
		select {
		case <-k.context.Done():
			return
		case <-k.ended.wake:
		}
		for k.context.Err() == nil {
			sessions := k.ended.take()
			if len(sessions) == 0 {
				break
			}
			ctx, cancel := context.WithTimeout(k.context, endedTimeout)
			response, err := k.cfg.Hook.Post(ctx, "disconnect_"+rand.Text(), "disconnect", endedBodies{sessions})
			cancel()
			if err != nil || !response.Good() {
				k.ended.failed.Add(int64(len(sessions)))
			}
		}
	}
}

func (e *ended) take() []endedBody {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(e.sessions), endedTogether)
	sessions := e.sessions[:n:n]
	if e.sessions = e.sessions[n:]; len(e.sessions) == 0 {
		e.sessions = nil
	}
	return sessions
}
