package push

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

// said counts the lines of a log with a text in them.
func said(logged *bytes.Buffer, text string) int { return strings.Count(logged.String(), text) }

// TestRefusalsAreToldOnce: a receiver that refuses everybody is one line, and one when it no longer does; nothing is lost in the hour between.
func TestRefusalsAreToldOnce(t *testing.T) {
	var logged bytes.Buffer
	keep(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) }, func(t *testing.T, w *world, k *Keeper) {
		for i := range 10 {
			w.join("group:a", "ben", fmt.Sprint("ann", i))
		}
		w.outcome = func(*Summary) Outcome { return judge(http.StatusUnauthorized, "401", nil, time.Now()) }
		w.publish("group:a", "ben")
		time.Sleep(time.Hour)
		if k.Stats().Failed < 10 || k.Stats().Died != 0 {
			t.Errorf("%+v", k.Stats())
		}
		w.locked(func() { w.outcome = nil })
		time.Sleep(2 * time.Hour)
		if all := w.taken(); len(all) != 10 {
			t.Errorf("%d were told", len(all))
		}
	})
	if said(&logged, "level=WARN") != 1 || said(&logged, "summaries are taken again") != 1 {
		t.Errorf("logged:\n%s", &logged)
	}
}

// TestDeathsAreToldOnce: of many summaries that die one after the other the first is in the log, and the first behind one that is taken.
func TestDeathsAreToldOnce(t *testing.T) {
	var logged bytes.Buffer
	keep(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) }, func(t *testing.T, w *world, k *Keeper) {
		w.join("group:a", "ann", "cleo", "dan", "ben")
		die := func() {
			w.locked(func() { w.outcome = func(*Summary) Outcome { return Outcome{Verdict: Final, Err: errRefused} } })
			w.publish("group:a", "ben")
			time.Sleep(2 * testWindow)
		}
		die()
		die()
		w.locked(func() { w.outcome = nil })
		w.publish("group:a", "ben")
		time.Sleep(2 * testWindow)
		die()
		if k.Stats().Died != 9 {
			t.Errorf("%+v", k.Stats())
		}
	})
	if said(&logged, "level=WARN") != 2 || said(&logged, "summaries are taken again") != 1 {
		t.Errorf("logged:\n%s", &logged)
	}
}

// TestStandstillIsToldOnce: what can't be read is one line however many turns pass, and one when it can.
func TestStandstillIsToldOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		broken func(w *world)
	}{
		{"a turn", func(w *world) { w.broken = errRefused }},
		{"what is queued", func(w *world) { w.findBroken = errRefused }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var logged bytes.Buffer
			keep(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) }, func(t *testing.T, w *world, _ *Keeper) {
				w.join("group:a", "ann", "ben")
				w.publish("group:a", "ben")
				time.Sleep(2 * longestTurn) // it has been read
				w.locked(func() { c.broken(w) })
				time.Sleep(10 * time.Minute)
				if len(w.taken()) != 0 {
					t.Error("told all the same")
				}
				w.locked(func() { w.broken, w.findBroken = nil, nil })
				later()
				if len(w.taken()) != 1 {
					t.Error("not told")
				}
			})
			if said(&logged, "push stands still") != 1 || said(&logged, "push goes on") != 1 {
				t.Errorf("logged:\n%s", &logged)
			}
		})
	}
}

// TestRefusedAlone: those that are refused for themselves, and are due before all others, keep nobody from being told.
func TestRefusedAlone(t *testing.T) {
	keep(t, func(c *Config) { c.RoomMembers = 1000 }, func(t *testing.T, w *world, k *Keeper) {
		for i := range 200 {
			w.join("group:a", "ben", fmt.Sprint("bad", i))
		}
		w.join("group:b", "ann", "ben")
		w.outcome = func(s *Summary) Outcome {
			if strings.HasPrefix(s.User, "bad") {
				return judge(http.StatusNotFound, "404", nil, time.Now())
			}
			return Outcome{}
		}
		w.publish("group:a", "ben")
		time.Sleep(2 * time.Hour)
		w.publish("group:b", "ben")
		later()
		if all := w.taken(); len(all) != 1 || all[0].User != "ann" {
			t.Errorf("told %+v; %+v", all, k.Stats())
		}
	})
}
