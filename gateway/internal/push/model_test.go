package push

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/handoff"
)

// TestModel: random publishes, marks, deletions, levels, comings and goings, failing senders, ends and crashes of the process. Whatever
// is told is true at that moment; whatever was to be told has been in the end, and but for crashes once and in its window.
func TestModel(t *testing.T) {
	for range 5 {
		seed := rand.Uint64()
		for _, crashes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%x crashes %v", seed, crashes), func(t *testing.T) {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					m := &model{T: t, world: newWorld(), random: rand.New(rand.NewPCG(seed, 1)), crashes: crashes, dir: dir}
					m.failures = rand.New(rand.NewPCG(seed, 2))
					m.run()
				})
			})
		}
	}
}

type model struct {
	*testing.T
	*world
	random  *rand.Rand
	crashes bool

	failures *rand.Rand // of the sender, under the world's lock

	dir    string
	keeper *Keeper
	unlike map[place2]bool // whose level changed, who left and came: then only the bounds are looked at
	large  map[string]bool // rooms that were beyond the bound at some time
	told   map[place2][]Room
	last   map[string]time.Time // by user
}

type place2 struct{ room, user string }

const modelRooms, modelUsers = 4, 6

func (m *model) room() string { return fmt.Sprint("group:", m.random.IntN(modelRooms)) }
func (m *model) user() string { return fmt.Sprint("user", m.random.IntN(modelUsers)) }

func (m *model) run() {
	m.unlike, m.large = make(map[place2]bool), make(map[string]bool)
	m.told, m.last = make(map[place2][]Room), make(map[string]time.Time)
	for i := range 3 * modelRooms {
		room, user := fmt.Sprint("group:", i%modelRooms), m.user()
		m.join(room, user)
		m.large[room] = m.large[room] || len(m.members[room]) == modelUsers
		m.change(room, user, func(member *Member) { member.Level = handoff.Notify(m.random.IntN(3)) })
	}
	m.outcome = m.check
	change := func(c *Config) { c.RoomMembers, c.Logger = modelUsers-1, slog.New(slog.DiscardHandler) }
	m.keeper = m.start(m.T, m.dir, change)
	for range 400 {
		m.step()
		time.Sleep(time.Duration(m.random.Int64N(int64(20 * time.Second))))
		switch {
		case m.random.IntN(60) == 0:
			shut(m.T, m.keeper)
			m.keeper = m.start(m.T, m.dir, change)
		case m.crashes && m.random.IntN(30) == 0:
			m.crash(change)
		}
	}
	time.Sleep(13 * time.Hour) // all retries
	synctest.Wait()
	m.complete()
	shut(m.T, m.keeper)
}

func (m *model) step() {
	room, user := m.room(), m.user()
	switch m.random.IntN(12) {
	case 0, 1, 2:
		m.advance(room, user)
	case 3:
		m.locked(func() { m.deleted[place{room, m.random.Uint64N(m.headLocked(room) + 2)}] = true })
	case 4:
		if m.random.IntN(4) == 0 {
			m.locked(func() { delete(m.members[room], user); m.unlike[place2{room, user}] = true })
		}
	case 5:
		m.locked(func() {
			if _, is := m.members[room][user]; !is {
				m.members[room][user] = Member{From: m.headLocked(room)}
				m.unlike[place2{room, user}] = true
				m.large[room] = m.large[room] || len(m.members[room]) == modelUsers
			}
		})
	case 6:
		if m.random.IntN(4) == 0 {
			m.locked(func() {
				if member, is := m.members[room][user]; is {
					member.Level = handoff.Notify(m.random.IntN(3))
					m.members[room][user] = member
					m.unlike[place2{room, user}] = true
				}
			})
		}
	default:
		var mentions []string
		for range m.random.IntN(3) {
			mentions = append(mentions, m.user())
		}
		m.publish(room, user, mentions...)
	}
}

