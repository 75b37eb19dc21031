package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	client "rookery/client/go"
	"rookery/proto"
)

const chatUsage = `Usage: rookery chat ROOM [FLAGS]

Shows the last messages of a room and what is new, and publishes each line that is typed.
What is typed while the gateway can't be reached is sent when it is back. Reading from a
pipe, it ends when all lines are durable and shown, with status 1 if some could not be.

  /join ROOM   go to another room
  /quit        leave, as Ctrl-C and Ctrl-D do
  //text       send a text that begins with a stroke
` + gatewayUsage

const (
	// chatHistory is how many old messages are shown on entering a room.
	chatHistory = 20
	// chatFinish is how long a line from a pipe may take, and the end of it.
	chatFinish = 10 * time.Second
	// chatQuit is how long a person who leaves waits for what was typed last.
	chatQuit = 2 * time.Second
)

// chat is a conversation by lines, on a terminal or a pipe.
func chat(ctx context.Context, args []string, p process) int {
	var gateway gatewayFlags
	set := newFlagSet("chat", p)
	gateway.add(set, p.environ)
	rest, status, done := parse(set, chatUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) == 0:
		return p.refuse("chat", "ROOM is missing: rookery chat ROOM")
	case len(rest) > 1:
		return p.refuse("chat", "argument %q: one ROOM only", rest[1])
	case !proto.ValidName(rest[0]):
		return p.refuse("chat", "%q is no name of a room: 1 to %d bytes of UTF-8 without control characters", rest[0], proto.MaxName)
	}
	config, err := gateway.config(p.environ)
	if err != nil {
		return p.refuse("chat", "%v", err)
	}
	display, restore, err := openDisplay(p)
	if err != nil {
		return p.fail("chat", err)
	}
	defer restore()
	_, terminal := display.(*screen)
	t := &talk{display: display, terminal: terminal, start: rest[0]}
	config.OnState = t.changed
	c, err := client.New(config)
	if err != nil {
		restore()
		return p.refuse("chat", "%v", err)
	}
	defer c.Close()
	t.client = c

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := t.run(ctx); err != nil {
		restore()
		return p.fail("chat", plainly(err))
	}
	return exitOK
}

// openDisplay takes the terminal over if there is one; restore gives it back and may be
// called twice.
func openDisplay(p process) (d display, restore func(), err error) {
	in, isFile := p.stdin.(*os.File)
	out, alsoFile := p.stdout.(*os.File)
	if !isFile || !alsoFile || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return &plain{p}, func() {}, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("take over the terminal: %w", err)
	}
	screen := newScreen(readWriter{in, out}, func() (int, int, error) { return term.GetSize(int(out.Fd())) })
	return screen, sync.OnceFunc(func() {
		fmt.Fprint(out, "\r\n") // leave the line that is being typed
		term.Restore(int(in.Fd()), before)
	}), nil
}

type readWriter struct{ in, out *os.File }

func (f readWriter) Read(p []byte) (int, error)  { return f.in.Read(p) }
func (f readWriter) Write(p []byte) (int, error) { return f.out.Write(p) }

// talk is one run of chat.
type talk struct {
	// Set at construction.
	display  display
	terminal bool
	start    string // the room of the command line
	client   *client.Client

	// Owned by run.
	name     string // of the room
	room     *visit // nil after a room that could not be joined
	receipts *receipts
	last     uint64 // message of this room that a pipe has published
	unsent   int    // lines of a pipe

	// Guarded by mu.
	mu     sync.Mutex
	told   teller
	online bool
	inside string // name, for the prompt
	user   string
}

// run reads lines until they end or ctx does.
func (t *talk) run(ctx context.Context) error {
	t.receipts = newReceipts(func(r receipt, err error) { t.failed(r.visit, r.text, err) })
	defer t.receipts.end()
	t.enter(ctx, t.start)
	defer func() { t.room.leave() }()
	lines, ended := t.display.lines(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.client.Done():
			return t.client.Err()
		case err := <-t.room.refused():
			if !t.terminal || t.name == t.start {
				return err // the room of the command line is what chat is for
			}
			t.display.note(safe(plainly(err).Error()))
			t.room.leave()
			t.room = nil
		case line, more := <-lines:
			if !more {
				if err := <-ended; err != nil {
					return err
				}
				return t.finish(ctx)
			}
			if quit := t.line(ctx, line); quit {
				return t.finish(ctx)
			}
		}
	}
}

