package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

type history struct {
	InRoom
	Before   uint64 `query:"before" doc:"messages under this number, the newest of them; without before and after the newest of the room"`
	After    string `query:"after" pattern:"^[0-9]{1,16}$" doc:"messages above this number, the oldest of them; 0 is the beginning"`
	Limit    uint16 `query:"limit" doc:"messages in a page, 1 to 200; 50 if it is not said"`
	Thread   uint64 `query:"thread" doc:"of this thread only"`
	Pinned   bool   `query:"pinned" doc:"what is pinned only"`
	Mentions string `query:"mentions" doc:"what mentions this user only"`
}

func (a *API) registerHistory() {
	register(a, ScopeRead, huma.Operation{
		OperationID: "get-history", Method: http.MethodGet, Path: "/v1/rooms/{room}/messages",
		Summary: "A page of what was said in a room, the oldest first",
	}, a.history)
}

func (a *API) history(ctx context.Context, in *history) (*answer[wire[*v1.History]], error) {
	read, f := in.read()
	if f != nil {
		return nil, f
	}
	room, err := a.cfg.Room(in.Room)
	switch {
	case err == ErrNoRoom:
		return nil, noRoom(in.Room)
	case err != nil:
		return nil, fault(err, nothingHappened)
	case room.Ephemeral:
		return answerWith(&v1.History{Room: in.Room, Epoch: room.Epoch, Begin: 1, Ephemeral: true}), nil
	}
	pending, err := a.cfg.Calls.Read(read)
	if err != nil {
		return nil, fault(err, nothingHappened)
	}
	frame, err := answered(ctx, pending)
	if err != nil {
		return nil, err
	}
	return answerWith(frame.GetHistory()), nil
}

// read is the request as the readers take it.
func (in *history) read() (handoff.Read, *Fault) {
	read := handoff.Read{
		Kind: handoff.HistoryBefore, Room: in.Room, Position: in.Before, Limit: int(in.Limit), User: in.Mentions, Root: in.Thread,
	}
	lists := 0
	list := func(l handoff.ReadList, wanted bool) {
		if wanted {
			read.List = l
			lists++
		}
	}
	list(handoff.Thread, in.Thread != 0)
	list(handoff.Pinned, in.Pinned)
	list(handoff.Mentions, in.Mentions != "")
	if in.After != "" {
		read.Kind, read.Position = handoff.HistoryAfter, 0
		for _, digit := range in.After {
			read.Position = 10*read.Position + uint64(digit-'0')
		}
	}
	if read.Limit == 0 {
		read.Limit = proto.DefaultHistory
	}
	switch {
	case in.Before != 0 && in.After != "":
		return read, faultOf(proto.ErrBadRequest, "history takes before or after, not both.")
	case read.Position > proto.MaxInteger || in.Thread > proto.MaxInteger:
		return read, faultOf(proto.ErrBadRequest, "before, after and thread are at most 2^53-1.")
	case lists > 1:
		return read, faultOf(proto.ErrBadRequest, "history takes one of thread, pinned and mentions.")
	case in.Mentions != "" && !proto.ValidName(in.Mentions):
		return read, faultOf(proto.ErrBadRequest, "mentions is the name of a user.")
	case read.Limit > proto.MaxHistory:
		return read, faultOf(proto.ErrBadRequest, "limit is at most %d.", proto.MaxHistory)
	}
	return read, nil
}
