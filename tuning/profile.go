package tuning

import (
	"rookery/tuning/host"
)

// Profile is a plan for a kind of machine that is not there, for those who copy files.
type Profile struct {
	Name       string
	Means      string
	Memory     int64
	Processors int
	Target     Target // of 0 connections: as many as it holds when each has a message every ten seconds
}

// Profiles are the ready ones, in tuning/profiles.
func Profiles() []Profile {
	return []Profile{
		{Name: "vps-1gb", Means: "a rented machine of 1 GB with one processor", Memory: 1 << 30, Processors: 1},
		{Name: "vps-2gb", Means: "a rented machine of 2 GB with one processor", Memory: 2 << 30, Processors: 1},
		{Name: "vps-4gb", Means: "a rented machine of 4 GB with two processors", Memory: 4 << 30, Processors: 2},
		{Name: "vps-8gb", Means: "a rented machine of 8 GB with four processors", Memory: 8 << 30, Processors: 4},
		{Name: "vps-16gb", Means: "a rented machine of 16 GB with eight processors", Memory: 16 << 30, Processors: 8},
		{Name: "behind-proxy", Means: "4 GB and two processors, with nginx or HAProxy on the same machine; the proxy has the gateway under two addresses, 127.0.0.1 and 127.0.0.2", Memory: 4 << 30, Processors: 2,
			Target: Target{Role: BehindProxy, Connections: 90000, MessageRate: 9000, Sources: 2}},
		{Name: "load-generator", Means: "4 GB and four processors, from which rookery bench puts load on another machine, from one address", Memory: 4 << 30, Processors: 4,
			Target: Target{Role: LoadGenerator, Connections: 60000, MessageRate: 60000}},
	}
}

// Plan computes the plan of a profile.
func (p Profile) Plan() (Plan, error) {
	h, err := host.Typical(p.Memory, p.Processors)
	if err != nil {
		return Plan{}, err
	}
	t := p.Target
	if t.Connections == 0 {
		l := Capacity(h, t.Role).Loads[1]
		t.Connections, t.MessageRate = l.Connections, l.Rate*float64(l.Connections)
	}
	plan := Make(h, t, nil)
	plan.Machine = p.Means
	return plan, nil
}
