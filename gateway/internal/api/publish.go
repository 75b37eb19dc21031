package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"rookery/gateway/internal/calls"
	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// Content is what a message says.
type Content struct {
	Text     *string  `json:"text,omitempty" doc:"what it says; or data"`
	Data     []byte   `json:"data,omitempty" doc:"bytes, instead of text"`
	Mentions []string `json:"mentions,omitempty" nullable:"false" doc:"users that it is about"`
}

// NewMessage is what is published.
type NewMessage struct {
	User string `json:"user" doc:"who says it; the key's rights count, not theirs"`
	Content
	Kind      string `json:"kind,omitempty" doc:"a word of yours for what it is"`
	ReplyTo   uint64 `json:"replyTo,omitempty"`
	Thread    uint64 `json:"thread,omitempty"`
	Ephemeral bool   `json:"ephemeral,omitempty" doc:"for those who are there now; it is not stored"`
	Key       string `json:"key,omitempty" doc:"of an ephemeral message: it takes the place of the one before it with this key. Of others the same as Idempotency-Key"`
}

type RetryKey struct {
	Key string `header:"Idempotency-Key" doc:"a repetition with the same key, room and user is answered as the first and not published again, within the setting retry_window"`
}

type publish struct {
	InRoom
	RetryKey
	Body NewMessage
}

type broadcast struct {
	RetryKey
	Body struct {
		Rooms []string `json:"rooms" minItems:"1" maxItems:"200" nullable:"false"`
		NewMessage
	}
}

// Broadcast is what came of a broadcast, in the order of the rooms that were named.
type Broadcast struct {
	Results []Result `json:"results" nullable:"false"`
}

// Result is what came of a broadcast in one room: published, or an error.
type Result struct {
	Room      string               `json:"room"`
	Published *wire[*v1.Published] `json:"published,omitempty"`
	Error     *wire[*v1.Error]     `json:"error,omitempty"`
}

type OneMessage struct {
	InRoom
	Seq uint64 `path:"seq" minimum:"1" doc:"its number in the room"`
}

type editMessage struct {
	OneMessage
	RetryKey
	Body struct {
		User string `json:"user" doc:"who wrote it"`
		Content
	}
}

type deleteMessage struct {
	OneMessage
	RetryKey
	User string `query:"user" required:"true" doc:"who deletes it, as a moderator"`
}

func (a *API) registerMessages() {
	register(a, ScopePublish, huma.Operation{
		OperationID: "publish", Method: http.MethodPost, Path: "/v1/rooms/{room}/messages",
		Summary: "Publish in a room",
	}, a.publish)
	register(a, ScopePublish, huma.Operation{
		OperationID: "broadcast", Method: http.MethodPost, Path: "/v1/broadcast",
		Summary: "Publish the same in many rooms, with an answer for each",
	}, a.broadcast)
	register(a, ScopePublish, huma.Operation{
		OperationID: "edit-message", Method: http.MethodPatch, Path: "/v1/rooms/{room}/messages/{seq}",
		Summary: "Edit a message for who wrote it",
	}, a.editMessage)
	register(a, ScopeRooms, huma.Operation{
		OperationID: "delete-message", Method: http.MethodDelete, Path: "/v1/rooms/{room}/messages/{seq}",
		Summary: "Delete a message as a moderator",
	}, a.deleteMessage)
}

// put puts the content into a publish.
func (c *Content) put(p *v1.Publish) *Fault {
	switch {
	case c.Text != nil && c.Data != nil:
		return faultOf(proto.ErrBadRequest, "A message has text or data, not both.")
	case c.Text != nil:
		p.Content = &v1.Publish_Text{Text: *c.Text}
	case c.Data != nil:
		p.Content = &v1.Publish_Data{Data: c.Data}
	}
	p.Mentions = c.Mentions
	return nil
}

func (a *API) publish(ctx context.Context, in *publish) (*answer[wire[*v1.Published]], error) {
	p, err := in.Body.publish(in.Key)
	if err != nil {
		return nil, err
	}
	return a.say(ctx, in.Room, in.Body.User, p)
}

// say publishes in one room, and gives the room's answer.
func (a *API) say(ctx context.Context, room, user string, p *v1.Publish) (*answer[wire[*v1.Published]], error) {
	content, f := a.content(user, p)
	if f != nil {
		return nil, f
	}
	command, err := a.command(room, user, p, content)
	if err != nil {
		return nil, err
	}
	pending, err := a.cfg.Calls.Send(command)
	if err != nil {
		return nil, fault(err, nothingHappened)
	}
	published, err := await(ctx, pending, command)
	if err != nil {
		return nil, err
	}
	return answerWith(published), nil
}

