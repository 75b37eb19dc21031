package gateway

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/internal/consult"
	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/loop"
	"rookery/gateway/internal/members"
	"rookery/gateway/internal/notice"
	"rookery/gateway/internal/room"
	"rookery/proto"
)

// startConsult starts what asks the application, nil if it is asked nothing. The rooms and the keeper of members come after it: nobody asks
// before they are there.
func (s *Server) startConsult(loops []*handoff.Mailbox[handoff.Event], kind func(string) handoff.RoomKind) *consult.Keeper {
	c := s.cfg.Webhooks
	if !c.has(ConnectWebhook) && !c.has(PublishWebhook) && !c.has(DisconnectWebhook) {
		return nil
	}
	return consult.Start(consult.Config{
		Hook:         s.hook,
		Loops:        loops,
		Decided:      func(c handoff.Command) { s.rooms.Decided(c) },
		Timeout:      c.Timeout,
		Concurrency:  c.Concurrency,
		Allow:        c.OnFailure == FailureAllows,
		Standing:     func(c *handoff.Command) *handoff.Refusal { return s.standing(c, kind(c.Room)) },
		Claims:       claimsOf,
		Rights:       rightsOf,
		AskConnect:   c.has(ConnectWebhook),
		TellEnded:    c.has(DisconnectWebhook),
		MessageBytes: s.cfg.Limits.MessageBytes,
		Logger:       s.log,
	})
}

// application is whom the loops ask and tell; an interface that holds no nil.
func (s *Server) application() loop.Application {
	if !s.cfg.Webhooks.has(ConnectWebhook) && !s.cfg.Webhooks.has(DisconnectWebhook) {
		return nil
	}
	return s.consult
}

// asker is the same for the rooms.
func (s *Server) asker() room.Asker {
	if s.consult == nil {
		return nil
	}
	return s.consult
}

// consultStats are zero while nobody is asked, noticeStats while nobody is told.
func (s *Server) consultStats() consult.Stats {
	if s.consult == nil {
		return consult.Stats{}
	}
	return s.consult.Stats()
}

func (s *Server) noticeStats() notice.Stats {
	if s.notices == nil {
		return notice.Stats{}
	}
	return s.notices.Stats()
}

// stopWebhooks answers what waits for the application, and tells it nothing more.
func (s *Server) stopWebhooks() {
	if s.hook == nil {
		return
	}
	if s.notices != nil {
		if err := s.notices.Close(); err != nil {
			s.log.Error("notices of members were not closed cleanly; what was told last may be told again", "err", err)
		}
	}
	if s.consult != nil {
		s.consult.Close()
	}
	s.hook.Close()
}

// standing says why somebody may not publish any more, who might when the application was asked: they were banned, removed or muted meanwhile.
func (s *Server) standing(c *handoff.Command, kind handoff.RoomKind) *handoff.Refusal {
	refuse := func(code proto.ErrorCode, format string, values ...any) *handoff.Refusal {
		return &handoff.Refusal{Code: code, Text: fmt.Sprintf(format, values...)}
	}
	if until := s.members.Banned(c.User); until != 0 {
		return refuse(proto.ErrBanned, "You are banned from this server%s.", handoff.UntilWhen(until))
	}
	if kind == handoff.Plain {
		return nil
	}
	is, err := members.Describe(memberStore{s.catalog}, kind, c.Room, c.User, time.Now())
	switch {
	case err != nil:
		s.log.Error("members can't be read", "room", c.Room, "err", err)
		return refuse(proto.ErrInternal, "The members can't be read; send again later.")
	case is == nil:
		return refuse(proto.ErrNotMember, "You are not a member of %q any more.", c.Room)
	case is.MutedUntil != nil:
		return refuse(proto.ErrMuted, "You are muted in %q%s.", c.Room, handoff.UntilWhen(int64(*is.MutedUntil)))
	}
	role, _ := handoff.ParseRole(is.Role)
	if c.Moderates {
		role = max(role, handoff.RoleModerator)
	}
	if speak, _ := handoff.ParseRole(is.Speak); role < speak {
		return refuse(proto.ErrRoleForbidden, "You are a %s of %q, and it takes a %s to publish there.", role, c.Room, speak)
	}
	return nil
}

// claimsOf shows rights as the claims of a token; without any all rooms are open.
func claimsOf(r *identity.Rights) any {
	if r == nil {
		return struct{}{}
	}
	shown := map[string]any{"rooms": patterns(r.Join), "publish": patterns(r.Publish), "create": patterns(r.Create)}
	if r.Moderate != nil {
		shown["moderate"] = patterns(r.Moderate)
	}
	if r.Rates != nil {
		shown["limits"] = limits{r.Rates}
	}
	return shown
}

// rightsOf reads rights as the claims of a token have them. What else a token says stands for nothing here.
func rightsOf(user string, claims json.RawMessage) (*identity.Rights, error) {
	var c tokenClaims
	if err := json.Unmarshal(claims, &c); err != nil {
		return nil, err
	}
	c.Subject, c.ID, c.IssuedAt, c.ExpiresAt = user, "", nil, jwt.NewNumericDate(time.Now())
	who, err := c.identity(0)
	return who.Rights, err
}
