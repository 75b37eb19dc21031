package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"rookery/gateway/internal/members"
	"rookery/gateway/internal/notice"
	"rookery/gateway/internal/room"
	"rookery/storage"
	"rookery/storage/catalog"
	"rookery/storage/commitlog"
)

// startNotices starts what tells the application of members, nil if it is not to be told.
func (s *Server) startNotices() (*notice.Keeper, error) {
	if !s.cfg.Webhooks.has(MembershipWebhook) {
		return nil, nil
	}
	keeper, err := notice.Start(notice.Config{
		Source:  noticeSource{s.store, s.log},
		Hook:    s.hook,
		History: fmt.Sprintf("%x-%s", s.store.LogID(), room.EpochName(s.store.Epoch())),
		Dir:     filepath.Join(s.cfg.Data, "webhooks"),
		Logger:  s.log,
	})
	if err != nil {
		return nil, fmt.Errorf("%w (setting data)", err)
	}
	return keeper, nil
}

// noticeSource is the catalog's room as notices are read from it.
type noticeSource struct {
	log    *commitlog.Log
	logger *slog.Logger
}

func (s noticeSource) Head() uint64  { return s.log.Head(catalog.Room) }
func (s noticeSource) Begin() uint64 { return s.log.Begin(catalog.Room) }

// noticePage is how much is read at a time.
var noticePage = storage.PageLimit{Records: 200, Bytes: 1 << 20}

func (s noticeSource) Read(after uint64, each func(notice.Record)) (last uint64, err error) {
	last = after
	var wrong error
	err = s.log.ReadAfter(catalog.Room, after, noticePage, func(r storage.Record) bool {
		var told notice.Record
		if told, wrong = noticesIn(r); wrong != nil {
			return false
		}
		if len(told.Notices) > 0 {
			each(told)
		}
		last = r.Seq
		return true
	})
	if damaged, ok := errors.AsType[*storage.DamagedError](err); ok {
		s.logger.Warn("notices of members pass over what the log has lost", "first", damaged.First, "last", damaged.Last, "err", damaged.Err)
		return max(last, damaged.Last), wrong
	}
	return last, errors.Join(err, wrong)
}

// noticesIn gives what a record of the catalog notes of members. The bytes are copies.
func noticesIn(r storage.Record) (told notice.Record, err error) {
	told.Number, told.At = r.Seq, r.At
	notes, err := catalog.Notes(r.Body)
	if err != nil {
		return told, fmt.Errorf("record %d: %w", r.Seq, err)
	}
	for _, note := range notes {
		var all []members.Notice
		if err := json.Unmarshal(note, &all); err != nil {
			return told, fmt.Errorf("record %d of the catalog has a note that is none of members: %w", r.Seq, err)
		}
		for _, n := range all {
			body, err := json.Marshal(noticeBody{r.At, n})
			if err != nil {
				return told, err
			}
			told.Notices = append(told.Notices, notice.Notice{Room: n.Room, Body: body})
		}
	}
	return told, nil
}

// noticeBody is what the application is told.
type noticeBody struct {
	At int64 `json:"at"` // Unix milliseconds
	members.Notice
}
