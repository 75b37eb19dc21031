package gateway

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Print writes the configuration in force as a YAML file that --config reads again, with
// a comment at each line that says where the value came from. Secrets are left out, and so are
// addresses with something in them that may be one: a comment says that there is one.
func (c Config) Print(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintln(&out, "# The configuration in force. It can be used with --config.")
	openGroup := ""
	for _, s := range settings() {
		v := s.value(&c)
		group, key, nested := strings.Cut(s.name, ".")
		if !nested {
			group, key = "", s.name
		}
		if group != openGroup {
			fmt.Fprintf(&out, "\n%s:\n", group)
			openGroup = group
		}
		indent := ""
		if nested {
			indent = "  "
		}
		if s.secret {
			if v.String() != "" {
				fmt.Fprintf(&out, "%s# %s: a secret is set and not shown (%s)\n", indent, key, comment(c.source(s)))
			}
			continue
		}
		if shown := s.shown(v.String()); shown != v.String() {
			fmt.Fprintf(&out, "%s# %s: %q is set, and what may be a secret in it not shown (%s)\n", indent, key, shown, comment(c.source(s)))
			continue
		}
		fmt.Fprintf(&out, "%-31s # %s\n", indent+key+": "+yamlText(v), comment(c.source(s)))
	}
	_, err := w.Write(out.Bytes())
	return err
}

// shown is a setting's text as anybody may see it. It does not parse an address, for it shows those that can't be parsed, too.
func (s setting) shown(text string) string {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !s.address || !isURL {
		return text
	}
	place := rest
	if at := strings.IndexAny(rest, "?#"); at >= 0 {
		place = rest[:at] + rest[at:at+1] + "…"
	}
	host, _, _ := strings.Cut(place, "/")
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		place = "…" + host[at:] + place[len(host):]
	}
	return scheme + "://" + place
}

// comment keeps a source, which may hold a file name with any byte in it, on its line.
func comment(source string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return '?'
		}
		return r
	}, source)
}

// yamlText quotes what is free text and leaves plain what can't be misread. Go's quoting
// is one that YAML reads.
func yamlText(v value) string {
	switch v := v.(type) {
	case stringValue:
		return strconv.Quote(v.String())
	case listValue:
		quoted := make([]string, len(*v.field))
		for i, entry := range *v.field {
			quoted[i] = strconv.Quote(entry)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	default:
		return v.String()
	}
}

// WriteUsage lists the settings as flags, with their defaults: what serve --help shows.
func WriteUsage(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprint(&out, `Every setting is a flag, a variable of the environment and a key of a YAML file.
For limits.message_bytes they are --limits.message-bytes, ROOKERY_LIMITS_MESSAGE_BYTES
and limits.message_bytes. A flag beats a variable, a variable beats the file.

  --config FILE
        YAML file to read; ROOKERY_CONFIG
`)
	defaults := DefaultConfig()
	for _, s := range settings() {
		v := s.value(&defaults)
		fmt.Fprintf(&out, "  %s\n        %s", s.flag(), s.usage)
		if text := v.String(); text != "" {
			fmt.Fprintf(&out, " (default %s", text)
			if s.development != "" {
				fmt.Fprintf(&out, "; in development mode %s", s.development)
			}
			fmt.Fprint(&out, ")")
		}
		fmt.Fprintln(&out)
	}
	_, err := w.Write(out.Bytes())
	return err
}
