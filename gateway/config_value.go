package gateway

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A value is one field of a Config as its users write it. Set reads what a file, a
// variable or a flag says, String writes what Set reads, and fault says why the field
// can't be what it is, "" if it can. Set checks the form and fault the meaning, so that a
// Config which a program filled in is checked as well as one that was read.
type value interface {
	flag.Value
	fault() string
}

// stringValue takes any text; the rules of the whole Config judge it.
type stringValue struct{ field *string }

func (v stringValue) String() string { return *v.field }

func (v stringValue) Set(text string) error {
	*v.field = text
	return nil
}

func (v stringValue) fault() string {
	if !utf8.ValidString(*v.field) || strings.ContainsRune(*v.field, 0) {
		return "is not UTF-8 text without NUL"
	}
	return ""
}

// Secret is a text that is used but never shown: whatever prints a Config prints "(secret)"
// in its place.
type Secret string

// Format implements [fmt.Formatter] for every verb.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "(secret)") }

// MarshalText implements [encoding.TextMarshaler], which JSON and slog use.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

type secretValue struct{ field *Secret }

func (v secretValue) String() string { return string(*v.field) }

func (v secretValue) Set(text string) error {
	*v.field = Secret(text)
	return nil
}

func (v secretValue) fault() string { return "" }

type boolValue struct{ field *bool }

func (v boolValue) String() string   { return strconv.FormatBool(*v.field) }
func (v boolValue) IsBoolFlag() bool { return true }
func (v boolValue) fault() string    { return "" }

// Set takes true and false only: with the many spellings of YAML 1.1, "no" is a word to
// one reader and a refusal to the next.
func (v boolValue) Set(text string) error {
	switch text {
	case "true":
		*v.field = true
	case "false":
		*v.field = false
	default:
		return fmt.Errorf("is neither true nor false")
	}
	return nil
}

type intValue struct {
	field     *int
	low, high int
}

func (v intValue) String() string { return strconv.Itoa(*v.field) }

func (v intValue) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("is not a whole number; write it in digits, like %d", max(v.low, 10))
	}
	*v.field = n
	return nil
}

func (v intValue) fault() string {
	switch {
	case *v.field < v.low:
		return fmt.Sprintf("is under the least, %d", v.low)
	case *v.field > v.high:
		return fmt.Sprintf("is over the most, %d", v.high)
	}
	return ""
}

// sizeValue counts bytes.
type sizeValue[T int | int64] struct {
	field     *T
	low, high T
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (v sizeValue[T]) String() string { return formatSize(int64(*v.field)) }

func formatSize(bytes int64) string {
	for _, u := range sizeUnits {
		if bytes >= u.bytes && bytes%u.bytes == 0 && u.bytes > 1 {
			return fmt.Sprintf("%d%s", bytes/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(bytes, 10)
}

func (v sizeValue[T]) Set(text string) error {
	digits, unit := text, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			digits, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/unit || n < math.MinInt64/unit || int64(T(n*unit)) != n*unit {
		return fmt.Errorf("is not a size; write whole bytes, or KiB, MiB or GiB, like 64KiB")
	}
	*v.field = T(n * unit)
	return nil
}

func (v sizeValue[T]) fault() string {
	switch {
	case *v.field < v.low:
		return "is under the least, " + formatSize(int64(v.low))
	case *v.field > v.high:
		return "is over the most, " + formatSize(int64(v.high))
	}
	return ""
}

type durationValue struct {
	field     *time.Duration
	low, high time.Duration
}

// String drops the zero units of Duration.String ("10m0s"), which nobody writes.
func (v durationValue) String() string {
	s := v.field.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (v durationValue) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("is not a duration; write a number and ms, s, m or h, like 30s")
	}
	*v.field = d
	return nil
}

func (v durationValue) fault() string {
	switch {
	case *v.field < v.low:
		return fmt.Sprintf("is under the least, %v", durationValue{field: &v.low})
	case *v.field > v.high:
		return fmt.Sprintf("is over the most, %v", durationValue{field: &v.high})
	}
	return ""
}

// choiceValue is one word of a few.
type choiceValue[T ~string] struct {
	field *T
	words []T
}

func (v choiceValue[T]) String() string { return string(*v.field) }

func (v choiceValue[T]) Set(text string) error {
	*v.field = T(text)
	return nil
}

func (v choiceValue[T]) fault() string {
	if slices.Contains(v.words, *v.field) {
		return ""
	}
	return "is none of " + join(v.words)
}

func join[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

type levelValue struct{ field *slog.Level }

func (v levelValue) String() string { return strings.ToLower(v.field.String()) }

func (v levelValue) Set(text string) error {
	if err := v.field.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("is none of debug, info, warn, error")
	}
	return nil
}

func (v levelValue) fault() string { return "" }

// listValue is any number of texts. A variable or a flag separates them by commas; a flag
// may be repeated; a file has a sequence. An entry that contains a comma can only be
// written in a file.
type listValue struct{ field *[]string }

func (v listValue) String() string { return strings.Join(*v.field, ",") }

func (v listValue) Set(text string) error {
	v.setAll(splitList(text))
	return nil
}

func (v listValue) setAll(entries []string) { *v.field = entries }

func (v listValue) fault() string {
	for i, entry := range *v.field {
		if (stringValue{&entry}).fault() != "" || strings.TrimSpace(entry) != entry || entry == "" {
			return fmt.Sprintf("has an entry %d, %q, that is empty or no plain text", i+1, entry)
		}
		if slices.Contains((*v.field)[:i], entry) {
			return fmt.Sprintf("has %q twice", entry)
		}
	}
	return ""
}

func splitList(text string) []string {
	if text == "" {
		return nil
	}
	entries := strings.Split(text, ",")
	for i := range entries {
		entries[i] = strings.TrimSpace(entries[i])
	}
	return entries
}
