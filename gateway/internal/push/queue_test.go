package push

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestRetries: an attempt that fails is made again, later and later, under the same id; then what has joined the summary has another.
func TestRetries(t *testing.T) {
	keep(t, nil, func(t *testing.T, w *world, k *Keeper) {
		w.join("group:a", "ann", "ben")
		var ids []string
		var at []time.Time
		fails := 6
		w.outcome = func(s *Summary) Outcome {
			ids, at = append(ids, s.ID), append(at, time.Now())
			if len(ids) <= fails {
				return Outcome{Verdict: Retry, Err: errRefused}
			}
			return Outcome{}
		}
		w.publish("group:a", "ben")
		time.Sleep(20 * time.Minute)
		all := w.taken()
		if len(all) != 1 || all[0].Attempt != fails+1 || k.Stats().Failed != int64(fails) {
			t.Fatalf("told %+v", all)
		}
		for i := 1; i < len(ids); i++ {
			if ids[i] != ids[0] {
				t.Errorf("attempt %d has another id", i+1)
			}
			least := 5 * time.Second << (i - 1) / 2
			if wait := at[i].Sub(at[i-1]); wait < least || wait > 2*least+longestTurn+time.Minute {
				t.Errorf("attempt %d came %v after the one before, want about %v", i+1, wait, 2*least)
			}
		}
		// Meanwhile more comes: one summary has both.
		w.locked(func() { ids, at, fails = nil, nil, 9 })
		w.publish("group:a", "ben")
		time.Sleep(time.Minute)
		w.publish("group:a", "ben")
		time.Sleep(time.Hour)
		all = w.taken()
		if len(all) != 1 || all[0].Rooms[0] != (Room{"group:a", 2, 0, 2, 3}) {
			t.Errorf("told %+v", all)
		}
	})
}

// TestRetryAfter: the receiver says when.
func TestRetryAfter(t *testing.T) {
	keep(t, nil, func(t *testing.T, w *world, _ *Keeper) {
		w.join("group:a", "ann", "ben")
		begun := time.Now()
		w.outcome = func(s *Summary) Outcome {
			if s.Attempt == 1 {
				return Outcome{Verdict: Retry, After: 2 * time.Hour, Err: errRefused}
			}
			return Outcome{}
		}
		w.publish("group:a", "ben")
		time.Sleep(3 * time.Hour)
		if all := w.taken(); len(all) != 1 || all[0].at.Sub(begun) < 2*time.Hour {
			t.Errorf("told %+v", all)
		}
	})
}

// TestCancelledInQueue: what was read while a summary waited for another attempt is not sent.
func TestCancelledInQueue(t *testing.T) {
	keep(t, nil, func(t *testing.T, w *world, k *Keeper) {
		w.join("group:a", "ann", "ben")
		w.locked(func() { w.outcome = func(*Summary) Outcome { return Outcome{Verdict: Retry, Err: errRefused} } })
		w.publish("group:a", "ben")
		later()
		w.change("group:a", "ann", func(m *Member) { m.Delivered = 1 })
		w.locked(func() { w.outcome = nil })
		time.Sleep(time.Hour)
		if all := w.taken(); len(all) != 0 || k.Stats().Cancelled != 1 || k.Stats().Queued != 0 {
			t.Errorf("told %+v; %+v", all, k.Stats())
		}
	})
}

