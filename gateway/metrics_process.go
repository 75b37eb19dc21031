package gateway

import (
	"os"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs"
)

// processMetrics are those that all processes have by Prometheus' custom. They are not collected by the library's own collector, since
// before Linux 6.2 that reads the names of all open files each time: of a million connections a second of a processor, and a hundred
// megabytes to be collected.
type processMetrics struct {
	// connections is how many there are now.
	connections func() int
	// size is how many files are open by the size of their directory, 0 where the kernel does not say it.
	size func() int64
	// others is how many open files were no connections when they were last counted.
	others atomic.Int64

	cpu, open, mostOpen, virtual, resident, begun *prometheus.Desc
}

// fewConnections are so few that the names of the open files can be read at each scrape.
const fewConnections = 2000

const openFiles = "/proc/self/fd"

func newProcessMetrics(connections func() int) *processMetrics {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	p := &processMetrics{
		connections: connections,
		size: func() int64 {
			directory, err := os.Stat(openFiles)
			if err != nil {
				return 0
			}
			return directory.Size()
		},
		cpu:      desc("process_cpu_seconds_total", "CPU of the process, user and system, in seconds."),
		open:     desc("process_open_fds", "Open file descriptors; before Linux 6.2 and beyond 2,000 connections those plus what else was open before."),
		mostOpen: desc("process_max_fds", "The most file descriptors that may be open."),
		virtual:  desc("process_virtual_memory_bytes", "Virtual memory of the process."),
		resident: desc("process_resident_memory_bytes", "Resident memory of the process, without what the kernel has for its sockets."),
		begun:    desc("process_start_time_seconds", "When the process began, in seconds since 1970."),
	}
	if p.size() == 0 {
		p.countOthers()
	}
	return p
}

// countOthers reads the names of all open files.
func (p *processMetrics) countOthers() {
	connections := p.connections()
	if directory, err := os.Open(openFiles); err == nil {
		names, _ := directory.Readdirnames(-1)
		directory.Close()
		p.others.Store(int64(max(0, len(names)-1-connections))) // one is the directory itself
	}
}

func (p *processMetrics) openFiles() int {
	if size := p.size(); size > 0 {
		return int(size)
	}
	if p.connections() <= fewConnections {
		p.countOthers()
	}
	return int(p.others.Load()) + p.connections()
}

// Describe implements [prometheus.Collector].
func (p *processMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{p.cpu, p.open, p.mostOpen, p.virtual, p.resident, p.begun} {
		to <- d
	}
}

// Collect implements [prometheus.Collector]. What the kernel does not tell is left out.
func (p *processMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
	}
	gauge(p.open, float64(p.openFiles()))
	self, err := procfs.Self()
	if err != nil {
		return
	}
	if limits, err := self.Limits(); err == nil {
		gauge(p.mostOpen, float64(limits.OpenFiles))
	}
	stat, err := self.Stat()
	if err != nil {
		return
	}
	to <- prometheus.MustNewConstMetric(p.cpu, prometheus.CounterValue, stat.CPUTime())
	gauge(p.virtual, float64(stat.VirtualMemory()))
	gauge(p.resident, float64(stat.ResidentMemory()))
	if begun, err := stat.StartTime(); err == nil {
		gauge(p.begun, begun)
	}
}
