package interchange

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode/utf16"
	"unicode/utf8"
)

// parser reads one JSON object of strings, whole numbers and lists of strings. Package encoding/json
// would do, but it takes "Room" for "room", the second of two equal fields without a word, and puts
// U+FFFD in the place of what is no Unicode: each of them a message that is not the one that
// was exported. It belongs to one goroutine.
type parser struct {
	in      []byte
	at      int
	scratch []byte // of the last string with escapes
}

var errLineEnds = errors.New("the line ends in the middle: it is cut short")

// space passes over white space and gives the byte behind it, 0 at the end.
func (p *parser) space() byte {
	for ; p.at < len(p.in); p.at++ {
		switch b := p.in[p.at]; b {
		case ' ', '\t', '\r', '\n':
		default:
			return b
		}
	}
	return 0
}

// expect passes over a byte that must come next.
func (p *parser) expect(want byte) error {
	got := p.space()
	if p.at == len(p.in) {
		return errLineEnds
	}
	if got != want {
		return fmt.Errorf("%q at column %d, want %q: a line is one JSON object", got, p.at+1, want)
	}
	p.at++
	return nil
}

// object reads an object to the end of the line; field reads the value of each name. The name is
// valid until field reads.
func (p *parser) object(field func(name []byte) error) error {
	if err := p.expect('{'); err != nil {
		return err
	}
	if p.space() == '}' {
		p.at++
		return p.end()
	}
	for {
		name, err := p.string()
		if err != nil {
			return err
		}
		if err := p.expect(':'); err != nil {
			return err
		}
		if err := field(name); err != nil {
			return err
		}
		if p.space() == ',' {
			p.at++
			continue
		}
		if err := p.expect('}'); err != nil {
			return err
		}
		return p.end()
	}
}

func (p *parser) end() error {
	if b := p.space(); p.at < len(p.in) {
		return fmt.Errorf("%q at column %d, behind the object: a line is one JSON object", b, p.at+1)
	}
	return nil
}

// string reads a string, which is Unicode. The result is a view into the line or into the scratch
// buffer, valid until the next string.
func (p *parser) string() ([]byte, error) {
	if err := p.expect('"'); err != nil {
		return nil, err
	}
	start := p.at
	n := bytes.IndexByte(p.in[start:], '"')
	if n < 0 {
		return nil, errLineEnds
	}
	// Most strings have no escapes: the first quote ends them and they are taken as they stand.
	plain := p.in[start : start+n]
	if bytes.IndexByte(plain, '\\') >= 0 {
		return p.escaped()
	}
	p.at = start + n + 1
	return plain, checkPlain(plain, start)
}

// checkPlain refuses what no JSON string holds.
func checkPlain(text []byte, column int) error {
	for i, b := range text {
		if b < ' ' {
			return fmt.Errorf("byte %#02x at column %d: control characters are escaped in JSON", b, column+i+1)
		}
	}
	if !utf8.Valid(text) {
		return fmt.Errorf("string at column %d is not UTF-8", column)
	}
	return nil
}

