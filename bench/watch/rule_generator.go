package watch

import (
	"fmt"
	"math"
	"strings"
	"time"

	"rookery/bench/result"
)

// The generator's rules: what they find makes the run invalid.
var rulesOfGenerator = []rule{
	noPorts, noDescriptors, noFiles, noBuffers, workerEnded, nothingSent,
	busyLoop, waitsForProcessor, fullHost, handshakesWait, lateSends, wrongClocks, drift, unsent, stolen,
}

const (
	// busyLoopShare: a loop that runs over 95% of a second has no room for the next burst; what waits in it counts as
	// the server's latency, since it is received late.
	busyLoopShare = 0.95
	// handshakesShare: as for the loop. Handshakes that wait all the time are made at the generator's rate.
	handshakesShare = 0.95
	// waitShare and leastWait: a generator that waits for a processor as long as it runs, and at every other
	// moment has a thread that waits, receives its messages late by more than its own work takes. What waits less
	// is judged by how late it sends, which is compared with what is measured: on a host that others use too,
	// threads wait twice as long as they run with a quarter of it idle, and are late by fractions of a
	// millisecond.
	waitShare = 0.5
	leastWait = 0.5
	// fullIdle: below 5% idle a core of a host with many, or a tenth of one of two, is what is left.
	fullIdle = 0.05
	// lateShare and leastLate: the lateness of sends is in the measured latency, since that counts from the
	// intended time. From a tenth of it on it is told, which is more than runs differ among each other; from a quarter on the
	// figures are not the server's any more. Below a millisecond it is the timer's and the scheduler's grain.
	lateShare = 0.25
	toldShare = 0.1
	leastLate = time.Millisecond
	// clockShare: a wrong clock shifts all latencies between two hosts, not only some.
	clockShare = 0.1
	// unsentShare: one in a thousand, as p99.9 is the finest that tables show.
	unsentShare = 0.001
	// stolenShare: a hypervisor that takes a tenth of the processors stops both ends for long enough to make p99 its own.
	stolenShare = 0.1
)

// connectFaults counts the failed connects whose message has one of the texts, those of errno values as Go writes
// them. Only connects are asked: their errors are of this host's kernel, where others may repeat a peer's words.
func (e *evidence) connectFaults(texts ...string) (n int64) {
	for _, f := range e.Faults {
		if f.What != "connect" {
			continue
		}
		for _, text := range texts {
			if strings.Contains(f.Message, text) {
				n += f.Count
				break
			}
		}
	}
	return n
}

// local is a setting of the generator's host that kept connections from being made.
func local(n int64, setting, reason string) finding {
	if n == 0 {
		return finding{}
	}
	return finding{limitKernel, setting, fmt.Sprintf(reason, number(n)), true}
}

func noPorts(e *evidence) finding {
	return local(e.connectFaults("cannot assign requested address", "address already in use"), "net.ipv4.ip_local_port_range",
		"connects that found no free port: %s; use more source addresses, or a wider range")
}

func noFiles(e *evidence) finding {
	return local(e.connectFaults("too many open files in system"), "fs.file-max",
		"connects that found the generator's host without room for another open file: %s")
}

func noDescriptors(e *evidence) finding {
	n := e.connectFaults("too many open files") - e.connectFaults("too many open files in system")
	return local(n, "RLIMIT_NOFILE",
		"connects that found their worker without a free descriptor: %s; use more workers, or raise the limit")
}

func noBuffers(e *evidence) finding {
	return local(e.connectFaults("no buffer space available", "cannot allocate memory"), "net.ipv4.tcp_mem",
		"connects that found no memory for a socket on the generator's host: %s")
}

func workerEnded(e *evidence) finding {
	for _, f := range e.Faults {
		if f.What == "worker" {
			return finding{limitClient, "a worker of the generator", "a worker of the generator failed: " + f.Message, true}
		}
	}
	return finding{}
}

// nothingSent leaves the limit to the rules that know why.
func nothingSent(e *evidence) finding {
	if e.Plan.Publish.Sends() && e.Counts.Sent == 0 {
		return finding{reason: "nothing was sent", invalid: true}
	}
	return finding{}
}

