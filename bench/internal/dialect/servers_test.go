package dialect_test

import (
	"fmt"
	"strings"
	"testing"

	"rookery/bench/internal/dialect"
	"rookery/bench/otherservers"
	"rookery/bench/plan"
	"rookery/gateway/gatewaytest"
)

func TestRookery(t *testing.T) {
	t.Parallel()
	gateway := gatewaytest.Start(t)
	t.Run("binary", func(t *testing.T) { testRoom(t, plan.Server{Dialect: "rookery"}, gateway.URL(), 1) })
	t.Run("json", func(t *testing.T) { testRoom(t, plan.Server{Dialect: "rookery", Codec: "json"}, gateway.URL(), 2) })
	t.Run("tcp", func(t *testing.T) { testRoom(t, plan.Server{Dialect: "rookery"}, "tcp://"+gateway.Addr(), 3) })
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	server := plan.Server{Dialect: "websocket", Template: otherservers.Template}
	testRoom(t, server, otherservers.WebSocket(t, "room"), 7)
	server.Template.Binary = true
	testRoom(t, server, otherservers.WebSocket(t, "room"), 8)
}

// TestReaches: who gets a message of connection 1, which is in room 1 with connection 2, and 3 is not.
func TestReaches(t *testing.T) {
	for reaches, want := range map[string][]bool{
		"everyone":    {true, true, true},
		"others":      {false, true, true},
		"room":        {true, true, false},
		"room-others": {false, true, false},
		"sender":      {true, false, false},
	} {
		t.Run(reaches, func(t *testing.T) {
			t.Parallel()
			url := otherservers.WebSocket(t, reaches)
			config := dialect.Config{Server: plan.Server{Dialect: "websocket", Template: otherservers.Template}, Prefix: "r"}
			config.Server.Template.Reaches = reaches
			var clients []*client
			for i := range 3 {
				clients = append(clients, dial(t, config, url, uint32(i)))
			}
			for i, room := range []int{1, 1, 2} {
				clients[i].join(room)
			}
			clients[0].publish(1, 1)
			for i, c := range clients {
				if got := c.hears(); got != want[i] {
					t.Errorf("connection %d got the message: %v, want %v", i+1, got, want[i])
				}
			}
		})
	}
}

// hears joins another room, and reports whether a message came before the answer. When the first one of the
// clients has its answer, the server has seen what that one published before.
func (c *client) hears() (message bool) {
	c.t.Helper()
	c.write(c.dialect.AppendJoin(nil, &c.session, dialect.Join{ID: c.id(), Room: 9, After: -1}))
	for {
		e, err := c.next()
		if err != nil {
			c.t.Fatal(err)
		}
		switch e.Kind {
		case dialect.Message:
			message = true
		case dialect.Joined:
			return message
		}
	}
}

func TestSocketIO(t *testing.T) {
	t.Parallel()
	url := otherservers.SocketIO(t)
	testRoom(t, plan.Server{Dialect: "socket.io"}, url, 7)
	testRefusals(t, "socket.io", url, "forbidden", "not you")
	testPings(t, "socket.io", url)
}

func TestCentrifugo(t *testing.T) {
	t.Parallel()
	url := otherservers.Centrifugo(t)
	testRoom(t, plan.Server{Dialect: "centrifugo"}, url, 7)
	testRefusals(t, "centrifugo", url, "permission denied", "unauthorized")
	testPings(t, "centrifugo", url)
}

// testRefusals: a room that is not for us, and a login.
func testRefusals(t *testing.T, name, url, ofRoom, ofLogin string) {
	t.Helper()
	config := dialect.Config{Server: plan.Server{Dialect: name}, Prefix: "forbidden-"}
	c := dial(t, config, url, 1)
	c.write(c.dialect.AppendJoin(nil, &c.session, dialect.Join{ID: 77, Room: 1, After: -1}))
	if e := c.want(dialect.Refused, 77); e.Reason != ofRoom {
		t.Errorf("the room is refused because of %q, want %q", e.Reason, ofRoom)
	}
	config.Server.Token = "bad"
	c = open(t, config, url, 2)
	if e, err := c.next(); err == nil || !strings.Contains(err.Error(), "login was refused") || !strings.Contains(err.Error(), ofLogin) {
		t.Errorf("a bad token gives %+v, %v, want an error with %q", e, err, ofLogin)
	}
}

// testPings: the server pings again only after it has understood the answer.
func testPings(t *testing.T, name, url string) {
	t.Helper()
	c := dial(t, dialect.Config{Server: plan.Server{Dialect: name}, Prefix: "p"}, url, 1)
	for c.answers = 0; c.answers < 3; {
		if err := c.step(); err != nil {
			t.Fatalf("after %d pings: %v", c.answers, err)
		}
	}
}

func TestMQTT(t *testing.T) {
	t.Parallel()
	web, tcp := otherservers.Mosquitto(t)
	for qos := range 2 {
		for i, url := range []string{web, tcp} {
			t.Run(fmt.Sprint(url[:3], qos), func(t *testing.T) {
				testRoom(t, plan.Server{Dialect: "mqtt", QoS: qos}, url, 10*qos+i)
			})
		}
	}
}
