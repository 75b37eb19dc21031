package bench

import (
	"testing"

	"rookery/bench/benchtest"
	"rookery/bench/otherservers"
	"rookery/bench/plan"
	"rookery/bench/result"
)

func useWebSocket(p *plan.Plan, reaches string) {
	p.Server.Dialect, p.Server.Template = "websocket", otherservers.Template
	p.Server.Template.Reaches = reaches
	if reaches == "everyone" || reaches == "others" {
		p.Rooms.Count = 1
	}
}

// TestOtherServers puts the same load on real servers of others, and wants everything to arrive.
func TestOtherServers(t *testing.T) {
	for _, c := range []struct {
		name  string
		plan  func(t *testing.T, p *plan.Plan)
		reach int64 // members that get each message
		acks  bool
	}{
		{"ws, rooms", func(t *testing.T, p *plan.Plan) {
			useWebSocket(p, "room")
			p.Server.Targets = []string{otherservers.WebSocket(t, "room")}
		}, 4, false},
		{"ws, everyone", func(t *testing.T, p *plan.Plan) {
			useWebSocket(p, "everyone")
			p.Server.Targets = []string{otherservers.WebSocket(t, "everyone")}
		}, 12, false},
		{"ws, echo", func(t *testing.T, p *plan.Plan) {
			useWebSocket(p, "sender")
			p.Server.Targets = []string{otherservers.WebSocket(t, "sender")}
		}, 1, false},
		{"ws, all others", func(t *testing.T, p *plan.Plan) {
			useWebSocket(p, "others")
			p.Server.Targets = []string{otherservers.WebSocket(t, "others")}
		}, 11, false},
		{"Socket.IO", func(t *testing.T, p *plan.Plan) {
			p.Server.Dialect, p.Server.Targets = "socket.io", []string{otherservers.SocketIO(t)}
		}, 4, true},
		{"Centrifugo", func(t *testing.T, p *plan.Plan) {
			p.Server.Dialect, p.Server.Targets = "centrifugo", []string{otherservers.Centrifugo(t)}
		}, 4, true},
		{"MQTT over WebSocket", func(t *testing.T, p *plan.Plan) {
			web, _ := otherservers.Mosquitto(t)
			p.Server.Dialect, p.Server.Targets = "mqtt", []string{web}
		}, 4, false},
		{"MQTT over TCP, acknowledged", func(t *testing.T, p *plan.Plan) {
			_, tcp := otherservers.Mosquitto(t)
			p.Server.Dialect, p.Server.QoS, p.Server.Targets = "mqtt", 1, []string{tcp}
		}, 4, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := smallPlan("")
			c.plan(t, &p)
			p.Clients.Workers = 2
			r := runPlan(t, p)
			want := result.Counts{
				Connects: 12, Connected: 12, Joined: 12, Sent: 120, Expected: 120 * c.reach, Delivered: 120 * c.reach,
				BytesIn: r.Counts.BytesIn, BytesOut: r.Counts.BytesOut,
			}
			if c.acks {
				want.Acknowledged = 120
			}
			if r.Counts != want {
				t.Errorf("counts are %+v\nwant %+v\nfaults %v", r.Counts, want, r.Faults)
			}
		})
	}
}

// TestFaultsOfServersWithoutNumbers: where the server gives no numbers, the senders' own ones find the same.
func TestFaultsOfServersWithoutNumbers(t *testing.T) {
	for _, c := range []struct {
		name   string
		mode   benchtest.Mode
		faults benchtest.Faults
		want   func(benchtest.Truth) result.Counts
	}{
		{"echo, drop", benchtest.Echo, benchtest.Faults{Drop: 3}, func(s benchtest.Truth) result.Counts { return result.Counts{Lost: s.Dropped} }},
		{"broadcast, drop", benchtest.Broadcast, benchtest.Faults{Drop: 7}, func(s benchtest.Truth) result.Counts { return result.Counts{Lost: s.Dropped} }},
		{"broadcast, tail", benchtest.Broadcast, benchtest.Faults{DropTail: 2}, func(s benchtest.Truth) result.Counts { return result.Counts{Missing: s.TailKept} }},
		{"broadcast, duplicate", benchtest.Broadcast, benchtest.Faults{Duplicate: 5}, func(s benchtest.Truth) result.Counts {
			return result.Counts{Duplicated: s.Duplicated}
		}},
		// What is no message of the run is taken for the server's own talk.
		{"broadcast, garble", benchtest.Broadcast, benchtest.Faults{Garble: 9}, func(s benchtest.Truth) result.Counts {
			return result.Counts{Lost: s.Garbled}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := benchtest.Start(t, c.faults, func(config *benchtest.Config) { config.Mode = c.mode })
			p := smallPlan(s.URL())
			p.Server.Dialect, p.Server.Template.Reaches, p.Rooms.Count = "websocket", "everyone", 1
			if c.mode == benchtest.Echo {
				p.Server.Template.Reaches = "sender"
			}
			p.Time.Drain /= 10 // for what never comes
			r := runPlan(t, p)
			got := result.Counts{Lost: r.Counts.Lost, Duplicated: r.Counts.Duplicated, Reordered: r.Counts.Reordered, Foreign: r.Counts.Foreign, Missing: r.Counts.Missing}
			if got.Lost > 0 { // which message is a sender's last is left to the schedule
				got.Lost, got.Missing = r.Counts.Undelivered(), 0
			}
			if want := c.want(s.Truth()); got != want || want == (result.Counts{}) {
				t.Errorf("found %+v\nwant %+v\ntruth %+v", got, want, s.Truth())
			}
		})
	}
}