// TestDeadLetters: what is refused, or not taken for a day, is kept, listed, sent once more or discarded, also after a restart.
func TestDeadLetters(t *testing.T) {
	dir := t.TempDir()
	keep(t, func(c *Config) { c.Dir, c.DeadLetters = dir, 3 }, func(t *testing.T, w *world, k *Keeper) {
		w.join("group:a", "ann", "ben")
		w.join("group:b", "cleo", "ben")
		w.outcome = func(s *Summary) Outcome {
			if s.User == "ann" {
				return Outcome{Verdict: Final, Err: errRefused}
			}
			return Outcome{Verdict: Retry, Err: errRefused}
		}
		w.publish("group:a", "ben")
		w.publish("group:b", "ben")
		later()
		dead, err := k.DeadLetters(t.Context(), 0, 10)
		if err != nil || len(dead) != 1 || dead[0].User != "ann" || dead[0].Error != "refused" || dead[0].Attempts != 1 || len(dead[0].Rooms()) != 1 {
			t.Fatalf("dead are %+v, %v", dead, err)
		}
		time.Sleep(26 * time.Hour)
		dead, err = k.DeadLetters(t.Context(), 0, 10)
		if err != nil || len(dead) != 2 || dead[1].User != "cleo" || dead[1].Attempts < 20 || k.Stats().Dead != 2 {
			t.Fatalf("after a day dead are %+v, %v; %+v", dead, err, k.Stats())
		}
		w.locked(func() { w.outcome = nil })
		n, err := k.Resend(t.Context(), dead[0].Number, dead[0].Number, 99)
		if err != nil || n != 1 {
			t.Errorf("sent once more %d, %v", n, err)
		}
		if n, err := k.Discard(t.Context(), 0, dead[1].Number, 77); err != nil || n != 1 {
			t.Errorf("discarded %d, %v", n, err)
		}
		time.Sleep(time.Second)
		if all := w.taken(); len(all) != 1 || all[0].User != "ann" || all[0].ID == dead[0].ID {
			t.Errorf("told %+v", all)
		}
		// No more than the bound, the oldest go.
		w.locked(func() { w.outcome = func(*Summary) Outcome { return Outcome{Verdict: Final, Err: errRefused} } })
		for range 5 {
			w.publish("group:b", "ben")
			time.Sleep(2 * testWindow)
		}
		dead, err = k.DeadLetters(t.Context(), 0, 2)
		if st := k.Stats(); err != nil || len(dead) != 2 || st.Dead != 3 || st.Lost != 2 || dead[0].Conversations[0].Seqs[0] != 4 {
			t.Errorf("dead are %+v, %v; %+v", dead, err, st)
		}
		if more, err := k.DeadLetters(t.Context(), dead[1].Number, 2); err != nil || len(more) != 1 {
			t.Errorf("behind them are %+v, %v", more, err)
		}
	})
}

// TestGone: a device that is no more is not tried again, and is no dead letter.
func TestGone(t *testing.T) {
	keep(t, nil, func(t *testing.T, w *world, k *Keeper) {
		w.devices = []string{"phone", "laptop"}
		w.join("group:a", "ann", "ben")
		w.outcome = func(s *Summary) Outcome {
			if s.Device == "phone" {
				return Outcome{Verdict: Gone, Err: errRefused}
			}
			return Outcome{}
		}
		w.publish("group:a", "ben")
		later()
		if all := w.taken(); len(all) != 1 || all[0].Device != "laptop" || k.Stats().Gone != 1 || k.Stats().Queued != 0 || k.Stats().Died != 0 {
			t.Errorf("told %+v; %+v", all, k.Stats())
		}
	})
}

// TestHostThatIsDown: after failures in a row there is one attempt now and then, not one for each who waits.
func TestHostThatIsDown(t *testing.T) {
	keep(t, func(c *Config) { c.RoomMembers = 1000 }, func(t *testing.T, w *world, k *Keeper) {
		const users = 500
		for i := range users {
			w.join("group:a", "ben", string(rune('A'+i%26))+time.Duration(i).String())
		}
		w.locked(func() { w.outcome = func(*Summary) Outcome { return Outcome{Verdict: Retry, Err: errRefused} } })
		w.publish("group:a", "ben")
		time.Sleep(time.Hour)
		tries := 0
		w.locked(func() { tries = w.tries })
		if tries < 10 || tries > 60 {
			t.Errorf("%d attempts in an hour", tries)
		}
		w.locked(func() { w.outcome = nil })
		time.Sleep(time.Hour + longestRest)
		if all := w.taken(); len(all) != users {
			t.Errorf("%d users were told of %d", len(all), users)
		}
		if st := k.Stats(); st.Queued != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestCut(t *testing.T) {
	long := ""
	for len(long) < 300 {
		long += "ä€"
	}
	got := cut(long)
	if len(got) > maxText || len(got) < maxText-5 || cut("short") != "short" {
		t.Errorf("cut to %d bytes: %q", len(got), got)
	}
	for _, r := range got {
		if r == '�' {
			t.Errorf("cut inside a letter: %q", got)
		}
	}
}

// TestNobodyWaitsForAnotherAfterARestart: whose summary is to be sent soon does not wait for one that is to be sent much later.
func TestNobodyWaitsForAnotherAfterARestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		k := w.start(t, dir, nil)
		w.join("group:a", "ann", "ben", "cleo", "dan")
		w.outcome = func(s *Summary) Outcome {
			o := Outcome{Verdict: Retry, Err: errRefused, Alone: true}
			if s.User == "ann" {
				o.After = 20 * time.Hour
			}
			return o
		}
		w.publish("group:a", "dan")
		later()
		shut(t, k)
		w.locked(func() { w.outcome = nil })
		again := w.start(t, dir, nil)
		time.Sleep(10 * time.Minute)
		if all := w.taken(); len(all) != 2 || again.Stats().Queued != 1 {
			t.Errorf("told %+v, and %d wait", all, again.Stats().Queued)
		}
		shut(t, again)
	})
}
