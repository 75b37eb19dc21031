package report

import (
	"encoding/csv"
	"io"
	"strconv"

	"rookery/bench/result"
)

// column is one value of a second; an empty text is one that was not measured.
type column struct {
	name string
	text func(s *result.Second) string
}

// csvColumns never change their names; new ones come at the end.
var csvColumns = func() []column {
	count := func(name string, read func(*result.Second) int64) column {
		return column{name, func(s *result.Second) string { return strconv.FormatInt(read(s), 10) }}
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	server := func(name string, read func(*result.Process) string) column {
		return column{name, func(s *result.Second) string {
			if !s.Server.Seen {
				return ""
			}
			return read(&s.Server)
		}}
	}
	host := func(name string, read func(*result.Kernel) string) column {
		return column{name, func(s *result.Second) string {
			if s.Host.Sockets == 0 {
				return ""
			}
			return read(&s.Host)
		}}
	}
	whole := func(v int64) string { return strconv.FormatInt(v, 10) }
	all := []column{
		count("open_connections", func(s *result.Second) int64 { return s.Open }),
		count("connects", func(s *result.Second) int64 { return s.Counts.Connects }),
		count("connected", func(s *result.Second) int64 { return s.Counts.Connected }),
		count("connects_failed", func(s *result.Second) int64 { return s.Counts.ConnectsFailed }),
		count("disconnected", func(s *result.Second) int64 { return s.Counts.Disconnected }),
		count("joined", func(s *result.Second) int64 { return s.Counts.Joined }),
		count("sent", func(s *result.Second) int64 { return s.Counts.Sent }),
		count("unsent", func(s *result.Second) int64 { return s.Counts.Unsent }),
		count("acknowledged", func(s *result.Second) int64 { return s.Counts.Acknowledged }),
		count("refused", func(s *result.Second) int64 { return s.Counts.Refused }),
		count("unanswered", func(s *result.Second) int64 { return s.Counts.Unanswered }),
		count("expected", func(s *result.Second) int64 { return s.Counts.Expected }),
		count("delivered", func(s *result.Second) int64 { return s.Counts.Delivered }),
		count("lost", func(s *result.Second) int64 { return s.Counts.Lost }),
		count("duplicated", func(s *result.Second) int64 { return s.Counts.Duplicated }),
		count("reordered", func(s *result.Second) int64 { return s.Counts.Reordered }),
		count("gaps", func(s *result.Second) int64 { return s.Counts.Gaps }),
		count("foreign", func(s *result.Second) int64 { return s.Counts.Foreign }),
		count("dropped", func(s *result.Second) int64 { return s.Counts.Dropped }),
		count("typing", func(s *result.Second) int64 { return s.Counts.Typing }),
		count("typing_delivered", func(s *result.Second) int64 { return s.Counts.TypingDelivered }),
		count("marks", func(s *result.Second) int64 { return s.Counts.Marks }),
		count("marked", func(s *result.Second) int64 { return s.Counts.Marked }),
		count("receipts", func(s *result.Second) int64 { return s.Counts.Receipts }),
		count("in_bytes", func(s *result.Second) int64 { return s.Counts.BytesIn }),
		count("out_bytes", func(s *result.Second) int64 { return s.Counts.BytesOut }),
	}
	for _, l := range []struct {
		name string
		pick func(*result.Second) result.Summary
	}{
		{"delivery", func(s *result.Second) result.Summary { return s.Delivery }},
		{"ack", func(s *result.Second) result.Summary { return s.Ack }},
		{"send_late", func(s *result.Second) result.Summary { return s.SendLate }},
	} {
		for i, suffix := range []string{"p50", "p90", "p99", "p999", "max"} {
			all = append(all, column{l.name + "_" + suffix + "_ms", func(s *result.Second) string {
				if l.pick(s).Count == 0 {
					return ""
				}
				return number(quantiles[i].read(l.pick(s)))
			}})
		}
	}
	return append(all,
		column{"client_cpu_seconds", func(s *result.Second) string { return number(s.Client.CPUSeconds) }},
		column{"client_busiest_loop_ratio", func(s *result.Second) string { return number(s.Client.BusiestLoop) }},
		column{"client_run_delay_seconds", func(s *result.Second) string { return number(s.Client.RunDelaySeconds) }},
		column{"client_memory_bytes", func(s *result.Second) string { return whole(s.Client.MemoryBytes) }},
		server("server_cpu_seconds", func(p *result.Process) string { return number(p.CPUSeconds) }),
		server("server_memory_bytes", func(p *result.Process) string { return whole(p.MemoryBytes) }),
		server("server_descriptors", func(p *result.Process) string { return whole(p.Descriptors) }),
		server("server_threads", func(p *result.Process) string { return whole(p.Threads) }),
		host("host_cpu_idle_ratio", func(k *result.Kernel) string { return number(k.CPUIdle) }),
		host("host_cpu_steal_ratio", func(k *result.Kernel) string { return number(k.CPUSteal) }),
		host("host_socket_bytes", func(k *result.Kernel) string { return whole(k.SocketBytes) }),
		host("host_sockets", func(k *result.Kernel) string { return whole(k.Sockets) }),
		host("host_time_wait", func(k *result.Kernel) string { return whole(k.TimeWait) }),
		host("host_retransmits", func(k *result.Kernel) string { return whole(k.Retransmits) }),
		host("host_listen_overflows", func(k *result.Kernel) string { return whole(k.ListenOverflows) }),
		host("host_listen_drops", func(k *result.Kernel) string { return whole(k.ListenDrops) }),
		count("came_back", func(s *result.Second) int64 { return s.Counts.CameBack }),
		count("stayed_away", func(s *result.Second) int64 { return s.Counts.StayedAway }),
		count("joins_refused", func(s *result.Second) int64 { return s.Counts.JoinsRefused }),
		count("presence", func(s *result.Second) int64 { return s.Counts.Presence }),
		column{"client_handshakes_waited_ratio", func(s *result.Second) string { return number(s.Client.HandshakesWaited) }},
		count("missing", func(s *result.Second) int64 { return s.Counts.Missing }),
	)
}()

// phaseOf names the part of the run that a second belongs to.
func phaseOf(r *result.Result, second int) Phase {
	switch {
	case second < warmupFrom(r):
		return Connecting
	case second < r.LoadFrom:
		return WarmUp
	case second < r.LoadTo:
		return Load
	}
	return Draining
}

// WriteCSV writes a row for each second, the phase and then the columns. What was not measured is an empty field.
func WriteCSV(w io.Writer, r *result.Result) error {
	out := csv.NewWriter(w)
	row := []string{"second", "phase"}
	for _, c := range csvColumns {
		row = append(row, c.name)
	}
	out.Write(row) // an error stays, for Error
	for i := range r.Seconds {
		row = append(row[:0], strconv.Itoa(i), string(phaseOf(r, i)))
		for _, c := range csvColumns {
			row = append(row, c.text(&r.Seconds[i]))
		}
		out.Write(row)
	}
	out.Flush()
	return out.Error()
}