func (p *parser) escaped() ([]byte, error) {
	p.scratch = p.scratch[:0]
	for {
		rest := p.in[p.at:]
		n := bytes.IndexAny(rest, `"\`)
		if n < 0 {
			return nil, errLineEnds
		}
		if err := checkPlain(rest[:n], p.at); err != nil {
			return nil, err
		}
		p.scratch = append(p.scratch, rest[:n]...)
		p.at += n + 1
		if rest[n] == '"' {
			return p.scratch, nil
		}
		if err := p.escape(); err != nil {
			return nil, err
		}
	}
}

// escape reads what stands behind a backslash.
func (p *parser) escape() error {
	if p.at == len(p.in) {
		return errLineEnds
	}
	b := p.in[p.at]
	p.at++
	switch b {
	case '"', '\\', '/':
	case 'b':
		b = '\b'
	case 'f':
		b = '\f'
	case 'n':
		b = '\n'
	case 'r':
		b = '\r'
	case 't':
		b = '\t'
	case 'u':
		return p.unicode()
	default:
		return fmt.Errorf(`escape \%c at column %d is none of JSON's`, b, p.at-1)
	}
	p.scratch = append(p.scratch, b)
	return nil
}

func (p *parser) unicode() error {
	r, err := p.hex()
	if err != nil {
		return err
	}
	if utf16.IsSurrogate(r) {
		var low rune
		if bytes.HasPrefix(p.in[p.at:], []byte(`\u`)) {
			p.at += 2
			if low, err = p.hex(); err != nil {
				return err
			}
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return fmt.Errorf("half of a surrogate pair before column %d: the string is not Unicode", p.at+1)
		}
	}
	p.scratch = utf8.AppendRune(p.scratch, r)
	return nil
}

func (p *parser) hex() (r rune, err error) {
	if len(p.in)-p.at < 4 {
		return 0, errLineEnds
	}
	for _, b := range p.in[p.at : p.at+4] {
		switch {
		case b >= '0' && b <= '9':
			b -= '0'
		case b >= 'a' && b <= 'f':
			b -= 'a' - 10
		case b >= 'A' && b <= 'F':
			b -= 'A' - 10
		default:
			return 0, fmt.Errorf(`escape \u at column %d has no four hexadecimal digits`, p.at-1)
		}
		r = r<<4 | rune(b)
	}
	p.at += 4
	return r, nil
}

// number reads a whole number: its sign, and how far it is from 0.
func (p *parser) number() (negative bool, n uint64, err error) {
	p.space()
	start := p.at
	if negative = p.at < len(p.in) && p.in[p.at] == '-'; negative {
		p.at++
	}
	first := p.at
	over := false
	for ; p.at < len(p.in) && p.in[p.at] >= '0' && p.in[p.at] <= '9'; p.at++ {
		digit := uint64(p.in[p.at] - '0')
		over = over || n > (math.MaxUint64-digit)/10
		n = n*10 + digit
	}
	switch {
	case p.at == first || p.at < len(p.in) && bytes.IndexByte([]byte(",} \t\r\n"), p.in[p.at]) < 0:
		return false, 0, fmt.Errorf("value at column %d is not a whole number", start+1)
	case p.in[first] == '0' && p.at > first+1:
		return false, 0, fmt.Errorf("number at column %d begins with 0", start+1)
	case over:
		return false, 0, p.outOfRange("0 to 2^64-1")
	}
	return negative, n, nil
}

func (p *parser) outOfRange(want string) error {
	return fmt.Errorf("number before column %d is out of range: it must be %s", p.at+1, want)
}

func (p *parser) uint() (uint64, error) {
	negative, n, err := p.number()
	if err == nil && negative {
		err = p.outOfRange("0 to 2^64-1")
	}
	return n, err
}

func (p *parser) int() (int64, error) {
	negative, n, err := p.number()
	most := uint64(math.MaxInt64)
	if negative {
		most++
	}
	switch {
	case err != nil:
		return 0, err
	case n > most:
		return 0, p.outOfRange("-2^63 to 2^63-1")
	case negative:
		return -int64(n), nil
	}
	return int64(n), nil
}

// base64 appends the bytes that a string stands for.
func (p *parser) base64(dst []byte) ([]byte, error) {
	text, err := p.string()
	if err != nil {
		return dst, err
	}
	dst, err = strictBase64.AppendDecode(dst, text)
	if err != nil {
		return dst, fmt.Errorf("string before column %d is not base64: %w", p.at+1, err)
	}
	return dst, nil
}

var strictBase64 = base64.StdEncoding.Strict()

// strings reads a list of strings.
func (p *parser) strings(most int) (list []string, err error) {
	if err := p.expect('['); err != nil {
		return nil, err
	}
	for {
		text, err := p.string()
		if err != nil {
			return nil, err
		}
		if list = append(list, string(text)); len(list) > most {
			return nil, fmt.Errorf("list has more than %d entries", most)
		}
		if p.space() == ',' {
			p.at++
			continue
		}
		return list, p.expect(']')
	}
}

// skip passes over a value of any form.
func (p *parser) skip() error {
	decoder := json.NewDecoder(bytes.NewReader(p.in[p.at:]))
	var value json.RawMessage
	if err := decoder.Decode(&value); err != nil {
		return fmt.Errorf("value at column %d: %w", p.at+1, err)
	}
	p.at += int(decoder.InputOffset())
	return nil
}
