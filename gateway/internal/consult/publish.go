package consult

import (
	"encoding/json"
	"errors"
	"fmt"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// publishBody is what the application is told of a publish.
type publishBody struct {
	Room      string          `json:"room"`
	User      string          `json:"user"`
	Session   string          `json:"session"`
	Key       string          `json:"key,omitempty"`
	Ephemeral bool            `json:"ephemeral,omitempty"`
	Message   json.RawMessage `json:"message"` // as a client would send it
}

// message is what a publish is to say instead. What is absent stays.
type message struct {
	Text     *string   `json:"text"`
	Data     []byte    `json:"data"`
	Kind     *string   `json:"kind"`
	Mentions *[]string `json:"mentions"`
}

// Ask takes a publish, which Config.Decided gets back, or says why it does not.
func (k *Keeper) Ask(c handoff.Command) *handoff.Refusal {
	return k.put(question{event: publishEvent, command: c, size: c.Size()})
}

func publishData(c *handoff.Command) (any, error) {
	said, ok := proto.AppendContentJSON(nil, c.Content)
	if !ok {
		return nil, errors.New("BUG: what is published can't be shown")
	}
	return publishBody{c.Room, c.User, c.From.String(), c.Key, c.Ephemeral, said}, nil
}

// changed is the content that the application puts in place of the one that was asked about, nil if that stands.
func (k *Keeper) changed(q *question, m *message) ([]byte, error) {
	if m == nil {
		return nil, nil
	}
	p := new(v1.Publish)
	if err := proto.DecodeContent(p, q.command.Content); err != nil {
		return nil, err
	}
	p.Key, p.Ephemeral = q.command.Key, q.command.Ephemeral
	switch {
	case m.Text != nil && m.Data != nil:
		return nil, errors.New("the answer has a message with text and data")
	case m.Text != nil:
		p.Content = &v1.Publish_Text{Text: *m.Text}
	case m.Data != nil:
		p.Content = &v1.Publish_Data{Data: m.Data}
	}
	if m.Kind != nil {
		p.Kind = *m.Kind
	}
	if m.Mentions != nil {
		p.Mentions = *m.Mentions
	}
	if fault := proto.CheckPublish(p); fault != "" {
		return nil, fmt.Errorf("the answer has a message that nobody could publish: %s", fault)
	}
	content := proto.AppendContent(nil, p)
	if len(content) > k.cfg.MessageBytes {
		return nil, fmt.Errorf("the answer has a message of %d bytes, and limits.message_bytes is %d", len(content), k.cfg.MessageBytes)
	}
	return content, nil
}

// tellPublish gives a publish back. Much may have happened to its user while it was with the application.
func (k *Keeper) tellPublish(c *handoff.Command, v verdict) {
	if v.refusal == nil {
		v.refusal = k.cfg.Standing(c)
	}
	if c.Refusal = v.refusal; c.Refusal == nil && v.content != nil {
		c.Content = v.content
	}
	k.cfg.Decided(*c)
}
