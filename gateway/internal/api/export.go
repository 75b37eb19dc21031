package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"rookery/proto"
)

// Export is what is to be exported. One of the two is there.
type Export struct {
	Room string
	User string
	From int64 // position to begin at
}

type export struct {
	Room string `query:"room" doc:"the messages of this room"`
	User string `query:"user" doc:"what this user said; in all rooms, or in room"`
	From int64  `query:"from" minimum:"0" doc:"a position: the end that the last line of an export before this one has"`
}

const exportID = "export"

func (a *API) registerExport() {
	register(a, ScopeExport, huma.Operation{
		OperationID: exportID, Method: http.MethodGet, Path: "/v1/export",
		Summary: "The log of a room or a user as lines of JSON, as rookery export writes it",
		Responses: map[string]*huma.Response{"200": {
			Description: "One JSON object a line; without a line of the kind footer it was cut short",
			Content:     map[string]*huma.MediaType{linesType: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, a.export)
}

const linesType = "application/x-ndjson"

func (a *API) export(ctx context.Context, in *export) (*huma.StreamResponse, error) {
	for field, name := range map[string]string{"room": in.Room, "user": in.User} {
		if name != "" && !proto.ValidName(name) {
			return nil, nameFault(field, name)
		}
	}
	if in.Room == "" && in.User == "" {
		return nil, faultOf(proto.ErrBadRequest, "Name a room or a user; rookery export writes the whole log.")
	}
	if !a.exporting.TryLock() {
		return nil, faultOf(proto.ErrOverloaded, "An export is under way already; ask again when it has ended.")
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer a.exporting.Unlock()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(a.leaving, func() { cancel(context.Canceled) })()
		hc.SetHeader("Content-Type", linesType)
		_, w := humago.Unwrap(hc)
		err := a.cfg.Export(ctx, w, Export{Room: in.Room, User: in.User, From: in.From})
		if err != nil {
			// The status has been sent. Ending the connection says that the answer is not whole, as the missing footer does.
			a.cfg.Log.Info("an export ended early", "room", in.Room, "user", in.User, "err", err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}
