package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"rookery/gateway/internal/audit"
	"rookery/gateway/internal/calls"
	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/rate"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const (
	// bodyTime is how long a body may take.
	bodyTime = 10 * time.Second
	// beside is what a body has beside the content of a message: names of rooms, most of all.
	beside = 64 << 10
)

// Config says what the API asks and how much it takes. All fields without a default must be set.
type Config struct {
	Calls   *calls.Calls
	Members Members
	// Room tells of a room, ErrNoRoom if there is none; Kind what its name makes it, and Ephemeral whether it stores nothing.
	Room      func(room string) (Room, error)
	Kind      func(room string) handoff.RoomKind
	Ephemeral func(room string) bool
	// DirectRoom names the room of two users, "" if there are no such rooms.
	DirectRoom func(a, b string) string
	// Disconnect has the connections of a user closed.
	Disconnect func(user, reason string)
	// Trace begins to note the frames of a user, until end is called; an error says that no more can be traced.
	Trace func(user string) (t *handoff.Trace, end func(), err error)
	// Export writes the log, or a part of it.
	Export func(ctx context.Context, out io.Writer, what Export) error
	// Figures are read when they are asked for, and every ten seconds.
	Figures func() Figures

	MessageBytes int // largest content of a message
	Log          *slog.Logger
	Requests     int           // under way at once; default 24
	Timeout      time.Duration // of what a request waits for; default 10 s
}

// Members is the keeper of members. members.Keeper provides it.
type Members interface {
	Call(context.Context, handoff.MemberRequest) (*v1.ServerFrame, error)
}

// API answers what is below /v1/. Its methods are safe for concurrent use.
type API struct {
	// Set at construction.
	cfg      Config
	describe func()          // registerAll, the first time
	slots    chan struct{}   // holds one for each request under way
	leaving  context.Context // done when exports and traces have to end
	leave    context.CancelFunc
	sampling sync.WaitGroup

	// Made by describe.
	mux      *http.ServeMux
	huma     huma.API
	document []byte

	keys      atomic.Pointer[Keys]
	refusing  atomic.Bool
	exporting sync.Mutex // held by the one export
	rates     rates
	unkeyed   rate.Line
}

// New makes an API that is off until it has keys. Close ends it.
func New(cfg Config) *API {
	if cfg.Requests == 0 {
		cfg.Requests = 24
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	a := &API{cfg: cfg, slots: make(chan struct{}, cfg.Requests)}
	a.leaving, a.leave = context.WithCancel(context.Background())
	a.SetKeys(nil)
	a.describe = sync.OnceFunc(a.registerAll)
	a.sampling.Go(a.sampleLoop)
	return a
}

// registerAll is left to the first request: it takes as long as taking over a few thousand connections, whose clients would wait for it.
func (a *API) registerAll() {
	a.mux = http.NewServeMux()
	a.huma = humago.New(a.mux, humaConfig())
	a.huma.UseMiddleware(a.checked)
	a.registerRooms()
	a.registerUsers()
	a.registerMessages()
	a.registerMarks()
	a.registerHistory()
	a.registerExport()
	a.registerStats()
	a.registerTrace()
	document, err := json.MarshalIndent(a.huma.OpenAPI(), "", "  ")
	if err != nil {
		panic("BUG: the API can't be described: " + err.Error())
	}
	a.document = append(document, '\n')
	a.mux.HandleFunc("/", a.lost)
}

// humaConfig leaves out what huma adds by itself: pages of documentation, links to schemas, formats beside JSON.
func humaConfig() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Rookery server API", Version: "1",
				Description: "For the backends of those who run the server. Errors have one shape, and the names that the protocol has.",
			},
			Servers: []*huma.Server{{URL: "http://127.0.0.1:9090", Description: "the admin listener, setting admin"}},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{keyScheme: {
					Type: "http", Scheme: "bearer", Description: "a key of the setting api.keys_file or api.keys; beside each operation stands the scope that it needs",
				}},
			},
		},
		Formats: map[string]huma.Format{"application/json": {
			Marshal: func(w io.Writer, v any) error {
				e := json.NewEncoder(w)
				e.SetEscapeHTML(false)
				return e.Encode(v)
			},
			Unmarshal: json.Unmarshal,
		}},
		DefaultFormat: "application/json",
	}
}

const keyScheme = "key"

// register adds an operation that takes a key with a scope.
func register[I, O any](a *API, scope string, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	op.Security = []map[string][]string{{keyScheme: {scope}}}
	op.BodyReadTimeout, op.MaxBodyBytes = -1, -1 // the body has been read by then
	huma.Register(a.huma, op, handle)
}

// SetKeys puts other keys in force; without any the API is off.
func (a *API) SetKeys(keys Keys) { a.keys.Store(&keys) }

// Refuse answers every request with the error draining from now on, and has exports and traces end.
func (a *API) Refuse() {
	a.refusing.Store(true)
	a.leave()
}

// Idle reports that nothing is under way.
func (a *API) Idle() bool { return len(a.slots) == 0 }

// Close ends the API, after Refuse or instead of it.
func (a *API) Close() {
	a.Refuse()
	a.sampling.Wait()
}

type holderKey struct{}

