package gateway_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	v1 "rookery/proto/rookery/v1"
)

// people is the plain model of a few users in a few groups, and drives a gateway beside it.
type people struct {
	t     *testing.T
	rng   *rand.Rand
	srv   *gatewaytest.Server
	users []string
	rooms map[string]*modelRoom
	live  []*device
	zoe   *peer // looks on: is in every room, says and marks nothing
	seen  map[string]*v1.Presence
}

type modelRoom struct {
	messages []modelMessage // by sequence number - 1
	stands   map[string]*[2]uint64
}

type modelMessage struct {
	from     string
	mentions []string
	change   bool
	deleted  bool
}

type device struct {
	*peer
	user   string
	joined []string
	away   bool
}

// TestPeopleAgainstModel: users connect with several devices, join, publish, edit, delete, mark in no order, and lose their connections without
// a word; the server stops and starts. What the others are told, and what sync and receipts say, is what a plain model says.
func TestPeopleAgainstModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ROOKERY_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("seed %d: repeat with ROOKERY_SEED=%d", seed, seed)
	data := t.TempDir()
	m := &people{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), users: []string{"ann", "ben", "cas", "dee"}, rooms: map[string]*modelRoom{},
	}
	m.start(data)
	for i := range 3 {
		name := fmt.Sprint("group:", i)
		m.zoe.create(&v1.Create{Room: name})
		r := &modelRoom{stands: map[string]*[2]uint64{"zoe": {}}}
		for _, user := range m.users {
			m.zoe.change(name, "invite", user)
			r.stands[user] = &[2]uint64{}
		}
		m.rooms[name] = r
	}
	m.watch()
	for round := range 6 {
		if round == 3 {
			m.srv.Stop()
			m.live = nil
			m.start(data)
			m.watch()
		}
		for range 60 {
			m.step()
		}
		m.check()
	}
}

func (m *people) start(data string) {
	m.srv = gatewaytest.Start(m.t, func(c *gateway.Config) {
		c.Data, c.Loops, c.Rooms.PresenceGrace = data, 2, 100*time.Millisecond
	})
	m.zoe = login(m.t, m.srv.Addr(), wires[0], "zoe")
}

func (m *people) watch() {
	m.seen = map[string]*v1.Presence{}
	for _, room := range m.names() {
		m.zoe.answer(m.zoe.join(room, nil, ""))
		id := m.zoe.request(&v1.ClientFrame{Op: &v1.ClientFrame_Presence{Presence: &v1.PresenceRequest{Room: room, Watch: true}}})
		m.seen[room] = m.zoe.answer(id).GetPresence()
	}
}

func (m *people) names() []string { return slices.Sorted(maps.Keys(m.rooms)) }

func pick[T any](rng *rand.Rand, of []T) T { return of[rng.IntN(len(of))] }

func (m *people) step() {
	if len(m.live) == 0 || m.rng.IntN(8) == 0 && len(m.live) < 12 {
		m.connect()
		return
	}
	d := pick(m.rng, m.live)
	if len(d.joined) == 0 {
		return
	}
	room := pick(m.rng, d.joined)
	switch n := m.rng.IntN(20); {
	case n < 2:
		m.drop(d)
	case n < 3:
		d.away = !d.away
		state := map[bool]string{true: "away", false: "online"}[d.away]
		d.answer(d.request(&v1.ClientFrame{Op: &v1.ClientFrame_State{State: &v1.StateRequest{State: state}}}))
	case n < 4:
		d.joined = slices.DeleteFunc(d.joined, func(r string) bool { return r == room })
		d.answer(d.request(&v1.ClientFrame{Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}}))
	case n < 11:
		m.publish(d, room)
	case n < 13:
		m.change(d, room)
	default:
		m.mark(d, room)
	}
}

func (m *people) connect() {
	user := pick(m.rng, m.users)
	d := &device{peer: login(m.t, m.srv.Addr(), pick(m.rng, wires), user), user: user}
	for _, room := range m.names() {
		if m.rng.IntN(3) > 0 {
			j, head := d.answer(d.join(room, nil, "")).GetJoined(), uint64(len(m.rooms[room].messages))
			if j == nil || j.Head > head {
				m.t.Fatalf("%s joins %s: %v, the model has %d messages", user, room, j, head)
			}
			// The joiner's loop may not have seen what another one has acknowledged: then it follows, without a gap.
			for seq := j.Head + 1; seq <= head; seq++ {
				d.until(func(f *v1.ServerFrame) bool { return f.GetMessage().GetSeq() == seq })
			}
			d.joined = append(d.joined, room)
		}
	}
	m.live = append(m.live, d)
}

// drop ends a connection without a word, in one of the two ways that a kernel has.
func (m *people) drop(d *device) {
	if m.rng.IntN(2) == 0 {
		d.conn.(*net.TCPConn).SetLinger(0)
	}
	d.conn.Close()
	m.live = slices.DeleteFunc(m.live, func(other *device) bool { return other == d })
}

func (m *people) publish(d *device, room string) {
	msg := modelMessage{from: d.user}
	for _, user := range m.users {
		if m.rng.IntN(5) == 0 {
			msg.mentions = append(msg.mentions, user)
		}
	}
	m.say(d, &v1.Publish{Room: room, Mentions: msg.mentions, Content: &v1.Publish_Text{Text: "x"}}, msg)
}