// line does what a line says.
func (t *talk) line(ctx context.Context, line string) (quit bool) {
	command, argument, _ := strings.Cut(line, " ")
	argument = strings.TrimSpace(argument)
	switch {
	case command == "/quit":
		return true
	case command == "/join" && proto.ValidName(argument):
		t.room.leave()
		t.enter(ctx, argument)
		t.display.note("you are in " + safe(argument))
	case command == "/join":
		t.display.note("/join needs the name of a room")
	case strings.HasPrefix(line, "//"):
		t.say(ctx, line[1:])
	case strings.HasPrefix(line, "/"):
		t.display.note("there are /join ROOM and /quit; a text that begins with a stroke is typed with two")
	case strings.TrimSpace(line) != "":
		t.say(ctx, line)
	}
	return false
}

func (t *talk) enter(ctx context.Context, name string) {
	t.name, t.last = name, 0
	t.room = t.visit(ctx, name)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside = name
	t.display.place(name, t.online)
}

// say publishes. A person is not kept waiting; a pipe is, or it would fill the queue.
func (t *talk) say(ctx context.Context, text string) {
	publication := client.Publication{Room: t.name, Text: text}
	switch {
	case t.room == nil:
		t.display.note("you are in no room; /join ROOM enters one")
	case t.terminal:
		t.room.typed(text) // it stands there already
		pending, err := t.client.Enqueue(ctx, publication)
		if err != nil {
			t.failed(t.room, text, err)
			return
		}
		t.receipts.add(receipt{t.room, text, pending})
	default:
		ctx, cancel := context.WithTimeout(ctx, chatFinish)
		defer cancel()
		published, err := t.client.PublishMessage(ctx, publication)
		if err != nil {
			t.unsent++
			t.failed(t.room, text, err)
			return
		}
		t.last = published.Seq
	}
}

func (t *talk) failed(room *visit, text string, err error) {
	room.untyped(text)
	var failed *client.PublishError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	t.display.note(fmt.Sprintf("not sent: %s: %s", safe(text), safe(plainly(err).Error())))
}

// finish waits until what was typed is durable, and on a pipe also until it is shown.
func (t *talk) finish(ctx context.Context) error {
	if t.terminal {
		ctx, cancel := context.WithTimeout(ctx, chatQuit)
		defer cancel()
		return t.receipts.wait(ctx)
	}
	if t.unsent > 0 {
		return fmt.Errorf("%d of the lines were not acknowledged", t.unsent)
	}
	ctx, cancel := context.WithTimeout(ctx, chatFinish)
	defer cancel()
	return t.room.shown(ctx, t.last)
}

// changed is told every change of the client's state.
func (t *talk) changed(change client.StateChange) {
	t.mu.Lock()
	note := t.told.note(change)
	if change.State == client.Connected && note == "" && t.terminal {
		note = "connected as " + safe(change.User)
	}
	t.online = change.State == client.Connected
	if t.online {
		t.user = change.User
	}
	t.display.place(t.inside, t.online)
	t.mu.Unlock()
	if note != "" {
		t.display.note(note)
	}
}

// userName is the gateway's name for the user, "" before the first connection.
func (t *talk) userName() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.user
}

// teller puts changes of state into words, the same trouble once.
type teller struct{ trouble string }

// note is "" when there is nothing to say.
func (w *teller) note(change client.StateChange) string {
	switch {
	case change.State == client.Connected && w.trouble != "":
		w.trouble = ""
		return "connected again"
	case change.State == client.Waiting && change.Err != nil && change.Err.Error() != w.trouble:
		w.trouble = change.Err.Error()
		return safe(w.trouble) + "; trying again"
	}
	return ""
}
