package loop

import (
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// crowd is clients that do nothing but answer heartbeats, some time after they are asked, and a loop, in a bubble of synctest.
type crowd struct {
	*rig
	now     time.Duration
	answers time.Duration // after so long
	clients []*quiet
}

type quiet struct {
	*fakeSocket
	dead  bool
	asked time.Duration // its answer is on its way, 0: none is
}

func newCrowd(t *testing.T, n int, answers time.Duration, change func(*Config)) *crowd {
	k := &crowd{rig: newRig(t, func(c *Config) {
		c.Heartbeat = 25 * time.Second
		if change != nil {
			change(c)
		}
	}), answers: answers}
	for range n {
		k.clients = append(k.clients, &quiet{fakeSocket: k.open(true, proto.Binary)})
	}
	return k
}

// pass is a time in which the loop has a tick each step.
func (k *crowd) pass(d, step time.Duration) {
	for range d / step {
		time.Sleep(step)
		k.now += step
		for _, c := range k.clients {
			if c.asked != 0 && k.now >= c.asked+k.answers && !c.closed {
				c.asked = 0
				k.request(c.fakeSocket, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
			}
		}
		k.put(handoff.Event{Kind: handoff.Tick})
		k.work()
		for _, c := range k.clients {
			for _, f := range k.sent(c.fakeSocket) {
				if f.GetPing() != nil && !c.dead {
					c.asked = k.now
				}
			}
		}
	}
}

// stands is a time in which the loop does nothing.
func (k *crowd) stands(d time.Duration) {
	time.Sleep(d)
	k.now += d
}

// ended counts those that were closed, and are dead or are not.
func (k *crowd) ended(dead bool) (n int) {
	for _, c := range k.clients {
		if c.dead == dead && c.context.(*conn).closed != 0 {
			n++
		}
	}
	return n
}

// TestALoopThatStoodStill closes nobody whose answer takes its time, however long it stood, and whoever is dead two heartbeats later.
func TestALoopThatStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newCrowd(t, 100, 10*time.Second, nil)
		k.pass(time.Minute, tick)
		for _, c := range k.clients[:10] {
			c.dead = true
		}
		k.stands(2 * time.Minute)
		k.pass(2*time.Second, tick)
		if n := k.ended(true); n != 0 {
			t.Errorf("%d are closed that had two seconds", n)
		}
		k.pass(70*time.Second, tick)
		if alive, dead := k.ended(false), k.ended(true); alive != 0 || dead != 10 {
			t.Errorf("%d of 90 are closed that have answered, %d of 10 that have not", alive, dead)
		}
	})
}

// TestWhatBeginsBehindAStandstill has all its time.
func TestWhatBeginsBehindAStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newCrowd(t, 0, 0, func(c *Config) { c.HandshakeTimeout = 10 * time.Second })
		k.stands(2 * time.Minute)
		k.pass(tick, tick)
		s := &fakeSocket{room: 1 << 30, loop: k.events}
		k.loop.accept(s)
		if k.pass(9*time.Second, tick); s.closed {
			t.Error("nine of ten seconds were enough to be closed")
		}
		if k.pass(2*time.Second, tick); !s.closed {
			t.Error("it is there after eleven seconds")
		}
	})
}

// TestALoopThatIsLate can't know what holds up an answer: who is alive stays, and who is dead is closed at last, soon where the loop has time again.
func TestALoopThatIsLate(t *testing.T) {
	for name, test := range map[string]struct {
		step time.Duration // between ticks, while it is late
		late time.Duration
		then time.Duration // until the dead are closed, with ticks in time
	}{
		"for a while": {time.Second, 4 * time.Minute, time.Minute},
		"for ever":    {time.Second, 10 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newCrowd(t, 100, 70*time.Second, nil)
				for _, c := range k.clients[:10] {
					c.dead = true
				}
				k.pass(test.late, test.step)
				k.answers = time.Second
				k.pass(test.then, tick)
				if alive, dead := k.ended(false), k.ended(true); alive != 0 || dead != 10 {
					t.Errorf("%d of 90 are closed that have answered, %d of 10 that have not", alive, dead)
				}
			})
		})
	}
}

// TestACrowdThatCameAtOnce is not asked at once: twice as many as the average in a tick at most, and everybody in time.
func TestACrowdThatCameAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 1000
		k := newCrowd(t, many, time.Second, nil)
		most, before := int64(0), int64(0)
		for range 45 * time.Second / tick {
			k.pass(tick, tick)
			probes := k.loop.counted.Probes.Load()
			most, before = max(most, probes-before), probes
		}
		if limit := int64(1 + 2*many*tick/(25*time.Second)); most > limit || before < many {
			t.Errorf("%d are asked in a tick and %d in 45 s, want %d at most and all", most, before, limit)
		}
		if alive := k.ended(false); alive != 0 {
			t.Errorf("%d are closed", alive)
		}
	})
}
