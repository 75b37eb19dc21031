package consult

import (
	"encoding/json"
	"fmt"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// connectBody is what the application is told of a connect.
type connectBody struct {
	User      string `json:"user"`
	Session   string `json:"session"`
	Address   string `json:"address"`
	Transport string `json:"transport"`
	Codec     string `json:"codec"`
	Renewal   bool   `json:"renewal"`
	Expires   int64  `json:"expires,omitempty"` // Unix milliseconds
	Claims    any    `json:"claims"`
}

// Connect takes a connect, which its loop gets Granted for, or says why it does not.
func (k *Keeper) Connect(c handoff.Connect) *handoff.Refusal {
	if !k.cfg.AskConnect {
		k.tellConnect(&c, verdict{})
		return nil
	}
	return k.put(question{event: connectEvent, connect: c, size: c.Size()})
}

func (k *Keeper) connectData(c *handoff.Connect) any {
	b := connectBody{
		User: c.User, Session: c.From.String(), Address: c.Address, Transport: "websocket", Codec: "binary", Renewal: c.Renewal,
		Expires: c.Expires, Claims: k.cfg.Claims(c.Rights),
	}
	if c.Stream {
		b.Transport = "tcp"
	}
	if c.Events {
		b.Transport = "events"
	}
	if c.Codec == proto.JSON {
		b.Codec = "json"
	}
	return b
}

// grant reads the claims of an answer, nil if there are none. A null is none, as of every other field: read as claims it would say nothing
// of rooms, which is every room.
func (k *Keeper) grant(q *question, claims json.RawMessage) (*handoff.Grant, error) {
	if claims == nil || string(claims) == "null" {
		return nil, nil
	}
	rights, err := k.cfg.Rights(q.connect.User, claims)
	if err != nil {
		return nil, fmt.Errorf("the claims of the answer can't be used: %w", err)
	}
	return &handoff.Grant{Rights: rights}, nil
}

func (k *Keeper) tellConnect(c *handoff.Connect, v verdict) {
	e := handoff.Event{Kind: handoff.Granted, To: c.From, ID: c.ID, Grant: v.grant, Size: handoff.ReplySize}
	if v.refusal != nil {
		e.Code, e.Text, e.At = v.refusal.Code, v.refusal.Text, v.refusal.Wait.Milliseconds()
	}
	k.cfg.Loops[c.From.Loop].PutAlways(e, e.Size)
}