// ServeHTTP takes a request as far as its operation.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	entry := audit.Of(r.Context())
	entry.Content = true // until it is known what is asked for
	keys := *a.keys.Load()
	switch {
	case len(keys) == 0:
		writeFault(w, faultOf(ErrOff, "The server API is off: name its keys in the setting api.keys_file, or api.keys."))
		return
	case a.refusing.Load():
		writeFault(w, faultOf(proto.ErrDraining, "The server is shutting down; ask again elsewhere or later."))
		return
	case r.URL.Path == "/v1/openapi.json" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		a.describe()
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json")
		w.Write(a.document)
		return
	}
	secret, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	holder := keys.find(secret)
	if !bearer || holder == nil {
		entry.Kept = true
		a.unkeyed.Log(a.cfg.Log, slog.LevelInfo, "a request to the server API has no valid key", "remote", r.RemoteAddr, "path", r.URL.Path)
		w.Header().Set("WWW-Authenticate", `Bearer realm="rookery"`)
		writeFault(w, faultOf(proto.ErrUnauthorized, "Send a key of this server: Authorization: Bearer SECRET."))
		return
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	default:
		writeFault(w, faultOf(proto.ErrOverloaded, "%d requests to the server API are under way already; wait for their answers.", a.cfg.Requests))
		return
	}
	if f := a.readBody(w, r); f != nil {
		writeFault(w, f)
		return
	}
	a.describe()
	a.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), holderKey{}, holder)))
}

// readBody takes the whole body, so that no operation waits for a part of one. A deadline that stood while an operation waits would end it. Where there is none
// to wait it stands: net/http waits for the rest of a body that is refused.
func (a *API) readBody(w http.ResponseWriter, r *http.Request) *Fault {
	most := int64(a.cfg.MessageBytes)*2 + beside // base64, and some escapes
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return faultOf(proto.ErrTooLarge, "A body has %d bytes at most.", most)
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		w.Header().Set("Connection", "close")
		return faultOf(proto.ErrBadRequest, "The body did not come within %v.", bodyTime)
	}
	if err != nil {
		return faultOf(proto.ErrBadRequest, "The body can't be read.")
	}
	_ = control.SetReadDeadline(time.Time{})
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// checked looks at what is the same for all operations: scope, names, and that no parameter is misspelt.
func (a *API) checked(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	holder := ctx.Context().Value(holderKey{}).(*key)
	scope := op.Security[0][keyScheme][0]
	entry := audit.Of(ctx.Context())
	entry.Key, entry.Operation, entry.Content = holder.name, op.OperationID, scope == ScopePublish
	if !holder.has(scope) || scope == ScopeExport || scope == ScopeTrace {
		entry.Kept = true
	} else if scope == ScopePublish {
		entry.Kept = false // who said what is in the log of messages
	}
	if f := checkOperation(ctx, op, holder); f != nil {
		_, w := humago.Unwrap(ctx)
		writeFault(w, f)
		return
	}
	if op.Method != http.MethodGet {
		level := slog.LevelInfo
		if scope == ScopePublish {
			level = slog.LevelDebug
		}
		a.cfg.Log.Log(ctx.Context(), level, "server API", "key", holder.name, "operation", op.OperationID, "path", ctx.URL().Path)
	}
	if op.OperationID == exportID || op.OperationID == traceID {
		next(ctx) // it takes as long as it takes
		return
	}
	bounded, cancel := context.WithTimeout(ctx.Context(), a.cfg.Timeout)
	defer cancel()
	next(huma.WithContext(ctx, bounded))
}

func checkOperation(ctx huma.Context, op *huma.Operation, holder *key) *Fault {
	if scope := op.Security[0][keyScheme][0]; !holder.has(scope) {
		return faultOf(ErrScope, "The key %q lacks the scope %s.", holder.name, scope)
	}
	url := ctx.URL()
	for name := range url.Query() {
		if !slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "query" && p.Name == name }) {
			return faultOf(proto.ErrBadRequest, "There is no parameter %q here.", name)
		}
	}
	for _, p := range op.Parameters {
		if p.In == "path" && (p.Name == "room" || p.Name == "user") && !proto.ValidName(ctx.Param(p.Name)) {
			return faultOf(proto.ErrBadRequest, "%s is 1 to %d bytes of UTF-8 without control characters, percent-encoded.", p.Name, proto.MaxName)
		}
	}
	return nil
}

// lost answers for a path that there is not, or not with that method.
func (a *API) lost(w http.ResponseWriter, r *http.Request) {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "/" {
			methods = append(methods, method)
		}
	}
	if len(methods) == 0 {
		writeFault(w, faultOf(ErrNoSuchPath, "There is nothing at this path; /v1/openapi.json lists what there is."))
		return
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	writeFault(w, faultOf(ErrMethod, "This path takes %s.", strings.Join(methods, " and ")))
}

func writeFault(w http.ResponseWriter, f *Fault) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.GetStatus())
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(f) // who does not wait for the answer misses it
}

// ask has the keeper of members do something.
func (a *API) ask(ctx context.Context, r handoff.MemberRequest) (*v1.ServerFrame, error) {
	frame, err := a.cfg.Members.Call(ctx, r)
	if err == nil {
		return frame, nil
	}
	unanswered := mayHaveHappened
	if r.Kind == handoff.ListMembers || r.Kind == handoff.ListRooms {
		unanswered = nothingHappened
	}
	return nil, fault(err, unanswered)
}

// ErrNoRoom: there is no room of that name.
var ErrNoRoom = errors.New("there is no such room")

func noRoom(room string) *Fault {
	return faultOf(proto.ErrNoSuchRoom, "There is no room %q; create it first.", room)
}

func nameFault(field, name string) *Fault {
	if proto.ValidName(name) {
		return nil
	}
	return faultOf(proto.ErrBadRequest, "%s is 1 to %d bytes of UTF-8 without control characters.", field, proto.MaxName)
}
