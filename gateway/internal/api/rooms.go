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

// Room is a room as the server knows it.
type Room struct {
	Room      string `json:"room"`
	Kind      string `json:"kind" enum:"plain,open,group,direct"`
	Ephemeral bool   `json:"ephemeral" doc:"nothing is stored"`
	Epoch     string `json:"epoch" doc:"names the history that sequence numbers belong to"`
	Head      uint64 `json:"head" doc:"the newest message, 0 if there was none"`
	Begin     uint64 `json:"begin" doc:"the oldest message that is still there, head+1 if none is"`
	// Of rooms with members.
	Title      string   `json:"title,omitempty"`
	Speak      string   `json:"speak,omitempty" doc:"the least role that may publish"`
	SlowModeMS uint32   `json:"slowModeMs,omitempty"`
	Members    uint32   `json:"members,omitempty"`
	Users      []string `json:"users,omitempty" nullable:"false" doc:"the two of a direct room"`
}

type InRoom struct {
	Room string `path:"room" doc:"the room's name, percent-encoded"`
}

type createRoom struct {
	Body struct {
		Room       string   `json:"room,omitempty" doc:"a name that the setting rooms.members has for open rooms or groups"`
		Users      []string `json:"users,omitempty" nullable:"false" doc:"instead of room: the two users of a direct room"`
		Owner      string   `json:"owner,omitempty" doc:"who owns it; without one the server alone does"`
		Title      string   `json:"title,omitempty"`
		SlowModeMS uint32   `json:"slowModeMs,omitempty" doc:"least time between two messages of a user"`
		Speak      string   `json:"speak,omitempty" doc:"least role that may publish: guest, member, moderator or owner"`
	}
}

type configureRoom struct {
	InRoom
	Body struct {
		Title      *string `json:"title,omitempty"`
		SlowModeMS *uint32 `json:"slowModeMs,omitempty"`
		Speak      string  `json:"speak,omitempty"`
	}
}

type changeMember struct {
	InRoom
	Body struct {
		User   string `json:"user"`
		Action string `json:"action" enum:"invite,leave,kick,ban,unban,mute,unmute,role"`
		Role   string `json:"role,omitempty" doc:"of invite and role: owner, moderator, member or guest"`
		ForMS  uint64 `json:"forMs,omitempty" doc:"of ban and mute; without it for ever"`
		Reason string `json:"reason,omitempty"`
		By     string `json:"by,omitempty" doc:"the user whom the members are told did it"`
	}
}

type listMembers struct {
	InRoom
	Page
	Banned bool `query:"banned" doc:"those who are banned, instead of members"`
}

// Page is which part of a list of names is wanted.
type Page struct {
	After string `query:"after" doc:"the last name of the page before"`
	Limit uint16 `query:"limit" doc:"names in a page, 1 to 200; 50 if it is not said"`
}

func (a *API) registerRooms() {
	register(a, ScopeRooms, huma.Operation{
		OperationID: "create-room", Method: http.MethodPost, Path: "/v1/rooms",
		Summary: "Create a room with members; the same again is answered the same",
	}, a.createRoom)
	register(a, ScopeRead, huma.Operation{
		OperationID: "get-room", Method: http.MethodGet, Path: "/v1/rooms/{room}",
		Summary: "What a room is like, and where it stands",
	}, a.getRoom)
	register(a, ScopeRooms, huma.Operation{
		OperationID: "configure-room", Method: http.MethodPatch, Path: "/v1/rooms/{room}",
		Summary: "Change the settings of a room with members",
	}, a.configureRoom)
	register(a, ScopeRead, huma.Operation{
		OperationID: "list-members", Method: http.MethodGet, Path: "/v1/rooms/{room}/members",
		Summary: "Members of a room in the order of their names, or who is banned from it",
	}, a.listMembers)
	register(a, ScopeRead, huma.Operation{
		OperationID: "get-presence", Method: http.MethodGet, Path: "/v1/rooms/{room}/presence",
		Summary: "Who is in a room now: who has joined it with a connection that lives",
	}, a.presence)
	register(a, ScopeRooms, huma.Operation{
		OperationID: "change-member", Method: http.MethodPost, Path: "/v1/rooms/{room}/members",
		Summary: "Invite, kick, ban, unban, mute, unmute, or give a role",
	}, a.changeMember)
}

