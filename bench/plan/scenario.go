package plan

import (
	"fmt"
	"strings"
	"time"
)

// Scenario is a plan with a name.
type Scenario struct {
	Name    string
	Summary string
	change  func(*Plan)
}

// base is what every scenario begins with: something that any machine carries.
func base() Plan {
	return Plan{
		Server: Server{Dialect: "rookery", Targets: []string{"ws://127.0.0.1:8080/ws"}, Codec: "binary"},
		Clients: Clients{
			Connections: 1000, Timeout: 30 * time.Second, Retry: Retry{First: 200 * time.Millisecond, Most: 10 * time.Second},
		},
		Rooms:   Rooms{Count: 100, PerConnection: 1},
		Publish: Publish{Arrivals: "even", Size: 128},
		Time:    Time{Warmup: 3 * time.Second, Duration: 20 * time.Second, Drain: 10 * time.Second},
	}
}

// Scenarios lists them in the order in which help shows them.
func Scenarios() []Scenario {
	return []Scenario{
		{"idle", "connections that do nothing: memory, heartbeats", func(p *Plan) {
			p.Clients.Connections, p.Rooms.Count = 10_000, 1000
			p.Time.Duration = time.Minute
		}},
		{"storm", "connect, log in and join as fast as it goes", func(p *Plan) {
			p.Clients.Connections, p.Rooms.Count = 15_000, 1500
			p.Time.Duration = 5 * time.Second
		}},
		{"fanout", "one large room, few messages, many deliveries", func(p *Plan) {
			p.Clients.Connections, p.Rooms.Count = 5000, 1
			p.Publish.Rate, p.Publish.Senders = 10, 1
		}},
		{"rooms", "many rooms of two", func(p *Plan) {
			p.Clients.Connections, p.Rooms.Count = 5000, 2500
			p.Publish.Rate = 1000
		}},
		{"chat", "rooms of twenty; people type, write when they like, read, leave rooms, join rooms, come and go", func(p *Plan) {
			p.Clients.Connections = 2000
			p.Publish.Rate, p.Publish.Arrivals, p.Publish.Typing, p.Publish.Receipts = 500, "poisson", 0.2, 4*time.Second
			p.Trouble.Moves, p.Trouble.Churn = 50, 10
		}},
		{"slow", "a tenth of the consumers stops reading for a while", func(p *Plan) {
			p.Clients.Connections = 2000
			p.Publish.Rate = 1000
			p.Trouble.Stall = Stall{Share: 0.1, At: 5 * time.Second, For: 10 * time.Second}
			p.Time.Duration, p.Time.Drain = 30*time.Second, 20*time.Second
		}},
		{"reconnect", "everybody is cut off at once, and comes back at once", func(p *Plan) {
			p.Clients.Connections = 5000
			p.Publish.Rate = 500
			p.Trouble.Cut = Cut{Share: 1, At: 8 * time.Second, How: "reset"}
			p.Time.Drain = 20 * time.Second
		}},
		{"catchup", "everybody asks for the last messages of a room at once, while it goes on", func(p *Plan) {
			p.Clients.Connections = 2000
			p.Rooms.Backlog = 100
			p.Publish.Rate = 200
			p.Time.Duration = 10 * time.Second
		}},
		{"churn", "connections leave for good and new ones come", func(p *Plan) {
			p.Clients.Connections = 2000
			p.Publish.Rate = 200
			p.Trouble.Churn = 200
		}},
		{"ephemeral", "sixty messages a second to a room of 1,000, none of them stored", func(p *Plan) {
			p.Clients.Connections, p.Rooms.Count = 1000, 1
			p.Publish.Rate, p.Publish.Senders, p.Publish.Ephemeral, p.Publish.Size = 60, 1, true, 64
		}},
		{"soak", "chat for an hour", func(p *Plan) {
			p.Clients.Connections = 2000
			p.Publish.Rate, p.Publish.Arrivals, p.Publish.Typing, p.Publish.Receipts = 200, "poisson", 0.2, 4*time.Second
			p.Trouble.Moves, p.Trouble.Churn = 10, 5
			p.Time.Duration = time.Hour
		}},
	}
}

// Named gives the plan of a scenario.
func Named(name string) (Plan, error) {
	var names []string
	for _, s := range Scenarios() {
		if s.Name == name {
			p := base()
			p.Scenario = name
			s.change(&p)
			return p, nil
		}
		names = append(names, s.Name)
	}
	return Plan{}, fmt.Errorf("there is no scenario %q: use one of %s, or a file of a plan", name, strings.Join(names, ", "))
}
