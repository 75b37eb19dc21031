package commitlog

import (
	"errors"

	"rookery/storage"
)

func (l *Log) openPacked(*segment) error { return errors.New("packed") }

func (s *scanner) scanPacked(*segment, position, func(recordHeader, storage.Record, position) error, func(int64, error)) error {
	return errors.New("packed")
}
