package interchange

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"rookery/storage"
)

const readBytes = 256 << 10

// LineError is a line that can't be taken as it is. Those before it were.
type LineError struct {
	Line uint64 // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap gives what is wrong.
func (e *LineError) Unwrap() error { return e.Err }

// ErrCutShort says that the footer is missing: the file is the beginning of an export.
var ErrCutShort = errors.New("the file is cut short: its last line is not the footer")

var (
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
	errLongLine  = fmt.Errorf("line is longer than %d bytes: no line of an export is", maxLineBytes)
	errNoHeader  = errors.New("the first line is not a header: is this an export of rookery, from its beginning?")
	errHeaders   = errors.New("a second header: import one export after the other")
	errBehindEnd = errors.New("a line behind the footer: import one export after the other")
)

// reader gives the lines of an export and checks what holds them together: header, footer, checksum.
// It belongs to one goroutine.
type reader struct {
	in      *bufio.Reader
	decoder *decoder
	long    []byte // a line that is longer than in's buffer

	lines  uint64 // given
	bytes  int64  // of them
	sum    uint32 // of them
	footer bool   // was given
}

func newReader(in io.Reader, contents Contents) *reader {
	return &reader{in: bufio.NewReaderSize(in, readBytes), decoder: newDecoder(contents)}
}

// next gives the next line, io.EOF behind the footer, ErrCutShort where the file ends without one, or
// a *LineError. Lines of others are passed over.
func (r *reader) next(l *line) error {
	for {
		if err := r.any(l); err != nil || l.kind != kindIgnored {
			return err
		}
	}
}

func (r *reader) any(l *line) error {
	line, err := r.line()
	whole := err == nil
	switch {
	case err == io.EOF && len(line) == 0 && r.footer:
		return io.EOF
	case err == io.EOF && len(line) == 0:
		return ErrCutShort
	case err == io.EOF: // without a line feed
	case err == errLongLine:
		return r.wrong(err)
	case err != nil:
		return fmt.Errorf("read line %d: %w", r.lines+1, err)
	}
	if err := r.check(l, r.decoder.decode(l, line), whole); err == ErrCutShort {
		return err
	} else if err != nil {
		return r.wrong(err)
	}
	r.footer = l.kind == kindFooter
	r.lines++
	r.bytes += int64(len(line))
	r.sum = crc32.Update(r.sum, castagnoli, line)
	return nil
}

// check says what is wrong with a line at its place; err is what is wrong with the line alone.
func (r *reader) check(l *line, err error, whole bool) error {
	first := r.lines == 0
	switch {
	case r.footer:
		return errBehindEnd
	case first && l.kind != kindHeader:
		return errNoHeader // whatever else is wrong with it
	case !whole && (err != nil || l.kind != kindFooter):
		// Even a line that can be read may go on in the part that is missing.
		return ErrCutShort
	case err != nil:
		return err
	case !first && l.kind == kindHeader:
		return errHeaders
	case l.kind == kindFooter:
		return r.checkFooter(l)
	}
	return nil
}

// line gives the next line with its line feed; io.EOF comes with a last line that has none.
func (r *reader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return line, err
	}
	r.long = append(r.long[:0], line...)
	for err == bufio.ErrBufferFull && len(r.long) <= maxLineBytes {
		line, err = r.in.ReadSlice('\n')
		r.long = append(r.long, line...)
	}
	if len(r.long) > maxLineBytes {
		return nil, errLongLine
	}
	return r.long, err
}

func (r *reader) checkFooter(l *line) error {
	switch {
	case l.Lines != r.lines:
		return fmt.Errorf("the footer counts %d lines before it, there are %d: the file is not as it was exported", l.Lines, r.lines)
	case l.Checksum != checksumText(r.sum):
		return fmt.Errorf("the footer's checksum is %s, that of the lines is %s: the file is not as it was exported", l.Checksum, checksumText(r.sum))
	}
	return nil
}

func checksumText(sum uint32) string { return fmt.Sprintf("%08x", sum) }

// wrong says which line it is.
func (r *reader) wrong(err error) error { return &LineError{Line: r.lines + 1, Err: err} }

func recordWithBody(body []byte) storage.Record { return storage.Record{Body: body[:0]} }
