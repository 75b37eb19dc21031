package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func TestConnectSaysWhoWeAre(t *testing.T) {
	tokens := func(context.Context) (string, error) { return "t2", nil }
	for name, c := range map[string]struct {
		change      func(*Config)
		token, user string
	}{
		"name over WebSocket":   {func(c *Config) {}, "", "alice"},
		"name over TCP":         {func(c *Config) { c.URL = "tcp://raw:1" }, "", "alice"},
		"token":                 {func(c *Config) { c.Name, c.Token = "", "t1" }, "t1", ""},
		"token from a function": {func(c *Config) { c.Name, c.TokenSource = "", tokens }, "t2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				var states history
				client := start(t, s, zero, func(config *Config) {
					config.OnState = states.add
					c.change(config)
				})
				p := s.accept()
				f := p.next()
				if got := f.GetConnect(); got.GetToken() != c.token || got.GetName() != c.user {
					t.Fatalf("connect with token %q, name %q; want %q, %q", got.GetToken(), got.GetName(), c.token, c.user)
				}
				p.send(&v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_Connected{
					Connected: &v1.Connected{User: "alice", Session: "0-1"},
				}})
				if got := states.last(); got.State != Connected || got.User != "alice" || got.Session != "0-1" {
					t.Errorf("state is %+v; want connected as alice in session 0-1", got)
				}
				client.Close()
				if got := p.ended(); !p.raw && got != 1000 {
					t.Errorf("Close ended the connection with code %d; want 1000", got)
				}
				if got := states.last(); got.State != Closed || got.Err != nil {
					t.Errorf("state is %+v; want closed without an error", got)
				}
				if err := client.Err(); !errors.Is(err, ErrClosed) {
					t.Errorf("Err() = %v; want ErrClosed", err)
				}
			})
		})
	}
}

// waits are the times between the tries to connect.
func waits(dials []time.Time) (waits []time.Duration) {
	for i := 1; i < len(dials); i++ {
		waits = append(waits, dials[i].Sub(dials[i-1]).Round(time.Millisecond))
	}
	return waits
}

func TestBackoffHasFullJitterUpToItsCeiling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		s.set(func(s *fakeServer) { s.down = true })
		start(t, s, almostOne, nil)
		for len(s.dialed()) < 10 {
			time.Sleep(time.Minute)
		}
		got := waits(s.dialed())[:9]
		var want []time.Duration
		for _, ms := range []int{500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000} {
			want = append(want, time.Duration(ms)*time.Millisecond)
		}
		if !slices.Equal(got, want) {
			t.Errorf("longest waits are %v; want %v", got, want)
		}
	})
}

func TestFirstTryAfterALossIsSpreadToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		start(t, s, func() float64 { return 0.5 }, func(c *Config) { c.InitialSpread = time.Minute })
		began := time.Now()
		p := s.welcome()
		if got := s.dialed()[0].Sub(began); got != 30*time.Second {
			t.Errorf("first connection came after %v; want half of InitialSpread", got)
		}
		p.drop()
		lost := time.Now()
		s.welcome()
		if got := s.dialed()[1].Sub(lost); got != 250*time.Millisecond {
			t.Errorf("came back after %v; want half of 500 ms", got)
		}
	})
}

func TestOnlyAStableConnectionResetsTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		start(t, s, almostOne, nil)
		var got []time.Duration
		for _, up := range []time.Duration{0, 9 * time.Second, 0, 11 * time.Second, 0} {
			p := s.welcome()
			time.Sleep(up)
			synctest.Wait()
			p.drop()
			began := time.Now()
			next := s.accept()
			got = append(got, time.Since(began).Round(time.Millisecond))
			s.peers <- next
		}
		want := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 500 * time.Millisecond, time.Second}
		if !slices.Equal(got, want) {
			t.Errorf("waits are %v; want %v", got, want)
		}
	})
}

func TestConnectTimeoutCoversEachStep(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"token": func(c *Config) {
			c.Name = ""
			c.TokenSource = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
		},
		"socket": func(c *Config) {
			c.Dial = func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		},
		"reply": func(c *Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				var states history
				start(t, s, almostOne, func(c *Config) { c.OnState = states.add; change(c) })
				time.Sleep(10*time.Second - time.Millisecond)
				if got := states.last(); got.State != Connecting {
					t.Fatalf("state is %+v; want connecting", got)
				}
				time.Sleep(2 * time.Millisecond)
				if got := states.last(); got.State != Waiting || got.Err == nil {
					t.Fatalf("state after 10 s is %+v; want waiting with an error", got)
				}
			})
		})
	}
}

