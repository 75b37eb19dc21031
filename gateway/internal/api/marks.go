package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	v1 "rookery/proto/rookery/v1"
)

type reaction struct {
	OneMessage
	RetryKey
	Reaction string `path:"reaction" doc:"an emoji or a word, percent-encoded"`
	User     string `query:"user" required:"true" doc:"whose reaction it is"`
}

type pin struct {
	OneMessage
	RetryKey
	User string `query:"user" required:"true" doc:"who pins it, or takes the pin off"`
}

// registerMarks has what is put on messages and taken off again.
func (a *API) registerMarks() {
	const reactionPath, pinPath = "/v1/rooms/{room}/messages/{seq}/reactions/{reaction}", "/v1/rooms/{room}/messages/{seq}/pin"
	register(a, ScopePublish, huma.Operation{
		OperationID: "add-reaction", Method: http.MethodPut, Path: reactionPath, Summary: "React to a message for a user",
	}, func(ctx context.Context, in *reaction) (*answer[wire[*v1.Published]], error) {
		return a.react(ctx, in, false)
	})
	register(a, ScopePublish, huma.Operation{
		OperationID: "remove-reaction", Method: http.MethodDelete, Path: reactionPath, Summary: "Take back a user's reaction",
	}, func(ctx context.Context, in *reaction) (*answer[wire[*v1.Published]], error) {
		return a.react(ctx, in, true)
	})
	register(a, ScopeRooms, huma.Operation{
		OperationID: "pin-message", Method: http.MethodPut, Path: pinPath, Summary: "Pin a message",
	}, func(ctx context.Context, in *pin) (*answer[wire[*v1.Published]], error) { return a.pin(ctx, in, false) })
	register(a, ScopeRooms, huma.Operation{
		OperationID: "unpin-message", Method: http.MethodDelete, Path: pinPath, Summary: "Take the pin off a message",
	}, func(ctx context.Context, in *pin) (*answer[wire[*v1.Published]], error) { return a.pin(ctx, in, true) })
}

func (a *API) react(ctx context.Context, in *reaction, remove bool) (*answer[wire[*v1.Published]], error) {
	return a.change(ctx, &in.OneMessage, in.User, in.Key, &v1.Change{
		Op: &v1.Change_React{React: &v1.React{Reaction: in.Reaction, Remove: remove}},
	})
}

func (a *API) pin(ctx context.Context, in *pin, remove bool) (*answer[wire[*v1.Published]], error) {
	return a.change(ctx, &in.OneMessage, in.User, in.Key, &v1.Change{Op: &v1.Change_Pin{Pin: &v1.Pin{Remove: remove}}})
}

// change says something about a message.
func (a *API) change(ctx context.Context, of *OneMessage, user, key string, c *v1.Change) (*answer[wire[*v1.Published]], error) {
	c.Target = of.Seq
	return a.say(ctx, of.Room, user, &v1.Publish{Key: key, Change: c})
}
