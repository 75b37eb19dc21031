package dialect

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"rookery/bench/plan"
)

// reaches by the names of plan.Template.
var reaches = map[string]Reach{
	"everyone": Everyone, "others": Others, "room": Room, "room-others": RoomOthers, "sender": Sender,
}

// template is a plan.Template, compiled.
type template struct {
	connect, join, leave, publish, joined text
	reaches                               Reach
}

// compile checks all of t and gives its faults together.
func compile(t plan.Template) (template, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("template: "+format, args...)) }
	read := func(name, source string, allowed ...string) text {
		compiled, unknown := compileText(source)
		for _, word := range unknown {
			fault("%s has %s, which is no placeholder; there are {room}, {user}, {id} and {body}", name, word)
		}
		for _, p := range compiled {
			if p.placeholder != "" && !slices.Contains(allowed, p.placeholder) {
				fault("%s has %s, which it knows nothing of; it can have %s", name, p.placeholder, strings.Join(allowed, ", "))
			}
		}
		return compiled
	}
	if t.Publish == "" {
		t.Publish = "{body}"
	}
	c := template{
		connect: read("connect", t.Connect, "{user}"),
		join:    read("join", t.Join, "{room}", "{user}", "{id}"),
		leave:   read("leave", t.Leave, "{room}", "{user}", "{id}"),
		publish: read("publish", t.Publish, "{room}", "{user}", "{id}", "{body}"),
		joined:  read("joined", t.Joined, "{room}", "{user}", "{id}"),
	}
	if !slices.ContainsFunc(c.publish, func(p piece) bool { return p.placeholder == "{body}" }) {
		fault("publish has no {body}: the message could not be known when it comes back")
	}
	if t.Join == "" && t.Joined != "" {
		fault("joined is set and join is not: no answer comes where nothing is asked")
	}
	if t.Join == "" && t.Leave != "" {
		fault("leave is set and join is not: there is nothing to leave")
	}
	known := false
	switch c.reaches, known = reaches[t.Reaches]; {
	case t.Reaches == "" && t.Join == "":
		c.reaches = Everyone
	case t.Reaches == "":
		c.reaches = Room
	case !known:
		fault("reaches is %q: use everyone, others, room, room-others or sender", t.Reaches)
	case t.Join == "" && (c.reaches == Room || c.reaches == RoomOthers):
		fault("reaches is %s and join is empty: nobody would be in a room", t.Reaches)
	}
	return c, errors.Join(faults...)
}

// text is a text with placeholders.
type text []piece

// piece is a placeholder, or bytes as they are.
type piece struct {
	placeholder string
	literal     []byte
}

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

func compileText(source string) (compiled text, unknown []string) {
	for len(source) > 0 {
		at := placeholder.FindStringIndex(source)
		if at == nil {
			return append(compiled, piece{literal: []byte(source)}), unknown
		}
		if at[0] > 0 {
			compiled = append(compiled, piece{literal: []byte(source[:at[0]])})
		}
		switch word := source[at[0]:at[1]]; word {
		case "{room}", "{user}", "{id}", "{body}":
			compiled = append(compiled, piece{placeholder: word})
		default:
			unknown = append(unknown, word)
		}
		source = source[at[1]:]
	}
	return compiled, unknown
}

// values are what the placeholders stand for.
type values struct {
	room int
	user uint32
	id   uint32
	body []byte
}

func (t text) append(dst []byte, n *names, v values) []byte {
	for _, p := range t {
		switch p.placeholder {
		case "{room}":
			dst = n.append(dst, v.room)
		case "{user}":
			dst = n.append(dst, int(v.user))
		case "{id}":
			dst = appendInteger(dst, uint64(v.id))
		case "{body}":
			dst = append(dst, v.body...)
		default:
			dst = append(dst, p.literal...)
		}
	}
	return dst
}
