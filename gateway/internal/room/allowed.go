package room

import (
	"errors"
	"fmt"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage"
	"rookery/storage/changes"
)

// refusal is why a change is not made.
type refusal struct {
	code proto.ErrorCode
	text string
}

func (r refusal) Error() string { return r.text }

func refuse(code proto.ErrorCode, text string) error { return refusal{code, text} }

// allowed says why a change is refused, nil if it is not.
func (cs *checkers) allowed(c *handoff.Command, v *changes.View) error {
	target := c.Change.Target
	author, at, err := cs.target(c.Room, target)
	if err != nil {
		return err
	}
	state, _ := v.State(target)
	if err := v.Err(); err != nil {
		return err
	}
	if _, deletes := c.Change.Op.(*v1.Change_Delete); state.Deleted != 0 && deletes {
		return refuse(proto.ErrUnchanged, "The message is deleted already.")
	}
	if state.Deleted != 0 {
		return refuse(proto.ErrMessageDeleted, "The message was deleted.")
	}
	if err := cs.may(c, author, at); err != nil {
		return err
	}
	return cs.fits(c, v, state)
}

// target finds who wrote a message and when. The index may be asked by now, so the log is read inside its moment.
func (cs *checkers) target(room string, seq uint64) (author string, at int64, err error) {
	found, isChange := false, false
	err = cs.cfg.Log.ReadAfter(room, seq-1, storage.PageLimit{Records: 1}, func(r storage.Record) bool {
		if found = r.Seq == seq; found {
			author, at, isChange = string([]byte(r.From)), r.At, speaksOf(r.Body) != nil
		}
		return false
	})
	switch _, damaged := errors.AsType[*storage.DamagedError](err); {
	case damaged:
		return "", 0, refuse(proto.ErrHistoryDamaged, "The message can't be read; the operator can repair it.")
	case err != nil:
		return "", 0, err
	case !found:
		return "", 0, refuse(proto.ErrMessageNotFound, fmt.Sprintf("The room has no message %d, or not any more.", seq))
	case isChange:
		return "", 0, refuse(proto.ErrMessageNotFound, fmt.Sprintf("%d is a change itself; change the message that it is about.", seq))
	}
	return author, at, nil
}

// may is the one place that says who may do what, and for how long: an edit is its author's, within the room's time; a
// deletion that too, or a moderator's at any time; a pin everybody's or a moderator's, as the room has it; a reaction
// everybody's who may publish.
func (cs *checkers) may(c *handoff.Command, author string, at int64) error {
	own := c.User == author
	late := false
	if window, bounded := cs.cfg.EditWindow(c.Room); bounded {
		late = cs.cfg.Now().UnixMilli()-at > window.Milliseconds()
	}
	switch c.Change.Op.(type) {
	case *v1.Change_Edit:
		if !own {
			return refuse(proto.ErrChangeForbidden, "Only who wrote a message may edit it.")
		}
	case *v1.Change_Delete:
		if c.Change.Moderates {
			return nil
		}
		if !own {
			return refuse(proto.ErrChangeForbidden, "Only who wrote a message, and moderators, may delete it.")
		}
	case *v1.Change_Pin:
		if !c.Change.Pins && !c.Change.Moderates {
			return refuse(proto.ErrChangeForbidden, "Only moderators pin messages in this room.")
		}
		return nil
	default:
		return nil
	}
	if late {
		return refuse(proto.ErrChangeTooLate, "The message is too old to be changed in this room.")
	}
	return nil
}

// fits refuses what would change nothing, and what would be too much.
func (cs *checkers) fits(c *handoff.Command, v *changes.View, s changes.State) error {
	switch op := c.Change.Op.(type) {
	case *v1.Change_Edit:
		if s.Edits >= proto.MaxEdits {
			return refuse(proto.ErrTooManyChanges, "The message was edited as often as it may be.")
		}
	case *v1.Change_React:
		there := v.Reacted(c.Change.Target, op.React.GetReaction(), c.User)
		if there != op.React.GetRemove() {
			return refuse(proto.ErrUnchanged, "The reaction is there already, or not there to be taken back.")
		}
		if there {
			return nil
		}
		own, known := 0, false
		for _, r := range s.Reactions {
			known = known || r.Reaction == op.React.GetReaction()
			if v.Reacted(c.Change.Target, r.Reaction, c.User) {
				own++
			}
		}
		if own >= proto.MaxUserReactions || !known && len(s.Reactions) >= proto.MaxReactions {
			return refuse(proto.ErrTooManyChanges, "The message has as many reactions, of all or of you, as it may have.")
		}
	case *v1.Change_Pin:
		if (s.Pinned != 0) != op.Pin.GetRemove() {
			return refuse(proto.ErrUnchanged, "The message is pinned already, or not pinned.")
		}
		// The index may list what retention has taken, until it is swept; nobody could take those off.
		there := changes.Range{Position: cs.cfg.Log.Begin(c.Room) - 1, Most: proto.MaxPins}
		if !op.Pin.GetRemove() && len(v.Pins(there)) >= proto.MaxPins {
			return refuse(proto.ErrTooManyChanges, "The room has as many pinned messages as it may have; take one off first.")
		}
	}
	return nil
}

// forever is the time to edit of a Config without one.
func forever(string) (time.Duration, bool) { return 0, false }
