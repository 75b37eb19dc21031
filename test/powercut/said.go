package main

import (
	"regexp"
	"strconv"
	"strings"
)

// found is what the server said about what it found on the disk, over many starts.
type found struct {
	starts       int
	tornTails    int
	tornBytes    int64 // up to the end of a file that was made ready ahead
	unborn       int   // segments that were being created
	rewritten    int   // segments that were a part of a rewritten one and not removed yet
	ahead        int   // checkpoints that said more than the log
	stops, heals int   // of the log, with a full disk
	packed       int   // files that were there and were rewritten by retention
}

func (f *found) add(other found) {
	f.starts += other.starts
	f.tornTails += other.tornTails
	f.tornBytes += other.tornBytes
	f.unborn += other.unborn
	f.rewritten += other.rewritten
	f.ahead += other.ahead
	f.stops += other.stops
	f.heals += other.heals
	f.packed += other.packed
}

var cutBytes = regexp.MustCompile(`\bcut_bytes=(\d+)`)

// What the server's log says, from storage/commitlog.
const (
	saysServing = "msg=serving"
	saysTorn    = "torn end of the log is cut off"
	saysUnborn  = "newest segment was being created at a crash"
	saysMerged  = "segment was rewritten as a part of the one before it"
	saysAhead   = "checkpoint of the rooms is ahead of the log"
	saysStopped = "log takes no appends until the disk answers again"
	saysHealed  = "log takes appends again"
	saysSpace   = "no space left on device"
	// What a server ends with whose log takes no appends.
	saysEnd = "rookery serve: storage fault: "
)

// take reads a line. fault says whether it tells of something that no power cut may cause: a disk that
// keeps what was flushed has no damage, and a log on it no new epoch.
func (f *found) take(line string, cramped bool) (fault bool) {
	switch {
	case strings.Contains(line, saysServing):
		f.starts++
	case strings.Contains(line, saysTorn):
		f.tornTails++
		if m := cutBytes.FindStringSubmatch(line); m != nil {
			n, _ := strconv.ParseInt(m[1], 10, 64) // digits; one that is too long is none of ours
			f.tornBytes += n
		}
	case strings.Contains(line, saysUnborn):
		f.unborn++
	case strings.Contains(line, saysMerged):
		f.rewritten++
	case strings.Contains(line, saysAhead):
		f.ahead++
	case strings.Contains(line, saysHealed):
		f.heals++
	case strings.Contains(line, saysStopped) && cramped && strings.Contains(line, saysSpace):
		f.stops++
	case strings.Contains(line, "level=DEBUG"), strings.Contains(line, "level=INFO"):
	case strings.Contains(line, "level=WARN") && cramped && strings.Contains(line, saysSpace):
	case strings.Contains(line, saysEnd) && cramped && strings.Contains(line, saysSpace):
	default:
		return true // warnings and errors that are not known, panics
	}
	return false
}

// kernelFault finds what a kernel says whose file system is damaged, or which is itself. It is told to
// write only errors and worse to the console.
var kernelFault = regexp.MustCompile(`EXT4-fs error|EXT4-fs \(.*(abort|corrupt|failed)|JBD2:.*([Ee]rror|abort)|` +
	`XFS \(.*([Cc]orrupt|[Ss]hut)|BTRFS (error|critical)|I/O error|Kernel panic|BUG:|Oops`)
