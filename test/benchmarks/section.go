package main

import (
	"fmt"
	"os"
	"strings"
)

// writeSection puts blocks into the section of a page between the lines "<!-- NAME: begin -->" and "<!-- NAME: end -->". Each block
// stands under a heading, its name. Blocks that the section has and that were not measured now stay as they are; names are all that
// there may be, in order, and others go.
func writeSection(path, section string, names []string, blocks map[string]string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("page of the figures: %w", err)
	}
	text, err := replaceSection(string(b), section, names, blocks)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

const blockHeading = "### "

func replaceSection(page, section string, names []string, blocks map[string]string) (string, error) {
	begin, end := "<!-- "+section+": begin -->\n", "<!-- "+section+": end -->\n"
	before, rest, found := strings.Cut(page, begin)
	old, after, foundEnd := strings.Cut(rest, end)
	if !found || !foundEnd || strings.Contains(after, begin) {
		return "", fmt.Errorf("there has to be one section between the lines %q and %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	kept := map[string]string{}
	for block := range strings.SplitSeq("\n"+old, "\n"+blockHeading) {
		name, text, _ := strings.Cut(block, "\n")
		kept[name] = strings.TrimSpace(text) + "\n"
	}
	var b strings.Builder
	for _, name := range names {
		text, measured := blocks[name]
		if !measured {
			text = kept[name]
		}
		if text != "" {
			fmt.Fprintf(&b, "\n%s%s\n\n%s", blockHeading, name, text)
		}
	}
	if b.Len() > 0 {
		b.WriteString("\n")
	}
	return before + begin + b.String() + end + after, nil
}