func busyLoop(e *evidence) finding {
	n, sustained := e.sustained(func(s result.Second) bool { return s.Client.BusiestLoop > busyLoopShare })
	if !sustained {
		return finding{}
	}
	return finding{limitClient, "the generator's event loop: use more workers, or more load hosts",
		fmt.Sprintf("the busiest loop of the generator ran over %s of the time in %s",
			percent(busyLoopShare), e.ofSeconds(n)), true}
}

// handshakesWait is for a host with idle processors: one without any is told by fullHost, with who used them. It takes one processor
// less than there are to keep handshakes waiting, since the loop has its own.
func handshakesWait(e *evidence) finding {
	n, sustained := e.sustained(func(s result.Second) bool {
		return s.Client.HandshakesWaited > handshakesShare && (s.Host.Cores == 0 || s.Host.CPUIdle >= fullIdle)
	})
	if !sustained {
		return finding{}
	}
	return finding{limitClient, "the processors that the generator makes handshakes of TLS on: use more workers, or more load hosts",
		fmt.Sprintf("handshakes of TLS waited for a processor of the generator over %s of the time in %s", percent(handshakesShare), e.ofSeconds(n)), true}
}

func waitsForProcessor(e *evidence) finding {
	delay := 0.0
	n, sustained := e.sustained(func(s result.Second) bool {
		waited := s.Client.RunDelaySeconds
		delay = max(delay, waited)
		return waited >= leastWait && waited > waitShare*(waited+s.Client.CPUSeconds)
	})
	if !sustained {
		return finding{}
	}
	return finding{limitClient, "the processors that the generator may use" + e.shared(),
		fmt.Sprintf("the generator waited for a processor longer than it ran in %s, %.2g s at most",
			e.ofSeconds(n), delay), true}
}

// shared says who used the processors, where the generator was not alone.
func (e *evidence) shared() string {
	if e.seen {
		return ", which the server shares: run one of them elsewhere, or give each its own cores"
	}
	return ""
}

// fullHost is a host without idle processors on which the generator still got its share. Who used more of them was
// limited by them: a server that did could do more alone, and its figures are those of what it got.
func fullHost(e *evidence) finding {
	var server, client, others float64 // cores, in the seconds in which the host was full
	n, sustained := e.sustained(func(s result.Second) bool {
		if s.Host.Cores == 0 || s.Host.CPUIdle >= fullIdle {
			return false
		}
		server += s.Server.CPUSeconds
		client += s.Client.CPUSeconds
		others += max(0, float64(s.Host.Cores)*(1-s.Host.CPUIdle)-s.Server.CPUSeconds-s.Client.CPUSeconds)
		return true
	})
	if !sustained {
		return finding{}
	}
	reason := fmt.Sprintf("the coordinator's host had under %s of its %d cores idle in %s",
		percent(fullIdle), e.all.Cores, e.ofSeconds(n))
	if !e.seen || len(e.Plan.Clients.Hosts) > 0 {
		// What the generator used here and on other hosts is not told apart.
		return finding{limitClient, "the processors of the coordinator's host", reason, true}
	}
	seconds := float64(n)
	reason += fmt.Sprintf(": the server used %.2f, the generator %.2f, all else %.2f; they share them, so each could do more alone",
		server/seconds, client/seconds, others/seconds)
	if others > server+client {
		return finding{limitClient, "the processors of this host, most of which others used", reason, true}
	}
	if client > server {
		return finding{limitClient, "the processors of this host" + e.shared(), reason, true}
	}
	return finding{limit: limitServer, cause: "the processors of this host" + e.shared(), reason: reason}
}