func TestReturnAfterEachCloseCode(t *testing.T) {
	for _, url := range []string{"ws://fake", "tcp://raw:1"} {
		for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1009, 1011, 4000, 4001, 4002,
			4003, 4004, 4005, 4006, 4007, 4499, 4500, 4501, 4502, 4503, 4999} {
			t.Run(fmt.Sprint(url, code), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newFakeServer(t)
					c := start(t, s, zero, func(c *Config) { c.URL = url; c.Name, c.Token = "", "fixed" })
					s.welcome().close(code)
					if proto.Reconnect(code) && code != proto.CloseTokenExpired.Code {
						s.welcome()
						return
					}
					s.none()
					var closed *CloseError
					if err := c.Err(); !errors.As(err, &closed) || closed.Code != code {
						t.Errorf("Err() = %v; want close code %d", err, code)
					}
				})
			})
		}
	}
}

func TestTokenFunctionRenewsAnExpiredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		asked := 0
		start(t, s, zero, func(c *Config) {
			c.Name = ""
			c.TokenSource = func(context.Context) (string, error) {
				asked++
				if asked == 2 {
					return "", errors.New("the issuer is down")
				}
				return fmt.Sprint("t", asked), nil
			}
		})
		s.welcome().close(proto.CloseTokenExpired.Code)
		p := s.accept() // the second token failed, the third is in use
		f := p.next()
		if got := f.GetConnect().GetToken(); got != "t3" {
			t.Fatalf("connected with token %q; want the third, t3", got)
		}
		p.send(proto.ErrTokenExpired.Frame(f.Id, "Too late."))
		if got := s.accept().next().GetConnect().GetToken(); got != "t4" {
			t.Fatalf("connected with token %q; want t4", got)
		}
	})
}

func TestRefusedConnect(t *testing.T) {
	for name, c := range map[string]struct {
		code  proto.ErrorCode
		final bool
	}{
		"unauthorized":                     {proto.ErrUnauthorized, true},
		"token_expired with a fixed token": {proto.ErrTokenExpired, true},
		"too_many_connections":             {proto.ErrTooManyUserConns, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				client := start(t, s, zero, nil)
				p := s.accept()
				p.send(retryFrame(p.next(), c.code, 7*time.Second))
				began := time.Now()
				if !c.final {
					s.welcome()
					if got := time.Since(began); got != 7*time.Second {
						t.Errorf("came back after %v; want retryAfterMs, 7 s", got)
					}
					return
				}
				s.none()
				var refused *RequestError
				if err := client.Err(); !errors.As(err, &refused) || refused.Name != c.code.Name {
					t.Errorf("Err() = %v; want %s", err, c.code.Name)
				}
				if _, err := client.Publish(t.Context(), "lobby", "x"); !errors.As(err, &refused) {
					t.Errorf("publish gave %v; want the reason of the end", err)
				}
			})
		})
	}
}

func TestRefusedUpgradeWaitsForRetryAfter(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		want   time.Duration
	}{
		"seconds": {"Retry-After: 20\r\n", 20 * time.Second},
		"none":    {"", 0},
		"garbage": {"Retry-After: soon\r\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				s.set(func(s *fakeServer) {
					s.refusal = "HTTP/1.1 503 Service Unavailable\r\n" + c.header + "Content-Length: 0\r\n\r\n"
				})
				var states history
				start(t, s, func() float64 { return 0.5 }, func(c *Config) { c.OnState = states.add })
				synctest.Wait()
				got := states.last()
				if want := c.want + 250*time.Millisecond; got.State != Waiting || got.RetryIn != want {
					t.Errorf("state is %+v; want waiting %v", got, want)
				}
				var status *StatusError
				if !errors.As(got.Err, &status) || status.Status != 503 {
					t.Errorf("error is %v; want HTTP status 503", got.Err)
				}
				s.set(func(s *fakeServer) { s.refusal = "" })
				s.welcome()
			})
		})
	}
}