// publish is the message as the protocol has it, without its room.
func (m *NewMessage) publish(header string) (*v1.Publish, error) {
	p := &v1.Publish{Key: m.Key, Kind: m.Kind, ReplyTo: m.ReplyTo, Thread: m.Thread, Ephemeral: m.Ephemeral}
	if header != "" && p.Key != "" && header != p.Key {
		return nil, faultOf(proto.ErrBadRequest, "The header Idempotency-Key and the field key say different things.")
	}
	if header != "" {
		p.Key = header
	}
	if f := m.Content.put(p); f != nil {
		return nil, f
	}
	return p, nil
}

// content is what the log is given, in however many rooms. The rights of users do not count here, the rules of messages do.
func (a *API) content(user string, p *v1.Publish) ([]byte, *Fault) {
	if f := nameFault("user", user); f != nil {
		return nil, f
	}
	if text := proto.CheckPublish(p); text != "" {
		return nil, faultOf(proto.ErrBadRequest, "%s", text)
	}
	content := proto.AppendContent(nil, p)
	if len(content) > a.cfg.MessageBytes {
		return nil, faultOf(proto.ErrTooLarge, "A message has %d bytes at most, the setting limits.message_bytes.", a.cfg.MessageBytes)
	}
	return content, nil
}

// command is what a room's shard is told.
func (a *API) command(room, user string, p *v1.Publish, content []byte) (handoff.Command, error) {
	if kind := a.cfg.Kind(room); kind == handoff.Group || kind == handoff.Direct {
		if _, err := a.cfg.Room(room); errors.Is(err, ErrNoRoom) {
			return handoff.Command{}, noRoom(room)
		} else if err != nil {
			return handoff.Command{}, fault(err, nothingHappened)
		}
	}
	c := handoff.Command{
		Kind: handoff.Publish, Room: room, User: user, Key: p.Key, Ephemeral: p.Ephemeral || a.cfg.Ephemeral(room),
		Content: content, Refers: max(p.ReplyTo, p.Thread),
	}
	if p.Change == nil {
		return c, nil
	}
	if c.Ephemeral {
		return handoff.Command{}, faultOf(proto.ErrBadRequest, "What is ephemeral is not stored, so there is nothing to change.")
	}
	moderates := false
	switch p.Change.Op.(type) {
	case *v1.Change_Delete, *v1.Change_Pin:
		moderates = true
	}
	c.Kind, c.Change = handoff.Alter, &handoff.Change{Change: p.Change, Moderates: moderates}
	return c, nil
}

// await gives what a room answered to a publish.
func await(ctx context.Context, pending *calls.Pending, c handoff.Command) (*v1.Published, error) {
	e, err := pending.Wait(ctx)
	if err != nil {
		unanswered := mayBePublished
		if c.Key == "" {
			unanswered = withoutRetryKeys
		}
		return nil, fault(err, unanswered)
	}
	return &v1.Published{Room: c.Room, Seq: e.Seq, At: uint64(e.At)}, nil
}

// broadcast asks all rooms before it waits for the first, so that they share their way to the disk.
func (a *API) broadcast(ctx context.Context, in *broadcast) (*answer[Broadcast], error) {
	p, err := in.Body.publish(in.Key)
	if err != nil {
		return nil, err
	}
	content, f := a.content(in.Body.User, p)
	if f != nil {
		return nil, f
	}
	results := make([]Result, len(in.Body.Rooms))
	asked := make([]*calls.Pending, len(results))
	commands := make([]handoff.Command, len(results))
	for i, room := range in.Body.Rooms {
		results[i].Room = room
		err := error(nil)
		if f := nameFault("room", room); f != nil {
			err = f
		} else if commands[i], err = a.command(room, in.Body.User, p, content); err == nil {
			if asked[i], err = a.cfg.Calls.Send(commands[i]); err != nil {
				err = fault(err, nothingHappened)
			}
		}
		results[i].fail(err)
	}
	for i, pending := range asked {
		if pending == nil {
			continue
		}
		published, err := await(ctx, pending, commands[i])
		if err == nil {
			results[i].Published = &wire[*v1.Published]{published}
		}
		results[i].fail(err)
	}
	return &answer[Broadcast]{Broadcast{results}}, nil
}

func (r *Result) fail(err error) {
	if f, ok := errors.AsType[*Fault](err); ok {
		r.Error = &wire[*v1.Error]{f.err}
	}
}

func (a *API) editMessage(ctx context.Context, in *editMessage) (*answer[wire[*v1.Published]], error) {
	p := &v1.Publish{Key: in.Key, Change: &v1.Change{Target: in.Seq, Op: &v1.Change_Edit{Edit: &v1.Edit{}}}}
	if f := in.Body.Content.put(p); f != nil {
		return nil, f
	}
	return a.say(ctx, in.Room, in.Body.User, p)
}

func (a *API) deleteMessage(ctx context.Context, in *deleteMessage) (*answer[wire[*v1.Published]], error) {
	return a.change(ctx, &in.OneMessage, in.User, in.Key, &v1.Change{Op: &v1.Change_Delete{Delete: &v1.Delete{}}})
}