func lateSends(e *evidence) finding {
	measured, of := e.Latencies.Delivery, "delivery"
	if measured.Count() == 0 {
		measured, of = e.Latencies.Ack, "acknowledgement"
	}
	late, p99 := e.Latencies.SendLate.Quantile(.99), measured.Quantile(.99)
	if measured.Count() == 0 || late <= leastLate || float64(late) <= toldShare*float64(p99) {
		return finding{}
	}
	if float64(late) <= lateShare*float64(p99) {
		return finding{reason: fmt.Sprintf("of the %s at p99 of %s up to %s is the generator's own lateness", of, milliseconds(p99), milliseconds(late))}
	}
	return finding{limitClient, "the generator sent too late: use more workers, or more load hosts",
		fmt.Sprintf("p99 of how late messages were sent is %s, over %s of the %s at p99 of %s",
			milliseconds(late), percent(lateShare), of, milliseconds(p99)), true}
}

// wrongClocks: between two load hosts a latency is wrong by as much as their clocks may be.
func wrongClocks(e *evidence) finding {
	wrong, p99 := time.Duration(0), e.Latencies.Delivery.Quantile(.99)
	for _, h := range e.Hosts {
		wrong = max(wrong, time.Duration(h.ClockErrorSeconds*float64(time.Second)))
	}
	if p99 == 0 || wrong <= leastLate || float64(wrong) <= clockShare*float64(p99) {
		return finding{}
	}
	return finding{limitClient, "the clocks of the load hosts: set them by PTP or NTP, or use one host",
		fmt.Sprintf("the clocks of the load hosts may be wrong by %s, over %s of the delivery at p99 of %s",
			milliseconds(wrong), percent(clockShare), milliseconds(p99)), true}
}

// drift: latencies between two hosts are wrong by what their clocks have moved since they were compared, half of them up and half of
// them down. The median hides it, so it is told; it stays true of each host alone.
func drift(e *evidence) finding {
	most, p50 := 0.0, e.Latencies.Delivery.Quantile(.5)
	for _, h := range e.Hosts {
		most = max(most, math.Abs(h.ClockDriftSeconds))
	}
	moved := time.Duration(most * float64(time.Second))
	if p50 == 0 || float64(moved) <= clockShare*float64(p50) {
		return finding{}
	}
	return finding{reason: fmt.Sprintf("the clocks of the load hosts drifted apart by %s within the run, over %s of the delivery at p50 of %s",
		milliseconds(moved), percent(clockShare), milliseconds(p50))}
}

// unsent tells whose doing it is that messages could not be sent. What the plan takes away on purpose is nobody's. A
// connection that the server ended, did not let in or did not read from is the server's. With no sign of either it is the
// generator's, since a run is believed only if it shows why.
func unsent(e *evidence) finding {
	c := e.Counts
	if float64(c.Unsent) <= unsentShare*float64(c.Sent+c.Unsent) {
		return finding{}
	}
	reason := fmt.Sprintf("%s of %s messages could not be sent when they were due", number(c.Unsent), number(c.Sent+c.Unsent))
	t := e.Plan.Trouble
	switch {
	case t.Cut.Share > 0 || t.Churn > 0 || t.Moves > 0:
		return finding{reason: reason + ", while the plan takes connections away"}
	case c.Disconnected > 0 || c.ConnectsFailed > 0 || c.Refused > 0 || c.Undelivered() > 0 || c.Unanswered > 0:
		return finding{reason: reason + ", with connections that the server ended, refused or did not serve"}
	case e.slow():
		return finding{reason: reason + ", while the server was over a second behind"}
	}
	return finding{limitClient, "the generator could not send what was due",
		reason + ", and nothing of the server explains it", true}
}

// slow says that the server answers so late that sockets fill up.
func (e *evidence) slow() bool {
	return max(e.Latencies.Delivery.Quantile(.99), e.Latencies.Ack.Quantile(.99)) > time.Second
}

// stolen stands among the generator's rules since it makes the figures those of the hypervisor.
func stolen(e *evidence) finding {
	n, sustained := e.sustained(func(s result.Second) bool { return s.Host.CPUSteal >= stolenShare })
	if !sustained {
		return finding{}
	}
	return finding{limitKernel, "the hypervisor, which gave the processors to other machines (steal)",
		fmt.Sprintf("the hypervisor took over %s of the processors in %s", percent(stolenShare), e.ofSeconds(n)), true}
}