func TestGoAway(t *testing.T) {
	goaway := &v1.ServerFrame{Op: &v1.ServerFrame_Goaway{Goaway: &v1.GoAway{
		Reason: "draining", AfterMs: 1200, WindowMs: 30000,
	}}}
	for name, early := range map[string]bool{"in its time": false, "server closes earlier": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				c := start(t, s, func() float64 { return 0.5 }, nil)
				p := s.welcome()
				subscription := join(c, p, "lobby", JoinOptions{}, func(f *v1.ClientFrame) *v1.ServerFrame {
					return joinedFrame(f, "e", 0, nil)
				})
				messages := follow(t, subscription)
				p.send(goaway)
				synctest.Wait()
				began := time.Now()
				pending, err := c.Enqueue(t.Context(), Publication{Room: "lobby", Key: "k", Text: "later"})
				if err != nil {
					t.Fatal(err)
				}
				p.quiet()
				p.send(messageFrame("lobby", 1))
				messages.expect(1, 1)
				if early {
					p.close(1001)
					began = time.Now()
				} else {
					if got := p.ended(); got != 1000 {
						t.Errorf("closed with %d; want 1000", got)
					}
					if got := time.Since(began); got != 1200*time.Millisecond {
						t.Errorf("closed after %v; want afterMs, 1.2 s", got)
					}
					began = time.Now()
				}
				p = s.welcome()
				if got := time.Since(began).Round(time.Millisecond); got != 15*time.Second {
					t.Errorf("came back after %v; want half of windowMs, 15 s", got)
				}
				p.send(joinedFrame(p.expectJoin("lobby", "e", 1), "e", 1, &yes))
				p.send(publishedFrame(p.expectPublish("k", "later"), 2))
				if _, err := pending.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestWakeConnectsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		s.set(func(s *fakeServer) { s.down = true })
		c := start(t, s, almostOne, nil)
		time.Sleep(20 * time.Second)
		s.set(func(s *fakeServer) { s.down = false })
		began := time.Now()
		c.Wake()
		s.welcome()
		if got := time.Since(began); got != 0 {
			t.Errorf("connected %v after Wake; want at once", got)
		}
	})
}

func TestSlowOnStateMayCallTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		var c *Client
		ready, ended := make(chan struct{}), make(chan struct{})
		c = start(t, s, zero, func(config *Config) {
			config.OnState = func(change StateChange) {
				<-ready
				time.Sleep(time.Minute)
				switch change.State {
				case Connected:
					c.Close()
				case Closed:
					close(ended)
				}
			}
		})
		close(ready)
		s.welcome()
		<-ended
	})
}

func TestCloseFailsAllThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		results := make(chan error, 3)
		go func() { _, err := c.Join(t.Context(), "a", JoinOptions{}); results <- err }()
		go func() { _, err := c.Publish(t.Context(), "a", "x"); results <- err }()
		go func() { _, err := c.History(t.Context(), "a", HistoryQuery{}); results <- err }()
		for range 3 {
			p.next()
		}
		c.Close()
		for range 3 {
			if err := <-results; !errors.Is(err, ErrClosed) {
				t.Errorf("got %v; want ErrClosed", err)
			}
		}
		if _, err := c.Join(t.Context(), "b", JoinOptions{}); !errors.Is(err, ErrClosed) {
			t.Errorf("join after Close gave %v; want ErrClosed", err)
		}
		c.Close()
	})
}

func TestCloseDoesNotWaitForADeadNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead, _ := net.Pipe() // nobody reads the other end
		s := newFakeServer(t)
		c := start(t, s, zero, func(c *Config) {
			c.URL = "tcp://raw:1"
			c.Dial = func(context.Context, string, string) (net.Conn, error) { return dead, nil }
		})
		synctest.Wait()
		began := time.Now()
		c.Close()
		if got := time.Since(began); got > goodbye {
			t.Errorf("Close took %v; want at most %v", got, goodbye)
		}
	})
}

func TestConfigFaultsComeTogether(t *testing.T) {
	_, err := New(Config{URL: "http://x", Name: "a", Token: "t", BackoffCap: -1, MaxQueued: -1})
	if err == nil {
		t.Fatal("want an error")
	}
	for _, part := range []string{"URL", "exactly one of", "BackoffCap", "MaxQueued"} {
		if !containsText(err, part) {
			t.Errorf("error %q does not tell about %s", err, part)
		}
	}
}
