package gateway_test

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
)

// metrics reads all of them by name and labels as they are written.
func metrics(t *testing.T, srv *gatewaytest.Server) map[string]float64 {
	t.Helper()
	res, err := http.Get("http://" + srv.AdminAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	all := map[string]float64{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || name == "#" {
			continue
		}
		if all[name], err = strconv.ParseFloat(value, 64); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
	}
	return all
}

// counting knows what went over a connection.
type counting struct {
	net.Conn
	read, written *atomic.Int64
}

func (c counting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// TestMetricsSayWhatHappened: what operators look at is what the peers have seen.
func TestMetricsSayWhatHappened(t *testing.T) {
	const loops, shards, members, rooms = 2, 3, 8, 12
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Loops, c.Shards = loops, shards
		c.Limits.ConnectionsPerIP = members
		c.Limits.MessagesPerSecond, c.Limits.MessageBurst = 1, rooms+1
	})
	var read, written atomic.Int64
	var peers []*peer
	for range members {
		// Over raw TCP, so that every byte is a frame's or the preface's.
		p := open(t, srv.Addr(), wire{name: "raw tcp", stream: true, codec: proto.Binary})
		written.Add(int64(len("ROOKERY\x01")))
		p.conn = counting{p.conn, &read, &written}
		p.in = bufio.NewReader(p.conn)
		connect(p, "", "alice")
		if p.must().GetConnected() == nil {
			t.Fatal("not connected")
		}
		for i := range rooms {
			p.enter("room " + strconv.Itoa(i))
		}
		peers = append(peers, p)
	}
	for i := range rooms {
		peers[0].publish("room "+strconv.Itoa(i), "key", "x")
		for replied := false; !replied; {
			replied = peers[0].must().GetPublished() != nil
		}
	}
	peers[1].publish("room 0", "key", "x") // once more; its reply may stand among the messages
	for duplicate := false; !duplicate; {
		duplicate = peers[1].must().GetPublished() != nil
	}
	published := float64(rooms)
	peers[2].publish("room 0", "", "x")
	for limited := false; !limited; {
		switch f := peers[2].must(); {
		case f.GetError().GetName() == proto.ErrRateLimited.Name:
			limited = true
		case f.GetPublished() != nil: // a bucket fills while a slow machine is at it
			published++
			peers[2].publish("room 0", "", "x")
		}
	}
	if _, err := tryOpen(t, srv.Addr(), wires[0]); err == nil {
		t.Fatal("one more than the cap of its address got in")
	}

	var all map[string]float64
	eventually(t, "the messages are delivered and the refused connection is gone", func() bool {
		all = metrics(t, srv)
		return all["rookery_deliveries_total"] == members*published && all[`rookery_connections_refused_total{reason="address"}`] == 1
	})
	for name, want := range map[string]float64{
		"rookery_connections":                               members,
		"rookery_connections_opened_total":                  members + 1,
		"rookery_sessions":                                  members,
		"rookery_subscriptions":                             members * rooms,
		"rookery_published_total":                           published,
		"rookery_publish_duplicates_total":                  1,
		"rookery_retry_keys":                                rooms,
		"rookery_rooms":                                     rooms,
		"rookery_log_rooms":                                 rooms,
		"rookery_log_records_total":                         published,
		"rookery_log_batch_records_sum":                     published,
		"rookery_requests_total":                            members*(1+rooms) + published + 2,
		`rookery_request_errors_total{name="rate_limited"}`: 1,
		`rookery_connections_refused_total{reason="flood"}`: 0,
		`rookery_connections_closed_total{code="peer"}`:     0,
		"rookery_log_queue_bytes":                           0,
		"rookery_outbound_bytes":                            0,
		"rookery_log_fault":                                 0,
	} {
		if got, ok := all[name]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, want)
		}
	}
	for _, s := range []struct {
		of, total string
		parts     int
	}{
		{"rookery_loop_connections{loop=", "rookery_connections", loops},
		{"rookery_loop_deliveries_total{loop=", "rookery_deliveries_total", loops},
		{"rookery_shard_published_total{shard=", "rookery_published_total", shards},
	} {
		sum, parts := 0.0, 0
		for name, value := range all {
			if strings.HasPrefix(name, s.of) {
				sum += value
				parts++
			}
		}
		if parts != s.parts || sum != all[s.total] {
			t.Errorf("%d of %s… add up to %v, want %d and %v", parts, s.of, sum, s.parts, all[s.total])
		}
	}
	for _, name := range []string{"rookery_log_sync_seconds_count", "rookery_log_sync_seconds_sum", "rookery_log_bytes", "process_resident_memory_bytes", "go_memstats_heap_inuse_bytes", "process_open_fds"} {
		if all[name] <= 0 {
			t.Errorf("%s is %v", name, all[name])
		}
	}
	// The refused upgrade had some bytes too, in both directions.
	if got, least := int64(all["rookery_received_bytes_total"]), written.Load(); got < least || got > least+500 {
		t.Errorf("rookery_received_bytes_total is %d, the peers sent %d and a request", got, least)
	}
	// What the peers have not read yet was sent all the same.
	if got, least := int64(all["rookery_sent_bytes_total"]), read.Load(); got < least || got > least+int64(members*published*100)+500 {
		t.Errorf("rookery_sent_bytes_total is %d, the peers have read %d", got, least)
	}
}
