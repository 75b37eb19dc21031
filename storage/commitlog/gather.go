package commitlog

import "time"

const (
	// gatherTime is how long it is from one commit to the next where many records come.
	gatherTime = 4 * time.Millisecond
	// manyRecords have to come in the time of one commit.
	manyRecords = 16
)

// gather gives how long to wait for more records behind a commit of so many, which took so long and began so long after the one before. A commit costs
// some wake-ups of all who take part in it, however many records it has: on a disk that syncs in less than a millisecond that is a fifth of what a busy server
// does, and who waits for a processor waits longer than for this. Where few records come, and behind a slow sync, which is a wait by itself, it is none.
func gather(records int, took, since time.Duration) time.Duration {
	if took <= 0 || time.Duration(records)*took/manyRecords < since {
		return 0
	}
	return max(0, gatherTime-took)
}