func (a *API) createRoom(ctx context.Context, in *createRoom) (*answer[wire[*v1.RoomInfo]], error) {
	b := &in.Body
	r := handoff.MemberRequest{
		Kind: handoff.CreateRoom, Room: b.Room, Target: b.Owner,
		SetTitle: b.Title != "", Title: b.Title, SetSlow: b.SlowModeMS != 0, SlowMS: b.SlowModeMS, Speak: b.Speak,
	}
	if len(b.Users) > 0 {
		if b.Room != "" || b.Owner != "" || len(b.Users) != 2 {
			return nil, faultOf(proto.ErrBadRequest, "A direct room has two users, and neither room nor owner.")
		}
		r.User, r.Target = b.Users[0], b.Users[1]
		if r.Room = a.cfg.DirectRoom(r.User, r.Target); r.Room == "" {
			return nil, faultOf(proto.ErrBadRequest, "This server has no direct rooms; the setting rooms.members names them.")
		}
	} else if f := nameFault("room", b.Room); f != nil {
		return nil, f
	} else if a.cfg.Kind(b.Room) == handoff.Direct {
		return nil, faultOf(proto.ErrBadRequest, "The name of a direct room is made by the server; name its users.")
	}
	frame, err := a.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	return answerWith(frame.GetRoom()), nil
}

func (a *API) getRoom(ctx context.Context, in *InRoom) (*answer[Room], error) {
	room, err := a.cfg.Room(in.Room)
	if errors.Is(err, ErrNoRoom) {
		return nil, noRoom(in.Room)
	}
	if err != nil {
		return nil, fault(err, nothingHappened)
	}
	if a.cfg.Kind(in.Room) != handoff.Plain {
		// The keeper has counted them already.
		frame, err := a.ask(ctx, handoff.MemberRequest{Kind: handoff.ListMembers, Room: in.Room, Limit: 1})
		if err != nil {
			return nil, err
		}
		room.Members = frame.GetMembers().GetTotal()
	}
	return &answer[Room]{room}, nil
}

func (a *API) configureRoom(ctx context.Context, in *configureRoom) (*answer[wire[*v1.RoomInfo]], error) {
	r := handoff.MemberRequest{Kind: handoff.ConfigureRoom, Room: in.Room, Speak: in.Body.Speak}
	if in.Body.Title != nil {
		r.SetTitle, r.Title = true, *in.Body.Title
	}
	if in.Body.SlowModeMS != nil {
		r.SetSlow, r.SlowMS = true, *in.Body.SlowModeMS
	}
	frame, err := a.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	return answerWith(frame.GetRoom()), nil
}

func (a *API) listMembers(ctx context.Context, in *listMembers) (*answer[wire[*v1.Members]], error) {
	frame, err := a.ask(ctx, handoff.MemberRequest{
		Kind: handoff.ListMembers, Room: in.Room, PageAfter: in.After, Limit: int(in.Limit), Banned: in.Banned,
	})
	if err != nil {
		return nil, err
	}
	return answerWith(frame.GetMembers()), nil
}

func (a *API) presence(ctx context.Context, in *InRoom) (*answer[wire[*v1.Presence]], error) {
	if _, err := a.cfg.Room(in.Room); errors.Is(err, ErrNoRoom) {
		return nil, noRoom(in.Room)
	} else if err != nil {
		return nil, fault(err, nothingHappened)
	}
	pending, err := a.cfg.Calls.Presence(in.Room)
	if err != nil {
		return nil, fault(err, nothingHappened)
	}
	frame, err := answered(ctx, pending)
	if err != nil {
		return nil, err
	}
	return answerWith(frame.GetPresence()), nil
}

// answered gives the frame that a question is answered with.
func answered(ctx context.Context, pending *calls.Pending) (*v1.ServerFrame, error) {
	e, err := pending.Wait(ctx)
	if err != nil {
		return nil, fault(err, nothingHappened)
	}
	payload, _, err := proto.Next(proto.Binary, e.Frames[handoff.Headroom:])
	frame := &v1.ServerFrame{}
	if err == nil {
		err = proto.DecodeServerFrame(frame, proto.Binary, payload)
	}
	if err != nil {
		panic("BUG: an answer to the server API can't be read: " + err.Error())
	}
	return frame, nil
}

func (a *API) changeMember(ctx context.Context, in *changeMember) (*answer[wire[*v1.MemberChanged]], error) {
	b := &in.Body
	if f := nameFault("user", b.User); f != nil {
		return nil, f
	}
	if f := nameFault("by", b.By); b.By != "" && f != nil {
		return nil, f
	}
	frame, err := a.ask(ctx, handoff.MemberRequest{
		Kind: handoff.ChangeMember, Room: in.Room, User: b.By, Target: b.User, Action: b.Action, Role: b.Role, ForMS: b.ForMS, Reason: b.Reason,
	})
	if err != nil {
		return nil, err
	}
	return answerWith(frame.GetMember()), nil
}
