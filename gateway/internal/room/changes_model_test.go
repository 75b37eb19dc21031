package room

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	pb "google.golang.org/protobuf/proto"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage/changes"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// TestChangesModel does what users do, at random and one thing after the other, and compares what readers are given with a
// model that is a list of messages. Between restarts the index is left alone, removed, damaged, or is an old one; and
// retention takes what it likes.
func TestChangesModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ROOKERY_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("seed %d: repeat with ROOKERY_SEED=%d", seed, seed)
	lives, steps := 8, 150
	if testing.Short() {
		lives, steps = 4, 60
	}
	w := newWorld(t, rand.New(rand.NewPCG(seed, 0)))
	for range lives {
		w.open()
		w.check() // what the restart left
		for range steps {
			w.step()
		}
		w.check()
		w.close()
		w.spoilIndex()
	}
}

// world is the server's inside: log, index, rooms, and one loop's mailbox. For one goroutine.
type world struct {
	t      *testing.T
	random *rand.Rand
	dir    string
	log    *commitlog.Log
	index  *changes.Index
	rooms  *Rooms
	inbox  *handoff.Mailbox[handoff.Event]
	ring   chan struct{}
	id     uint64
	texts  int

	model   []*v1.Message // of the room, by number less one
	secrets map[string]bool
	begin   uint64
	aged    map[string][]byte // the index's files at an earlier end
}

const modelRoom = "r"

var modelUsers = []string{"alice", "bob", "carol"}

func newWorld(t *testing.T, random *rand.Rand) *world {
	return &world{t: t, random: random, dir: t.TempDir(), begin: 1, secrets: map[string]bool{}}
}

type realLog struct{ *commitlog.Log }

func (l realLog) Open(committed func(n int, err error)) Producer { return l.NewProducer(committed) }

