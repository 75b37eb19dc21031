package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"rookery/storage"
	"rookery/storage/vfs"
)

// SyncMode says when the log syncs, which is when a record counts as committed.
type SyncMode uint8

const (
	// SyncAlways syncs every batch before it is visible or acknowledged.
	SyncAlways SyncMode = iota
	// SyncInterval makes a batch visible and acknowledges it once it is written, and syncs
	// every Config.SyncEvery. Power loss takes at most that time's messages.
	SyncInterval
	// SyncNever leaves it to the kernel, except at the end of a segment and at Close.
	SyncNever
)

func (m SyncMode) String() string {
	switch m {
	case SyncAlways:
		return "always"
	case SyncInterval:
		return "interval"
	case SyncNever:
		return "never"
	}
	return fmt.Sprintf("SyncMode(%d)", uint8(m))
}

// Config is all that a log needs to know. Only Dir has no default.
type Config struct {
	// Dir holds the log and nothing else; it is made if missing.
	Dir string
	// FS is the file system. Default: vfs.Disk().
	FS vfs.FS
	// SegmentBytes is where a segment ends; it may be over by one batch. Default 64 MiB, at
	// least 4 KiB, at most 1 GiB.
	SegmentBytes int64
	// OpenSegments is how many files the log keeps open beside the active segment's; the one
	// unused for the longest is closed first. A read that finds its segment closed opens it; one that
	// finds so many being read at this moment waits. Default 32, at least 1; more is for
	// histories that are read all over.
	OpenSegments int
	// Sync is the mode. Default SyncAlways; the others are for those who can lose messages.
	Sync SyncMode
	// SyncEvery is the time between syncs in SyncInterval mode. Default 100 ms.
	SyncEvery time.Duration
	// QueueBytes bounds the memory of records that wait for the committer or are being
	// committed, and so the size of a batch. Default 16 MiB, at least 2 MiB. Where the disk
	// takes longer than a quarter of a second for a batch it is less.
	QueueBytes int
	// CheckpointBytes is how much log is written between checkpoints of the rooms, and so about how
	// much is read when the log is opened after a crash. Default 256 MiB, at least 1 MiB.
	CheckpointBytes int64
	// HealEvery is the time between attempts to go on after a failed write or sync. Default 1 s.
	HealEvery time.Duration
	// RetainEvery is the time between looks for what Retain's policy says is to go. Default 1 min.
	RetainEvery time.Duration
	// KeepFor keeps files as they are whose newest record is younger: what retention has taken from them
	// is still there for Recent. Default 0.
	KeepFor time.Duration
	// Logger gets the few lines that recovery writes. Default slog.Default().
	Logger *slog.Logger

	// growing makes files no longer than their content: for tests that count bytes.
	growing bool
	// unpaced lets background work go on without rest: for tests.
	unpaced bool
	// clock is set by tests.
	clock clock
}

const (
	minSegmentBytes = 4 << 10
	// maxSegmentBytes with a batch on top stays under the 4 GiB that the unsynced field of a
	// record can say.
	maxSegmentBytes = 1 << 30
	minQueueBytes   = 2 * storage.MaxBody
	maxQueueBytes   = 1 << 30

	minCheckpointBytes = 1 << 20
)

// withDefaults fills what is zero and reports all that is wrong.
func (c Config) withDefaults() (Config, error) {
	if c.FS == nil {
		c.FS = vfs.Disk()
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.OpenSegments == 0 {
		c.OpenSegments = 32
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = 100 * time.Millisecond
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = 16 << 20
	}
	if c.CheckpointBytes == 0 {
		c.CheckpointBytes = 256 << 20
	}
	if c.HealEvery == 0 {
		c.HealEvery = healEvery
	}
	if c.RetainEvery == 0 {
		c.RetainEvery = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.clock == nil {
		c.clock = newClock()
	}
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("no directory: set Dir to the log's own"))
	}
	if c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes {
		faults = append(faults, fmt.Errorf("segment size is %d: set SegmentBytes to %d to %d", c.SegmentBytes, minSegmentBytes, maxSegmentBytes))
	}
	if c.OpenSegments < 1 {
		faults = append(faults, fmt.Errorf("number of open segments is %d: set OpenSegments to 1 or more", c.OpenSegments))
	}
	if c.Sync > SyncNever {
		faults = append(faults, fmt.Errorf("sync mode is %v: set Sync to SyncAlways, SyncInterval or SyncNever", c.Sync))
	}
	if c.SyncEvery < 0 {
		faults = append(faults, fmt.Errorf("sync interval is %v: set SyncEvery to a positive time", c.SyncEvery))
	}
	if c.CheckpointBytes < minCheckpointBytes {
		faults = append(faults, fmt.Errorf("bytes between checkpoints are %d: set CheckpointBytes to %d or more", c.CheckpointBytes, minCheckpointBytes))
	}
	if c.HealEvery < 0 {
		faults = append(faults, fmt.Errorf("time between attempts to heal is %v: set HealEvery to a positive time", c.HealEvery))
	}
	if c.RetainEvery < 0 || c.KeepFor < 0 {
		faults = append(faults, fmt.Errorf("times of retention are %v and %v: set RetainEvery to a positive time and KeepFor to 0 or one", c.RetainEvery, c.KeepFor))
	}
	if c.QueueBytes < minQueueBytes || c.QueueBytes > maxQueueBytes {
		faults = append(faults, fmt.Errorf("queue size is %d: set QueueBytes to %d to %d", c.QueueBytes, minQueueBytes, maxQueueBytes))
	}
	return c, errors.Join(faults...)
}

// ahead is how much of a segment is written with zeros when no spare was ready for it.
func (c *Config) ahead() int64 {
	if c.growing {
		return segmentHeaderBytes
	}
	return min(startBytes, c.SegmentBytes)
}
