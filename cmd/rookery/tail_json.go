package main

import client "rookery/client/go"

// jsonMessage has the fields of the protocol's Message.
type jsonMessage struct {
	Room      string         `json:"room"`
	Seq       uint64         `json:"seq"`
	At        int64          `json:"at"`
	From      string         `json:"from"`
	Mark      bool           `json:"ephemeral,omitempty"`
	Key       string         `json:"key,omitempty"`
	ReplyTo   uint64         `json:"replyTo,omitempty"`
	Thread    uint64         `json:"thread,omitempty"`
	Mentions  []string       `json:"mentions,omitempty"`
	Kind      string         `json:"kind,omitempty"`
	Change    *jsonChange    `json:"change,omitempty"`
	Revision  uint64         `json:"revision,omitempty"`
	Edits     int            `json:"edits,omitempty"`
	Deleted   bool           `json:"deleted,omitempty"`
	Reactions []jsonReaction `json:"reactions,omitempty"`
	Pinned    bool           `json:"pinned,omitempty"`
	Replies   *jsonReplies   `json:"replies,omitempty"`
	Text      *string        `json:"text,omitempty"`
	Data      *[]byte        `json:"data,omitempty"`
}

type jsonReaction struct {
	Reaction string   `json:"reaction"`
	Count    int      `json:"count"`
	Users    []string `json:"users"`
	Own      bool     `json:"own,omitempty"`
}

type jsonReplies struct {
	Count int    `json:"count"`
	Last  uint64 `json:"last"`
}

type jsonChange struct {
	Target uint64     `json:"target"`
	Edit   *struct{}  `json:"edit,omitempty"`
	Delete *struct{}  `json:"delete,omitempty"`
	React  *jsonReact `json:"react,omitempty"`
	Pin    *jsonPin   `json:"pin,omitempty"`
}

type jsonReact struct {
	Reaction string `json:"reaction"`
	Remove   bool   `json:"remove,omitempty"`
}

type jsonPin struct {
	Remove bool `json:"remove,omitempty"`
}

func newJSONChange(c *client.Change) *jsonChange {
	if c == nil {
		return nil
	}
	change := &jsonChange{Target: c.Target}
	switch c.Op {
	case client.Edit:
		change.Edit = &struct{}{}
	case client.Delete:
		change.Delete = &struct{}{}
	case client.React:
		change.React = &jsonReact{c.Reaction, c.Remove}
	case client.Pin:
		change.Pin = &jsonPin{c.Remove}
	}
	return change
}
