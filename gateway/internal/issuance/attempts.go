package issuance

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"time"
)

// freely is how many orders may come to nothing before a restart has to wait with the next one: who mends something and starts the server
// again has another try at once, and a server that is started again and again does not use up what the authority permits.
const freely = 3

// attempts are what a restart has to know of a name whose orders come to nothing. The zero value is a name whose do not.
type attempts struct {
	Tried    time.Time `json:"tried"`    // the last one
	Failures int       `json:"failures"` // since the last success, without those that the authority was not reached for
	Limited  time.Time `json:"limited"`  // nothing is tried before, by the authority's word
}

func attemptsFile(name string) string { return name + ".tried" }

// attempts reads those of a name. A file that can't be read is none: it is only there to spare the authority.
func (f folder) attempts(name string, now time.Time) (past attempts) {
	content, err := f.read(attemptsFile(name))
	if err != nil || json.Unmarshal(content, &past) != nil {
		return attempts{}
	}
	past.Failures = min(max(past.Failures, 0), math.MaxInt16)
	// The clock may have been set back since.
	if past.Tried.After(now) {
		past.Tried = now
	}
	if latest := now.Add(longestWait); past.Limited.After(latest) {
		past.Limited = latest
	}
	return past
}

// note has a restart know of attempts.
func (f folder) note(name string, past attempts) error {
	if past == (attempts{}) {
		err := os.Remove(filepath.Join(f.dir, attemptsFile(name)))
		if isMissing(err) {
			return nil
		}
		return err
	}
	content, err := json.Marshal(past)
	if err != nil {
		return err
	}
	return f.write(attemptsFile(name), append(content, '\n'))
}

// remember has a name whose orders have come to nothing in an earlier process, or in the one before this one, wait.
func (k *Keeper) remember(s *state) {
	now := time.Now()
	s.past = k.folder.attempts(s.name, now)
	s.failures, s.limited = s.past.Failures, s.past.Limited
	if s.failures >= freely {
		s.next = s.past.Tried.Add(k.cfg.Pauses.restart())
	}
}

// begin notes that an order is under way, as one that came to nothing: the process may end in the middle.
func (k *Keeper) begin(s *state) error {
	return k.folder.note(s.name, attempts{time.Now().Round(0), s.past.Failures + 1, s.limited})
}

// end notes what came of it. Where that can't be written what begin has noted stays, which is the safe side.
func (k *Keeper) end(s *state, counts bool) {
	switch {
	case counts:
		s.past = attempts{time.Now().Round(0), s.past.Failures + 1, s.limited.Round(0)}
	case s.past != attempts{} || s.limited.After(time.Now()):
		s.past.Limited = s.limited.Round(0)
	}
	_ = k.folder.note(s.name, s.past)
}