// change edits or deletes an older message of the user.
func (m *people) change(d *device, room string) {
	r := m.rooms[room]
	var own []uint64
	for i := range r.messages {
		if msg := &r.messages[i]; msg.from == d.user && !msg.change && !msg.deleted {
			own = append(own, uint64(i+1))
		}
	}
	if len(own) == 0 {
		return
	}
	target := pick(m.rng, own)
	if m.rng.IntN(3) == 0 {
		m.say(d, remove(room, target), modelMessage{from: d.user, change: true})
		r.messages[target-1].deleted = true
		return
	}
	edited := edit(room, target, "y")
	edited.Mentions = []string{pick(m.rng, m.users)}
	m.say(d, edited, modelMessage{from: d.user, change: true})
	r.messages[target-1].mentions = edited.Mentions
}

func (m *people) say(d *device, p *v1.Publish, msg modelMessage) {
	m.t.Helper()
	r := m.rooms[p.Room]
	r.messages = append(r.messages, msg)
	if f := d.answer(d.alter(p)); f.GetPublished().GetSeq() != uint64(len(r.messages)) {
		m.t.Fatalf("%s publishes %v in %s: %v, the model is at %d", d.user, p, p.Room, f, len(r.messages))
	}
}

// mark sends two marks, the second of which may be behind the first.
func (m *people) mark(d *device, room string) {
	head := len(m.rooms[room].messages)
	if head == 0 {
		return
	}
	stands := m.rooms[room].stands[d.user]
	for range 2 {
		read := uint64(m.rng.IntN(head + 1))
		delivered := max(read, uint64(1+m.rng.IntN(head)))
		if err := d.send(&v1.ClientFrame{Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: room, Delivered: delivered, Read: read}}}); err != nil {
			m.t.Fatal(err)
		}
		stands[0], stands[1] = max(stands[0], delivered), max(stands[1], read)
	}
	// The mark is taken when what was sent behind it is answered.
	d.answer(d.request(&v1.ClientFrame{Op: &v1.ClientFrame_State{State: &v1.StateRequest{State: map[bool]string{true: "away", false: "online"}[d.away]}}}))
}

// check compares everything that the gateway says with the model.
func (m *people) check() {
	m.t.Helper()
	for _, room := range m.names() {
		m.receipts(room)
		m.presence(room)
	}
	for _, user := range m.users {
		p := login(m.t, m.srv.Addr(), wires[0], user)
		states, _ := p.syncAll(&v1.SyncRequest{Limit: 2}, nil)
		for _, room := range m.names() {
			want, s := m.state(room, user), states[room]
			if got := fmt.Sprintf("%d/%d of %d, +%d @%d", s.GetDelivered(), s.GetRead(), s.GetHead(), s.GetUnread(), s.GetMentions()); got != want {
				m.t.Errorf("sync tells %s of %s: %s, the model has %s", user, room, got, want)
			}
		}
		p.conn.Close()
	}
	if m.t.Failed() {
		m.t.FailNow()
	}
}

func (m *people) state(room, user string) string {
	r := m.rooms[room]
	stands := r.stands[user]
	unread, mentions := 0, 0
	for i := int(stands[1]); i < len(r.messages); i++ {
		if msg := &r.messages[i]; !msg.change {
			unread++
			if !msg.deleted && slices.Contains(msg.mentions, user) {
				mentions++
			}
		}
	}
	return fmt.Sprintf("%d/%d of %d, +%d @%d", stands[0], stands[1], len(r.messages), unread, mentions)
}

// receipts asks until the marks that wait are stored; nobody is ever beyond the model.
func (m *people) receipts(room string) {
	m.t.Helper()
	want := map[string][2]uint64{}
	for user, stands := range m.rooms[room].stands {
		if user != "zoe" && *stands != [2]uint64{} {
			want[user] = *stands
		}
	}
	eventually(m.t, "the receipts of "+room, func() bool {
		got := map[string][2]uint64{}
		for _, r := range m.ask(&v1.ClientFrame{Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: room}}}).GetReceipts().GetReceipts() {
			got[r.User] = [2]uint64{r.Delivered, r.Read}
			if w := want[r.User]; r.Delivered > w[0] || r.Read > w[1] {
				m.t.Fatalf("%s stands at %v in %s, the model has %v", r.User, r, room, w)
			}
		}
		return maps.Equal(got, want)
	})
}

// presence follows what zoe is told until it is what the model says.
func (m *people) presence(room string) {
	m.t.Helper()
	want := map[string]string{"zoe": "online"}
	for _, d := range m.live {
		if slices.Contains(d.joined, room) && want[d.user] != "online" {
			want[d.user] = map[bool]string{true: "away", false: "online"}[d.away]
		}
	}
	eventually(m.t, "presence in "+room, func() bool {
		m.ask(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}}) // takes what has come before it
		got := map[string]string{}
		for _, u := range m.seen[room].Users {
			got[u.User] = u.State
		}
		return maps.Equal(got, want)
	})
}

// ask is answered, and follows the changes of presence on the way.
func (m *people) ask(f *v1.ClientFrame) *v1.ServerFrame {
	m.t.Helper()
	for id := m.zoe.request(f); ; {
		f := m.zoe.must()
		if f.Id == id {
			return f
		}
		c := f.GetPresenceChange()
		if c == nil {
			continue
		}
		seen := m.seen[c.Room]
		if c.Version != seen.Version+1 {
			m.t.Fatalf("version %d of %s follows %d", c.Version, c.Room, seen.Version)
		}
		seen.Version = c.Version
		for _, u := range c.Users {
			seen.Users = slices.DeleteFunc(seen.Users, func(known *v1.UserPresence) bool { return known.User == u.User })
			if u.State != "offline" {
				seen.Users = append(seen.Users, u)
			}
		}
		slices.SortFunc(seen.Users, func(a, b *v1.UserPresence) int { return strings.Compare(a.User, b.User) })
		if int(c.Count) != len(seen.Users) {
			m.t.Fatalf("the change %v counts %d, seen are %v", c, c.Count, seen.Users)
		}
	}
}