func (w *world) open() {
	w.t.Helper()
	var err error
	quiet := slog.New(slog.DiscardHandler)
	if w.log, err = commitlog.Open(commitlog.Config{Dir: w.dir, FS: vfs.Disk(), SegmentBytes: 64 << 10, Sync: commitlog.SyncNever, Logger: quiet}); err != nil {
		w.t.Fatal(err)
	}
	if w.index, err = changes.Open(changes.Config{Log: w.log, Dir: w.indexDir(), Read: Facts, Logger: quiet}); err != nil {
		w.t.Fatal(err)
	}
	w.inbox, w.ring = handoff.NewMailbox[handoff.Event](1<<20), make(chan struct{}, 1)
	w.inbox.Listen(func() {
		select {
		case w.ring <- struct{}{}:
		default:
		}
	})
	if w.rooms, err = Start(Config{
		Log: realLog{w.log}, Changes: w.index, Loops: []*handoff.Mailbox[handoff.Event]{w.inbox}, Shards: 1, Readers: 1,
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	w.t.Helper()
	w.rooms.Close()
	if err := w.index.Close(); err != nil {
		w.t.Fatal(err)
	}
	if err := w.log.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) indexDir() string { return filepath.Join(w.dir, "changes") }

// spoilIndex does to the files of the index what may happen to them between two lives.
func (w *world) spoilIndex() {
	tree := filepath.Join(w.indexDir(), "changes.db")
	mark := filepath.Join(w.indexDir(), "changes.mark")
	content, err := os.ReadFile(tree)
	if err != nil {
		w.t.Fatal(err)
	}
	switch w.random.IntN(7) {
	case 0:
		os.Remove(tree)
	case 1:
		os.Remove(mark)
	case 2:
		content[w.random.IntN(len(content))] ^= 1 << w.random.IntN(8)
		os.WriteFile(tree, content, 0o600)
	case 3:
		os.Truncate(tree, int64(w.random.IntN(len(content))))
	case 4:
		os.WriteFile(mark, []byte("open another-boot\n"), 0o600)
	case 5: // behind, as after a kill
		for path, old := range w.aged {
			os.WriteFile(path, old, 0o600)
		}
	default:
		old, _ := os.ReadFile(mark)
		w.aged = map[string][]byte{tree: content, mark: old}
	}
}

// next is the next event of the loop.
func (w *world) next() handoff.Event {
	w.t.Helper()
	for {
		if events := w.inbox.Take(nil); len(events) > 0 {
			if len(events) != 1 {
				w.t.Fatalf("%d events came at once for one request", len(events))
			}
			w.inbox.Release(events[0].Size)
			return events[0]
		}
		select {
		case <-w.ring:
		case <-time.After(30 * time.Second):
			w.t.Fatal("nothing came")
		}
	}
}

// publish gives the number of a publish, or the name of the error.
func (w *world) publish(user string, p *v1.Publish) (uint64, string) {
	w.t.Helper()
	w.id++
	p.Room = modelRoom
	if fault := proto.CheckPublish(p); fault != "" {
		w.t.Fatalf("%v: %s", p, fault)
	}
	c := handoff.Command{
		Kind: handoff.Publish, ID: w.id, Room: modelRoom, User: user, Key: fmt.Sprint("k", w.id),
		Content: proto.AppendContent(nil, p), Refers: max(p.ReplyTo, p.Thread),
	}
	if p.Change != nil {
		c.Kind, c.Change = handoff.Alter, &handoff.Change{Change: p.Change, Moderates: user == "carol", Pins: true}
	}
	if !w.rooms.Send(c) {
		w.t.Fatal("a mailbox is full")
	}
	e := w.next()
	if e.ID != w.id {
		w.t.Fatalf("answered %+v, want id %d", e, w.id)
	}
	if e.Kind == handoff.Refused {
		return 0, e.Code.Name
	}
	m := &v1.Message{
		Room: modelRoom, Seq: e.Seq, At: uint64(e.At), From: user,
		ReplyTo: p.ReplyTo, Thread: p.Thread, Mentions: p.Mentions, Kind: p.Kind, Change: p.Change,
	}
	if p.Content != nil {
		m.Content = &v1.Message_Text{Text: p.GetText()}
	}
	if e.Seq != uint64(len(w.model))+1 {
		w.t.Fatalf("number %d was given out, want %d", e.Seq, len(w.model)+1)
	}
	w.model = append(w.model, m)
	return e.Seq, ""
}

func (w *world) text() *v1.Publish_Text {
	w.texts++
	return &v1.Publish_Text{Text: fmt.Sprintf("text-%d.", w.texts)}
}

func (w *world) mentions() (users []string) {
	if w.random.IntN(3) == 0 {
		users = []string{modelUsers[w.random.IntN(len(modelUsers))]}
	}
	return users
}

// any gives a number that may be anything: a message, a change, one that is gone, one that never was.
func (w *world) any() uint64 { return 1 + uint64(w.random.IntN(len(w.model)+2)) }

func (w *world) step() {
	user := modelUsers[w.random.IntN(len(modelUsers))]
	if len(w.model) < 3 || w.random.IntN(4) == 0 {
		p := &v1.Publish{Content: w.text(), Mentions: w.mentions()}
		if len(w.model) > 0 && w.random.IntN(2) == 0 {
			p.Thread, p.ReplyTo = 1+uint64(w.random.IntN(len(w.model))), 1
		}
		if w.random.IntN(5) == 0 {
			p.Kind = "poll"
		}
		w.must("publish", user, p, "")
		if p.Thread != 0 {
			w.replied(p.Thread)
		}
		return
	}
	if w.random.IntN(60) == 0 {
		w.begin = max(w.begin, uint64(w.random.IntN(len(w.model))))
		if err := w.log.Trim(modelRoom, w.begin); err != nil {
			w.t.Fatal(err)
		}
		w.begin = w.log.Begin(modelRoom)
		return
	}
	w.change(user, w.any())
}

func (w *world) must(what, user string, p *v1.Publish, want string) (seq uint64) {
	w.t.Helper()
	seq, got := w.publish(user, p)
	if got != want {
		w.t.Fatalf("%s by %s, %v: answered %q, want %q", what, user, p, got, want)
	}
	return seq
}

// change makes a change that the model says the answer to.
func (w *world) change(user string, target uint64) {
	w.t.Helper()
	var m *v1.Message
	if target <= uint64(len(w.model)) {
		m = w.model[target-1]
	}
	missing := m == nil || target < w.begin || m.Change != nil
	want := func(rules ...any) string {
		if missing {
			return proto.ErrMessageNotFound.Name
		}
		if m.Deleted {
			return proto.ErrMessageDeleted.Name
		}
		for i := 0; i < len(rules); i += 2 {
			if rules[i].(bool) {
				return rules[i+1].(proto.ErrorCode).Name
			}
		}
		return ""
	}
	p := &v1.Publish{Change: &v1.Change{Target: target}}
	switch w.random.IntN(6) {
	case 0, 1:
		p.Content, p.Mentions = w.text(), w.mentions()
		p.Change.Op = &v1.Change_Edit{Edit: &v1.Edit{}}
		if seq := w.must("edit", user, p, want(m.GetFrom() != user, proto.ErrChangeForbidden)); seq != 0 {
			w.forget(m)
			m.Content, m.Mentions, m.Edits, m.Revision = w.model[seq-1].Content, p.Mentions, m.Edits+1, seq
		}
	case 2:
		p.Change.Op = &v1.Change_Delete{Delete: &v1.Delete{}}
		answer := want(m.GetFrom() != user && user != "carol", proto.ErrChangeForbidden)
		if answer == proto.ErrMessageDeleted.Name {
			answer = proto.ErrUnchanged.Name
		}
		if seq := w.must("delete", user, p, answer); seq != 0 {
			w.forget(m)
			m.Content, m.Mentions, m.Kind, m.Reactions, m.Pinned = nil, nil, "", nil, false
			m.Deleted, m.Revision = true, seq
		}
	case 3, 4:
		reaction, remove := []string{"+1", "heart", "eyes"}[w.random.IntN(3)], w.random.IntN(3) == 0
		p.Change.Op = &v1.Change_React{React: &v1.React{Reaction: reaction, Remove: remove}}
		if seq := w.must("react", user, p, want(!missing && has(m, reaction, user) != remove, proto.ErrUnchanged)); seq != 0 {
			react(m, reaction, user, remove)
			m.Revision = seq
		}
	case 5:
		remove := w.random.IntN(2) == 0
		p.Change.Op = &v1.Change_Pin{Pin: &v1.Pin{Remove: remove}}
		if seq := w.must("pin", user, p, want(!missing && m.Pinned != remove, proto.ErrUnchanged)); seq != 0 {
			m.Pinned, m.Revision = !remove, seq
		}
	}
}

func (w *world) replied(root uint64) {
	m := w.model[root-1]
	if m.Replies == nil {
		m.Replies = &v1.Replies{}
	}
	m.Replies.Count++
	m.Replies.Last = uint64(len(w.model))
}

// forget notes that nobody must ever be given the present text of a message again.
func (w *world) forget(m *v1.Message) { w.secrets[m.GetText()] = true }

func has(m *v1.Message, reaction, user string) bool {
	return slices.ContainsFunc(m.Reactions, func(r *v1.Reaction) bool {
		return r.Reaction == reaction && slices.Contains(r.Users, user)
	})
}

func react(m *v1.Message, reaction, user string, remove bool) {
	i := slices.IndexFunc(m.Reactions, func(r *v1.Reaction) bool { return r.Reaction == reaction })
	if i < 0 {
		i = len(m.Reactions)
		m.Reactions = append(m.Reactions, &v1.Reaction{Reaction: reaction})
	}
	r := m.Reactions[i]
	if remove {
		r.Users = slices.DeleteFunc(r.Users, func(u string) bool { return u == user })
	} else {
		r.Users = append(r.Users, user)
		slices.Sort(r.Users)
	}
	if r.Count = uint32(len(r.Users)); r.Count == 0 {
		m.Reactions = slices.Delete(m.Reactions, i, i+1)
	}
}

// as is a message of the model as a user is given it.
func as(m *v1.Message, user string) *v1.Message {
	m = pb.Clone(m).(*v1.Message)
	for _, r := range m.Reactions {
		r.Own = slices.Contains(r.Users, user)
	}
	return m
}

// frames asks a reader and gives the frames of its answer. Nothing that is forgotten is in their bytes.
func (w *world) frames(read handoff.Read) (frames []*v1.ServerFrame, e handoff.Event) {
	w.t.Helper()
	read.Room, read.Codec = modelRoom, []proto.Codec{proto.Binary, proto.JSON}[w.random.IntN(2)]
	if !w.rooms.Read(read) {
		w.t.Fatal("the readers are full")
	}
	if e = w.next(); e.Frames == nil {
		w.t.Fatalf("%+v was answered with %s", read, e.Code.Name)
	}
	for i := range w.texts {
		text := fmt.Sprintf("text-%d.", i+1)
		if w.secrets[text] && bytes.Contains(e.Frames, []byte(text)) {
			w.t.Fatalf("%+v was answered with what is gone, %s", read, text)
		}
	}
	for rest := e.Frames[handoff.Headroom:]; len(rest) > 0; {
		frame, after, err := proto.Next(read.Codec, rest)
		f := &v1.ServerFrame{}
		if err == nil {
			err = proto.DecodeServerFrame(f, read.Codec, frame)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		frames, rest = append(frames, f), after
	}
	return frames, e
}

func (w *world) check() {
	w.t.Helper()
	user := modelUsers[w.random.IntN(len(modelUsers))]
	all := func(*v1.Message) bool { return true }
	w.checkList(user, handoff.Read{}, all)
	w.checkList(user, handoff.Read{List: handoff.Pinned}, func(m *v1.Message) bool { return m.Pinned })
	w.checkList(user, handoff.Read{List: handoff.Mentions}, func(m *v1.Message) bool { return slices.Contains(m.Mentions, user) })
	for _, m := range w.model {
		if m.Replies != nil && m.Seq >= w.begin && m.Change == nil && w.random.IntN(4) == 0 {
			w.checkList(user, handoff.Read{List: handoff.Thread, Root: m.Seq}, func(other *v1.Message) bool {
				return other.Seq == m.Seq || other.Thread == m.Seq
			})
		}
	}
	w.checkReplay(user)
}

// checkList reads a list from end to end in both directions.
func (w *world) checkList(user string, read handoff.Read, belongs func(*v1.Message) bool) {
	w.t.Helper()
	var want []*v1.Message
	for _, m := range w.model {
		if m.Seq >= w.begin && m.Change == nil && belongs(m) {
			want = append(want, as(m, user))
		}
	}
	read.User, read.Limit = user, 1+w.random.IntN(40)
	for _, read.Kind = range []handoff.ReadKind{handoff.HistoryAfter, handoff.HistoryBefore} {
		var got []*v1.Message
		read.Position = 0
		for more := true; more; {
			frames, _ := w.frames(read)
			page := frames[0].GetHistory()
			if more = page.More; len(page.Messages) == 0 {
				if more {
					w.t.Fatalf("%+v: an empty page says that there is more", read)
				}
				break
			}
			messages := slices.DeleteFunc(slices.Clone(page.Messages), func(m *v1.Message) bool { return m.Change != nil })
			if read.Kind == handoff.HistoryAfter {
				got = append(got, messages...)
				read.Position = page.Messages[len(page.Messages)-1].Seq
			} else {
				got = append(slices.Clone(messages), got...)
				read.Position = page.Messages[0].Seq
			}
		}
		w.compare(fmt.Sprintf("%+v", read), got, want)
	}
}

func (w *world) compare(what string, got, want []*v1.Message) {
	w.t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !pb.Equal(got[i], want[i]) {
			line := func(list []*v1.Message) string {
				if i < len(list) {
					return list[i].String()
				}
				return "nothing"
			}
			w.t.Fatalf("%s: %d and %d messages; at %d\n got %s\nwant %s", what, len(got), len(want), i, line(got), line(want))
		}
	}
}

// checkReplay catches up from the beginning and comes to the model.
func (w *world) checkReplay(user string) {
	w.t.Helper()
	held := map[uint64]*v1.Message{}
	for position := uint64(0); position < uint64(len(w.model)); {
		frames, e := w.frames(handoff.Read{Kind: handoff.Replay, Position: position, User: user})
		if e.Seq <= position {
			w.t.Fatalf("the position stays at %d", position)
		}
		position = e.Seq
		for _, f := range frames {
			if m := f.GetMessage(); m != nil {
				w.hold(held, m)
			}
		}
	}
	for _, m := range w.model {
		if m.Change == nil && m.Seq >= w.begin && !pb.Equal(held[m.Seq], as(m, user)) {
			w.t.Fatalf("caught up to\n%v\nwant\n%v", held[m.Seq], as(m, user))
		}
	}
}

// hold takes a message, or a change, which has to be in its target already.
func (w *world) hold(held map[uint64]*v1.Message, m *v1.Message) {
	if m.Change == nil {
		held[m.Seq] = m
		return
	}
	if target := held[m.Change.Target]; target != nil && m.Seq > target.Revision {
		w.t.Fatalf("change %d of message %d is not in it, though both are of one reading", m.Seq, target.Seq)
	}
}
