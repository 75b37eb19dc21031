package benchtest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"rookery/bench/benchtest"
	client "rookery/client/go"
)

// TestTheGoClientMendsWhatItCan: refusals and lost connections are what a client of the protocol copes with, so
// with the real one every message comes once and in order; and it takes this server for a gateway.
func TestTheGoClientMendsWhatItCan(t *testing.T) {
	for _, transport := range []string{"WebSocket", "TCP"} {
		t.Run(transport, func(t *testing.T) {
			s := benchtest.Start(t, benchtest.Faults{
				Refuse: 10, CloseAfter: 15, RefuseConnect: 3, ResetConnect: 4, Delay: time.Millisecond,
			})
			url := s.URL()
			if transport == "TCP" {
				url = s.TCP()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			start := func(name string) *client.Client {
				c, err := client.New(client.Config{
					URL: url, Name: name, BackoffBase: 5 * time.Millisecond, BackoffCap: 20 * time.Millisecond,
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.Close)
				return c
			}
			alice, bob := start("alice"), start("bob")
			subscription, err := bob.Join(ctx, "lobby", client.JoinOptions{})
			if err != nil {
				t.Fatal(err)
			}
			const n = 50
			for i := range n {
				if _, err := alice.Publish(ctx, "lobby", fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
			}
			i := 0
			for m, err := range subscription.Messages(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				if m.Seq != uint64(i+1) || m.Text != fmt.Sprint(i) || m.From != "alice" {
					t.Fatalf("message %d is %+v", i+1, m)
				}
				if i++; i == n {
					break
				}
			}
			page, err := alice.History(ctx, "lobby", client.HistoryQuery{Limit: 2})
			if err != nil || len(page.Messages) != 2 || page.Messages[1].Seq != n || !page.More {
				t.Errorf("history gave %+v, %v; want the last 2", page, err)
			}
			// 55 publishes: 5 of them refused, the tenth, the twentieth and so on.
			truth := s.Truth()
			if truth.Published != 55 || truth.Refused != 5 || truth.Acknowledged != 50 || truth.Closed < 3 ||
				truth.ConnectsRefused == 0 || truth.ConnectsReset == 0 {
				t.Errorf("Truth is %+v, want 55 published, 5 refused, 50 acknowledged, 3 connections closed, and some refused and reset",
					truth)
			}
		})
	}
}
