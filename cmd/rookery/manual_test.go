package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the manual page anew")

const manualPage = "../../deploy/man/rookery.1"

// TestManualPage: the page that packages install says what the commands say of themselves.
func TestManualPage(t *testing.T) {
	want := manual(t)
	if *update {
		if err := os.WriteFile(manualPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(manualPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the commands say of themselves: run make manual", manualPage)
	}
}

// below are commands that have commands of their own.
var below = map[string]*regexp.Regexp{
	"log":   regexp.MustCompile(`(?m)^  ([a-z]+)   `),
	"tune":  regexp.MustCompile(`(?m)^  ([a-z]+)   `),
	"bench": regexp.MustCompile(`(?m)^ +(?:Usage: )?rookery bench (compare|agent)`),
}

// manual makes the page of what help prints.
func manual(t *testing.T) string {
	t.Helper()
	help := func(args ...string) string {
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), append(args, "--help"), process{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}); status != exitOK {
			t.Fatalf("%q has no help: %s", args, stderr.String())
		}
		return stdout.String()
	}
	var page strings.Builder
	page.WriteString(`.\" Made by make manual of what the commands say of themselves.
.TH ROOKERY 1 "" Rookery "User Commands"
.SH NAME
rookery \- real-time chat gateway with a durable log
.SH SYNOPSIS
.B rookery
.I COMMAND
.RI [ FLAGS ]
.SH DESCRIPTION
One program: the server, and the tools around it.
`)
	for _, c := range commands() {
		fmt.Fprintf(&page, ".TP\n.B %s\n%s\n", roff(c.name), roff(c.summary))
	}
	for _, c := range commands() {
		text := help(c.name)
		section(&page, "rookery "+c.name, text)
		if names, found := below[c.name]; found {
			for _, m := range names.FindAllStringSubmatch(text, -1) {
				section(&page, "rookery "+c.name+" "+m[1], help(c.name, m[1]))
			}
		}
	}
	page.WriteString(`.SH EXIT STATUS
0 when a command did what was asked, 1 when it failed, 2 when it refused what it was told: an unknown command, a wrong flag, a wrong setting.
.SH FILES
.TP
.I /etc/rookery/rookery.yaml
settings of the service
.TP
.I /var/lib/rookery
its log
.SH SEE ALSO
.BR systemctl (1),
.I /usr/share/doc/rookery
`)
	return page.String()
}

// section writes the help of one command: paragraphs as such, and whatever is in columns as it stands.
func section(page *strings.Builder, title, text string) {
	fmt.Fprintf(page, ".SH %s\n", strings.ToUpper(roff(title)))
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			page.WriteString(".PP\n")
		}
		columns := i == 0 || strings.Contains("\n"+paragraph, "\n ")
		if columns {
			page.WriteString(".EX\n")
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			page.WriteString(roff(strings.TrimPrefix(strings.ReplaceAll(line, "\t", "    "), "Usage: ")) + "\n")
		}
		if columns {
			page.WriteString(".EE\n")
		}
	}
}

// roff writes text so that troff shows it as it is.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
