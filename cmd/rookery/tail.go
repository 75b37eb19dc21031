package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	client "rookery/client/go"
)

const tailUsage = `Usage: rookery tail ROOM [FLAGS]

Prints the messages of a room, one a line, until it is interrupted: number, time, name and
text. It comes back by itself when the connection is lost and misses nothing that is
stored. Ephemeral messages have ~ and their key in place of a number. Without --after and --last
it prints what is new.
` + gatewayUsage

// tailFlags is what tail was asked for.
type tailFlags struct {
	gateway gatewayFlags
	after   uint64
	last    uint64
	count   uint64
	json    bool
}

// tail prints a room as it goes.
func tail(ctx context.Context, args []string, p process) int {
	var f tailFlags
	set := newFlagSet("tail", p)
	f.gateway.add(set, p.environ)
	set.Uint64Var(&f.after, "after", 0, "begin after message `number`; 0: with the first")
	set.Uint64Var(&f.last, "last", 0, "begin with the last `number` of messages")
	set.Uint64Var(&f.count, "count", 0, "end after `number` of messages")
	set.BoolVar(&f.json, "json", false, "print each message as a JSON object; data is base64")
	rest, status, done := parse(set, tailUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) == 0:
		return p.refuse("tail", "ROOM is missing: rookery tail ROOM")
	case len(rest) > 1:
		return p.refuse("tail", "argument %q: one ROOM only", rest[1])
	case given(set, "after") && given(set, "last"):
		return p.refuse("tail", "--after and --last are two beginnings; give one")
	case given(set, "count") && f.count == 0:
		return p.refuse("tail", "--count 0: there is nothing to print")
	}
	config, err := f.gateway.config(p.environ)
	if err != nil {
		return p.refuse("tail", "%v", err)
	}
	var told teller
	config.OnState = func(change client.StateChange) {
		if note := told.note(change); note != "" {
			fmt.Fprintf(p.stderr, "rookery tail: %s\n", note)
		}
	}
	c, err := client.New(config)
	if err != nil {
		return p.refuse("tail", "%v", err)
	}
	defer c.Close()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	var options client.JoinOptions
	switch {
	case given(set, "after"):
		options.After = &client.Position{Seq: f.after}
	case given(set, "last"):
		options.After, _, err = lastMessages(ctx, c, rest[0], f.last)
	}
	if err == nil {
		err = f.follow(ctx, c, rest[0], options, p)
	}
	if err != nil && ctx.Err() == nil {
		return p.fail("tail", plainly(err))
	}
	return exitOK
}

// lastMessages is the position before the last n messages of a room, whose newest is head.
// To join there, and not to print a page of history first, leaves one path for old messages
// and new ones.
func lastMessages(ctx context.Context, c *client.Client, room string, n uint64) (position *client.Position, head uint64, err error) {
	page, err := c.History(ctx, room, client.HistoryQuery{Limit: 1})
	if err != nil {
		return nil, 0, err
	}
	for _, newest := range page.Messages {
		head = newest.Seq
	}
	return &client.Position{Epoch: page.Epoch, Seq: head - min(n, head)}, head, nil
}

func (f *tailFlags) follow(ctx context.Context, c *client.Client, room string, options client.JoinOptions, p process) error {
	subscription, err := c.Join(ctx, room, options)
	if err != nil {
		return err
	}
	var printed uint64
	for message, err := range subscription.Messages(ctx) {
		var reset *client.ResetError
		var gap *client.GapError
		switch {
		case errors.As(err, &reset), errors.As(err, &gap):
			fmt.Fprintf(p.stderr, "rookery tail: %v\n", safe(err.Error()))
			continue
		case err != nil:
			return err
		}
		line := tailLine(message)
		if f.json {
			line = jsonLine(message)
		}
		if _, err := fmt.Fprintln(p.stdout, line); err != nil {
			return err
		}
		if printed++; printed == f.count {
			return nil
		}
	}
	return nil
}

// jsonLine has the fields of the protocol's own JSON.
func jsonLine(m client.Message) string {
	fields := jsonMessage{
		Room: m.Room, Seq: m.Seq, At: m.At.UnixMilli(), From: m.From, Mark: m.Ephemeral, Key: m.Key,
		ReplyTo: m.ReplyTo, Thread: m.Thread, Mentions: m.Mentions, Kind: m.Kind, Change: newJSONChange(m.Change),
		Revision: m.Revision, Edits: m.Edits, Deleted: m.Deleted, Pinned: m.Pinned,
	}
	for _, r := range m.Reactions {
		fields.Reactions = append(fields.Reactions, jsonReaction{r.Reaction, r.Count, r.Users, r.Own})
	}
	if m.Replies.Last != 0 {
		fields.Replies = &jsonReplies{m.Replies.Count, m.Replies.Last}
	}
	switch {
	case m.NoContent:
	case m.Data != nil:
		fields.Data = &m.Data
	default:
		fields.Text = &m.Text
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(fields); err != nil {
		panic("BUG: a message that JSON can't hold: " + err.Error())
	}
	// JSON lets some characters through that a terminal should not see.
	return escapeJSON(strings.TrimSuffix(out.String(), "\n"))
}

func escapeJSON(text string) string {
	if strings.IndexFunc(text, dangerous) < 0 {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		if dangerous(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}
