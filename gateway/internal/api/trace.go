package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"rookery/gateway/internal/audit"
	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

const traceID = "trace-user"

// traceAlive is how often a trace says that it goes on, so that both sides notice when the other is gone.
const traceAlive = 10 * time.Second

// traceEnds is how long is waited for another trace to end, whose caller may have left: who ends one and begins the next at once, as the operator's page
// does, has done both before the first is known to be over.
const traceEnds = time.Second

// TraceLine is one of the answer.
type TraceLine struct {
	Kind string `json:"kind" enum:"begin,frame,dropped,alive,end" doc:"frame: of the user or to them; dropped: so many more frames, which nobody took in time"`
	User string `json:"user,omitempty" doc:"of begin"`
	// Count is of dropped.
	Count int64 `json:"count,omitempty"`
	*handoff.TraceEntry
}

func (a *API) registerTrace() {
	register(a, ScopeTrace, huma.Operation{
		OperationID: traceID, Method: http.MethodGet, Path: "/v1/users/{user}/trace",
		Summary: "The frames between a user and the server as they come, without what is said, as lines of JSON",
		Responses: map[string]*huma.Response{"200": {
			Description: "One JSON object a line, until the caller ends it or a line of the kind end",
			Content:     map[string]*huma.MediaType{linesType: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, a.trace)
}

func (a *API) trace(ctx context.Context, in *OfUser) (*huma.StreamResponse, error) {
	trace, end, err := a.cfg.Trace(in.User)
	for begun := time.Now(); err != nil && time.Since(begun) < traceEnds && ctx.Err() == nil; {
		time.Sleep(traceEnds / 50)
		trace, end, err = a.cfg.Trace(in.User)
	}
	if err != nil {
		return nil, faultOf(proto.ErrOverloaded, "%s.", upper(err.Error()))
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer end()
		// Who looks at somebody is written down when it begins: it may go on for long.
		audit.Of(hc.Context()).WriteNow()
		a.cfg.Log.Info("a user is traced", "key", hc.Context().Value(holderKey{}).(*key).name, "user", in.User)
		hc.SetHeader("Content-Type", linesType)
		hc.SetHeader("Cache-Control", "no-store")
		hc.SetHeader("X-Accel-Buffering", "no")
		_, w := humago.Unwrap(hc)
		a.follow(hc.Context(), w, trace)
	}}, nil
}

// follow writes what a trace has until the caller leaves or the server does.
func (a *API) follow(ctx context.Context, w http.ResponseWriter, trace *handoff.Trace) {
	control := http.NewResponseController(w)
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	write := func(l TraceLine) bool { return lines.Encode(l) == nil }
	wakes := trace.Wakes()
	alive := time.NewTicker(traceAlive)
	defer alive.Stop()
	for ok := write(TraceLine{Kind: "begin", User: trace.User}); ok && control.Flush() == nil; {
		select {
		case <-wakes:
			entries, dropped := trace.Take()
			for i := range entries {
				ok = ok && write(TraceLine{Kind: "frame", TraceEntry: &entries[i]})
			}
			if dropped > 0 {
				ok = ok && write(TraceLine{Kind: "dropped", Count: dropped})
			}
		case <-alive.C:
			ok = write(TraceLine{Kind: "alive"})
		case <-ctx.Done():
			return
		case <-a.leaving.Done():
			write(TraceLine{Kind: "end"})
			return
		}
	}
}

// upper makes an error the beginning of a sentence.
func upper(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