func (m *model) advance(room, user string) {
	m.locked(func() {
		if member, is := m.members[room][user]; is {
			member.Delivered = max(member.Delivered, m.random.Uint64N(m.headLocked(room)+1))
			m.members[room][user] = member
		}
	})
}

// crash ends the process and goes on from the file as it was a moment before, which is what kill -9 leaves.
func (m *model) crash(change func(*Config)) {
	synctest.Wait()
	b, err := os.ReadFile(filepath.Join(m.dir, "push.db"))
	if err != nil {
		m.Fatal(err)
	}
	time.Sleep(time.Duration(m.random.Int64N(int64(time.Minute))))
	shut(m.T, m.keeper)
	if err := os.WriteFile(filepath.Join(m.dir, "push.db"), b, 0o600); err != nil {
		m.Fatal(err)
	}
	m.keeper = m.start(m.T, m.dir, change)
}

// wantedLocked reports whether a member is to be told of a message, as things are now.
func (m *model) wantedLocked(message Message, user string, member Member) bool {
	mentioned := false
	for _, name := range message.Mentions {
		mentioned = mentioned || name == user
	}
	mentionsOnly := member.Level == handoff.NotifyMentions || len(m.members[message.Room]) >= modelUsers
	return member.Level != handoff.NotifyNone && message.From != user && message.Seq > max(member.Delivered, member.From) &&
		!m.deleted[place{message.Room, message.Seq}] && (!mentionsOnly || mentioned)
}

// check is the sender, with the world's lock held: is what it is given true? A part of it fails.
func (m *model) check(s *Summary) Outcome {
	if m.failures.IntN(4) == 0 {
		return Outcome{Verdict: Retry, Err: errRefused}
	}
	if last, ok := m.last[s.User]; ok && !m.crashes && time.Since(last) < testWindow {
		m.Errorf("%s was told %v after the last summary", s.User, time.Since(last))
	}
	m.last[s.User] = time.Now()
	for _, r := range s.Rooms {
		pair := place2{r.Room, s.User}
		member, is := m.members[r.Room][s.User]
		if !is {
			m.Errorf("%s was told of %s, where they are no member", s.User, r.Room)
		}
		wanted := 0
		for _, message := range m.messages {
			if message.Room == r.Room && message.Seq >= r.First && message.Seq <= r.Last && m.wantedLocked(message, s.User, member) {
				wanted++
			}
		}
		if r.Messages == 0 || !m.unlike[pair] && !m.large[r.Room] && wanted != r.Messages || r.First <= member.Delivered {
			m.Errorf("%s was told of %+v, and %d messages of them are so; %+v", s.User, r, wanted, member)
		}
		if before := m.told[pair]; !m.crashes && len(before) > 0 && r.First <= before[len(before)-1].Last {
			m.Errorf("%s was told of %+v after %+v", s.User, r, before[len(before)-1])
		}
		m.told[pair] = append(m.told[pair], r)
	}
	return Outcome{}
}

// complete looks for messages that nobody has told their members of.
func (m *model) complete() {
	m.mu.Lock()
	defer m.mu.Unlock()
	owed := 0
	for _, message := range m.messages {
		for user, member := range m.members[message.Room] {
			pair := place2{message.Room, user}
			if m.unlike[pair] || m.large[message.Room] || !m.wantedLocked(message, user, member) {
				continue
			}
			owed++
			found := false
			for _, r := range m.told[pair] {
				found = found || r.First <= message.Seq && message.Seq <= r.Last
			}
			if !found {
				m.Errorf("%s was not told of %s %d; told of %v, %+v", user, message.Room, message.Seq, m.told[pair], member)
			}
		}
	}
	if st := m.keeper.Stats(); st.Queued != 0 || st.Bytes != 0 || st.Behind != 0 {
		m.Errorf("in the end %+v is left", st)
	}
	m.Logf("%d messages were owed", owed)
}
