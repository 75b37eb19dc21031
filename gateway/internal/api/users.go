package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

type OfUser struct {
	User string `path:"user" doc:"the user's name, percent-encoded"`
}

type listRooms struct {
	OfUser
	Page
}

type banUser struct {
	OfUser
	Body *struct {
		ForMS  uint64 `json:"forMs,omitempty" doc:"without it for ever"`
		Reason string `json:"reason,omitempty"`
	}
}

type disconnectUser struct {
	OfUser
	Body *struct {
		Reason string `json:"reason,omitempty" doc:"what clients are told, at most 100 bytes"`
	}
}

func (a *API) registerUsers() {
	register(a, ScopeRead, huma.Operation{
		OperationID: "list-rooms", Method: http.MethodGet, Path: "/v1/users/{user}/rooms",
		Summary: "The rooms with members that a user is in, in the order of their names",
	}, a.listRooms)
	register(a, ScopeUsers, huma.Operation{
		OperationID: "disconnect-user", Method: http.MethodPost, Path: "/v1/users/{user}/disconnect", DefaultStatus: http.StatusNoContent,
		Summary: "Close the connections of a user; clients come back by themselves unless their token is no good any more",
	}, a.disconnect)
	register(a, ScopeUsers, huma.Operation{
		OperationID: "ban-user", Method: http.MethodPut, Path: "/v1/users/{user}/ban",
		Summary: "Ban a user from the server, and close their connections",
	}, a.banUser)
	register(a, ScopeUsers, huma.Operation{
		OperationID: "unban-user", Method: http.MethodDelete, Path: "/v1/users/{user}/ban",
		Summary: "Lift a ban from the server",
	}, a.unbanUser)
}

func (a *API) listRooms(ctx context.Context, in *listRooms) (*answer[wire[*v1.Rooms]], error) {
	frame, err := a.ask(ctx, handoff.MemberRequest{Kind: handoff.ListRooms, User: in.User, PageAfter: in.After, Limit: int(in.Limit)})
	if err != nil {
		return nil, err
	}
	return answerWith(frame.GetRooms()), nil
}

func (a *API) banUser(ctx context.Context, in *banUser) (*answer[wire[*v1.MemberChanged]], error) {
	r := handoff.MemberRequest{Target: in.User, Action: "ban"}
	if in.Body != nil {
		r.ForMS, r.Reason = in.Body.ForMS, in.Body.Reason
	}
	return a.changeServer(ctx, r)
}

func (a *API) unbanUser(ctx context.Context, in *OfUser) (*answer[wire[*v1.MemberChanged]], error) {
	return a.changeServer(ctx, handoff.MemberRequest{Target: in.User, Action: "unban"})
}

func (a *API) changeServer(ctx context.Context, r handoff.MemberRequest) (*answer[wire[*v1.MemberChanged]], error) {
	r.Kind = handoff.ChangeMember
	frame, err := a.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	return answerWith(frame.GetMember()), nil
}

// maxCloseReason fits into a Close frame with its code: "All control frames MUST have a payload length of 125 bytes or less"
// (RFC 6455 section 5.5).
const maxCloseReason = 100

func (a *API) disconnect(_ context.Context, in *disconnectUser) (*struct{}, error) {
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	if len(reason) > maxCloseReason || reason != "" && !proto.ValidName(reason) {
		return nil, faultOf(proto.ErrBadRequest, "reason is at most %d bytes of UTF-8 without control characters.", maxCloseReason)
	}
	a.cfg.Disconnect(in.User, reason)
	return nil, nil
}
