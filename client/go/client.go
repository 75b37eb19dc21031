package client

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// Client holds one connection to a gateway, opening it again whenever it is lost. Safe for
// concurrent use.
type Client struct{ machine *machine }

// New checks config and starts to connect. The caller must call Close.
func New(config Config) (*Client, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Client{machine: startMachine(config)}, nil
}

// Close ends the client: subscriptions end, what waits fails with a *ClosedError. It
// returns when the socket is closed and all goroutines but OnState's have ended, which
// takes a second when the server is slow to answer.
func (c *Client) Close() {
	c.machine.post(func() { c.machine.shut(nil) })
	c.machine.wait.Wait()
}

// Done is closed when the client is, by Close or for good by the server; see Err.
func (c *Client) Done() <-chan struct{} { return c.machine.done }

// Err is nil until Done is closed, then a *ClosedError.
func (c *Client) Err() error {
	select {
	case <-c.machine.done:
		return c.machine.closed
	default:
		return nil
	}
}

// Wake says that now is a good time: in the middle of a wait it connects at once, on a
// connection it asks for a sign of life. For what the application knows and no timer does,
// such as a machine that woke up; never to be called in a loop.
func (c *Client) Wake() { c.machine.post(c.machine.wakeUp) }

// JoinOptions says where a subscription starts.
type JoinOptions struct {
	// After is the last position that the application has seen; &Position{} for
	// everything. nil: only what is new.
	After *Position
	// Buffer is how many messages may wait for the application. 0: 1,024. See the
	// package's doc for what happens beyond.
	Buffer int
}

// Join subscribes to a room and returns when the server has agreed. From then on the
// subscription lasts until Leave or Close, across connections. When ctx ends first, the
// room is left.
func (c *Client) Join(ctx context.Context, room string, options JoinOptions) (*Subscription, error) {
	if !proto.ValidName(room) {
		return nil, fmt.Errorf("join room %q: its name %w", room, errName)
	}
	if options.Buffer < 0 {
		return nil, fmt.Errorf("join room %q: Buffer %d must not be negative", room, options.Buffer)
	}
	r := newRoom(c.machine, room, options)
	first := make(chan error, 1)
	err := c.machine.call(ctx, func() { c.machine.join(r, first) })
	if err == nil {
		select {
		case err = <-first:
		case <-ctx.Done():
			err = ctx.Err()
			c.machine.post(func() { c.machine.leave(r) })
		}
	}
	if err != nil {
		return nil, fmt.Errorf("join room %q: %w", room, err)
	}
	return r.subscription, nil
}

// Publish sends a text and returns when it is durable. Joining the room is not needed.
// When ctx ends first the error tells the key, and the message may be stored or not.
func (c *Client) Publish(ctx context.Context, room, text string) (Published, error) {
	return c.PublishMessage(ctx, Publication{Room: room, Text: text})
}

// PublishData is Publish for bytes, which belong to the client until it returns.
func (c *Client) PublishData(ctx context.Context, room string, data []byte) (Published, error) {
	if data == nil {
		data = []byte{}
	}
	return c.PublishMessage(ctx, Publication{Room: room, Data: data})
}

// PublishMessage is Publish with a key of the application's own.
func (c *Client) PublishMessage(ctx context.Context, p Publication) (Published, error) {
	pending, err := c.Enqueue(ctx, p)
	if err != nil {
		return Published{}, err
	}
	select {
	case <-pending.done:
	case <-ctx.Done():
		// The machine settles it, so that it can't be sent after this call has returned.
		c.machine.post(func() { c.machine.outbox.withdraw(pending, ctx.Err()) })
		<-pending.done
	}
	return pending.result, pending.err
}

// Enqueue is PublishMessage without waiting for the server. Messages of one room are sent
// in the order of the calls.
func (c *Client) Enqueue(ctx context.Context, p Publication) (*Pending, error) {
	pending := newPending(p)
	if fault := pending.publication.check(); fault != nil {
		return nil, pending.failure(fault)
	}
	refused := make(chan error, 1)
	err := c.machine.call(ctx, func() { refused <- c.machine.outbox.add(pending) })
	if err == nil {
		err = <-refused
	}
	if err != nil {
		return nil, pending.failure(err)
	}
	return pending, nil
}

// check finds what the server would refuse, some of it by closing the connection.
func (p *Publication) check() error {
	switch {
	case !proto.ValidName(p.Room):
		return fmt.Errorf("the name of the room %w", errName)
	case len(p.Key) > proto.MaxKey || !utf8.ValidString(p.Key):
		return fmt.Errorf("the key must be at most %d bytes of UTF-8", proto.MaxKey)
	case !utf8.ValidString(p.Text):
		return fmt.Errorf("the text is no UTF-8: publish it as data")
	}
	if fault := proto.CheckPublish(p.frame()); fault != "" {
		return errors.New(fault)
	}
	return nil
}

// SendEphemeral sends a message to who has joined the room now. It is not stored, and not sent
// later or again: without a connection the error is ErrNotConnected. It does not wait for the server,
// which answers nothing, so a refusal is not noticed: use PublishEphemeral once to learn whether you may. For who is
// behind, this process among them, a newer message with the same room and key takes the place of an older one.
func (c *Client) SendEphemeral(p Publication) error {
	return c.ephemeral(context.Background(), p, nil)
}

// PublishEphemeral is SendEphemeral that waits for the server to say that the message is on its
// way, or why not.
func (c *Client) PublishEphemeral(ctx context.Context, p Publication) error {
	return c.ephemeral(ctx, p, make(chan error, 1))
}

func (c *Client) ephemeral(ctx context.Context, p Publication, answer chan error) error {
	err := p.check()
	if err == nil {
		taken := make(chan error, 1)
		if err = c.machine.call(ctx, func() { taken <- c.machine.passOn(p, answer) }); err == nil {
			err = <-taken
		}
	}
	if err == nil && answer != nil {
		select {
		case err = <-answer:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		return &PublishError{Room: p.Room, Key: p.Key, Err: err}
	}
	return nil
}

// History reads a page of a room's past.
func (c *Client) History(ctx context.Context, room string, query HistoryQuery) (Page, error) {
	if err := checkQuery(room, query); err != nil {
		return Page{}, fmt.Errorf("read history of room %q: %w", room, err)
	}
	request := &v1.HistoryRequest{
		Room: room, Limit: uint32(query.Limit), After: query.After,
		Thread: query.Thread, Pinned: query.Pinned, Mentions: query.Mentions,
	}
	if query.Before != 0 {
		request.Before = &query.Before
	}
	var page Page
	frame := &v1.ClientFrame{Op: &v1.ClientFrame_History{History: request}}
	err := c.machine.read(ctx, newRead(frame, func(reply *v1.ServerFrame) bool {
		history := reply.GetHistory()
		if history != nil {
			page = newPage(history)
		}
		return history != nil
	}))
	if err != nil {
		return Page{}, fmt.Errorf("read history of room %q: %w", room, err)
	}
	return page, nil
}

func checkQuery(room string, query HistoryQuery) error {
	switch {
	case !proto.ValidName(room):
		return fmt.Errorf("its name %w", errName)
	case query.Before != 0 && query.After != nil:
		return fmt.Errorf("ask for Before or After, not both")
	case query.Limit < 0 || query.Limit > proto.MaxHistory:
		return fmt.Errorf("limit %d must be 0 to %d", query.Limit, proto.MaxHistory)
	}
	return nil
}
