package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"rookery/test/ledger"
	"rookery/test/powercut/disk"
)

// report is what a run adds up to.
type report struct {
	cuts          map[phase]int
	policies      map[disk.Policy]int
	filesystems   map[string]int // power cuts on each
	disks, epochs int
	checked       int // file systems that were found in order
	asked         disk.Counts
	writes        int // in the cache when the power went
	sectors       int // of them
	changed       int // that were left otherwise than last written
	found         found
	totals        ledger.Totals
	lost          int
	took          time.Duration
	hung          int // boots that came to nothing
	faults        []string
}

func newReport() *report {
	return &report{cuts: map[phase]int{}, policies: map[disk.Policy]int{}, filesystems: map[string]int{}}
}

func (r *report) rounds() int {
	n := 0
	for _, count := range r.cuts {
		n += count
	}
	return n
}

func (r *report) round(l *life, o outcome) {
	r.cuts[o.phase]++
	r.policies[o.cut.Policy]++
	r.filesystems[strings.TrimSpace(l.filesystem.name+" "+l.filesystem.options)]++
	r.writes += o.cut.Writes
	r.sectors += o.cut.Sectors
	r.changed += o.cut.Changed
	r.found.add(o.found)
	r.took += o.took
	r.hung += o.hung
	r.faults = append(r.faults, o.faults...)
}

func (r *report) life(l *life) {
	t := l.ledger.Totals()
	r.disks++
	r.epochs += len(l.auditor.epochs)
	r.totals.Acknowledged += t.Acknowledged
	r.totals.Again += t.Again
	r.totals.Delivered += t.Delivered
	r.totals.Audited += t.Audited
	r.lost += l.ledger.Lost()
	c := l.disk.Counts()
	r.asked.Writes += c.Writes
	r.asked.WrittenBytes += c.WrittenBytes
	r.asked.Flushes += c.Flushes
}

// write prints the end of a run.
func (r *report) write(w io.Writer) {
	n := r.rounds()
	fmt.Fprintf(w, "\npower cuts          %d, in %v: %.1f s each\n", n, r.took.Round(time.Second), r.took.Seconds()/float64(max(n, 1)))
	for _, p := range phases {
		fmt.Fprintf(w, "  %-22s %d\n", p, r.cuts[p])
	}
	if r.hung > 0 {
		fmt.Fprintf(w, "  %d boots took too long to begin and were tried again\n", r.hung)
	}
	fmt.Fprintf(w, "of the unflushed    ")
	for _, p := range []disk.Policy{disk.KeepNone, disk.KeepAll, disk.KeepPrefix, disk.KeepScattered} {
		fmt.Fprintf(w, "kept %v: %d  ", p, r.policies[p])
	}
	fmt.Fprintf(w, "\n  %d writes of %d sectors were in the cache, %d sectors were left otherwise than last written\n", r.writes, r.sectors, r.changed)
	fmt.Fprintf(w, "file systems        ")
	for _, f := range filesystems {
		name := strings.TrimSpace(f.name + " " + f.options)
		fmt.Fprintf(w, "%s: %d  ", name, r.filesystems[name])
	}
	fmt.Fprintf(w, "\n  %d disks, %d of them found in order by their fsck in the end; %d writes of %d MiB, %d flushes\n",
		r.disks, r.checked, r.asked.Writes, r.asked.WrittenBytes>>20, r.asked.Flushes)
	fmt.Fprintf(w, "messages            %d acknowledged, %d once more after a retry, %d shown to a watcher, %d read back\n",
		r.totals.Acknowledged, r.totals.Again, r.totals.Delivered, r.totals.Audited)
	fmt.Fprintf(w, "epochs              %d, of %d logs\n", r.epochs, r.disks)
	fmt.Fprintf(w, "recovery            %d starts; torn ends cut off: %d (%d bytes, to the ends of files); segments not yet born: %d; rewritten and not yet removed: %d; checkpoints ahead of the log: %d\n",
		r.found.starts, r.found.tornTails, r.found.tornBytes, r.found.unborn, r.found.rewritten, r.found.ahead)
	fmt.Fprintf(w, "full disks          the log stopped %d times and went on %d times\n", r.found.stops, r.found.heals)
	fmt.Fprintf(w, "retention           %d rewritten files were there at the starts\n", r.found.packed)
	fmt.Fprintf(w, "lost                %d\n", r.lost)
	for _, fault := range r.faults {
		fmt.Fprintf(w, "fault: %s\n", fault)
	}
}
