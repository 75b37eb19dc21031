package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"sync"

	client "rookery/client/go"
)

// gatewayFlags say which gateway a command talks to, and as whom: what chat, publish and
// tail have in common.
type gatewayFlags struct {
	url   string
	ca    string
	name  string
	token string
}

const gatewayUsage = `
The token may also be in ROOKERY_TOKEN, where other users of the machine can't see it, and
the address in ROOKERY_URL. Without a token the command says the name alone, which only a
gateway in development mode believes.

`

// add declares the flags in set. Flags win over the environment.
func (g *gatewayFlags) add(set *flag.FlagSet, environ []string) {
	url := lookup(environ, "ROOKERY_URL")
	if url == "" {
		url = "ws://127.0.0.1:8080/ws"
	}
	set.StringVar(&g.url, "url", url, "`address` of the gateway: ws://host:port/ws, wss://host/ws or tcp://host:port")
	set.StringVar(&g.ca, "ca", "", "PEM `file` with the issuers that a wss:// address is believed by, instead of the system's")
	set.StringVar(&g.name, "name", "", "`name` to go by in development mode; without it $USER or the account's name")
	set.StringVar(&g.token, "token", "", "signed `token`")
}

// config is for client.New, or the reason why the flags can't be meant.
func (g *gatewayFlags) config(environ []string) (client.Config, error) {
	c := client.Config{URL: g.url, Name: g.name, Token: g.token}
	if g.ca != "" {
		issuers, err := readIssuers(g.ca)
		if err != nil {
			return c, err
		}
		c.TLS = &tls.Config{RootCAs: issuers}
	}
	switch {
	case g.name != "" && g.token != "":
		return c, errors.New("--name and --token are both given; the token says who you are")
	case g.name != "":
		return c, nil
	case g.token == "":
		c.Token = lookup(environ, "ROOKERY_TOKEN")
	}
	if c.Token == "" {
		if c.Name = loginName(environ); c.Name == "" {
			return c, errors.New("--name is missing: who are you?")
		}
	}
	return c, nil
}

// loginName is that of $USER or, where a container or a service sets none, of the account.
func loginName(environ []string) string {
	if name := lookup(environ, "USER"); name != "" {
		return name
	}
	if account, err := user.Current(); err == nil {
		return account.Username
	}
	return ""
}

// readIssuers reads the file of a flag --ca.
func readIssuers(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	issuers := x509.NewCertPool()
	if !issuers.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca %s: the file has no certificate; it has to be PEM, BEGIN CERTIFICATE", file)
	}
	return issuers, nil
}

// lookup finds a variable; the last one counts, as in a shell.
func lookup(environ []string, name string) string {
	for _, line := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return value
		}
	}
	return ""
}

// newFlagSet is a set that leaves its messages to parse.
func newFlagSet(command string, p process) *flag.FlagSet {
	set := flag.NewFlagSet(command, flag.ContinueOnError)
	set.SetOutput(p.stderr)
	set.Usage = func() {}
	return set
}

// parse reads flags before and behind the other arguments, which it returns; what follows
// -- is no flag. When done is true the command ends with status.
func parse(set *flag.FlagSet, usage string, args []string, p process) (rest []string, status int, done bool) {
	var literal []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, literal = args[:i], args[i+1:]
	}
	for {
		switch err := set.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprint(p.stdout, usage)
			printFlags(p.stdout, set)
			return nil, exitOK, true
		case err != nil: // already said
			return nil, exitRefused, true
		}
		if set.NArg() == 0 {
			return append(rest, literal...), exitOK, false
		}
		rest = append(rest, set.Arg(0))
		args = set.Args()[1:]
	}
}

// printFlags is PrintDefaults, but for usages that begin with what stands behind the flag, "`per-second`: connections": that
// word would stand in the text once more.
func printFlags(w io.Writer, set *flag.FlagSet) {
	var b strings.Builder
	set.SetOutput(&b)
	set.PrintDefaults()
	text := b.String()
	set.VisitAll(func(f *flag.Flag) {
		value, _ := flag.UnquoteUsage(f)
		text = strings.Replace(text, "-"+f.Name+" "+value+"\n    \t"+value+": ", "-"+f.Name+" "+value+"\n    \t", 1)
	})
	io.WriteString(w, text)
}

// given reports whether a flag was on the command line.
func given(set *flag.FlagSet, name string) (found bool) {
	set.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// trouble remembers what stands between a command and the gateway, for the sentence that
// a command says when it gives up. Safe for concurrent use.
type trouble struct {
	mu  sync.Mutex // guards err
	err error
}

func (t *trouble) note(change client.StateChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case change.State == client.Connected:
		t.err = nil
	case change.Err != nil:
		t.err = change.Err
	}
}

// explain adds the trouble, if there is any.
func (t *trouble) explain(sentence string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		return errors.New(sentence)
	}
	return fmt.Errorf("%s: %w", sentence, t.err)
}

// plainly is the reason of a closed client without the client's own words around it.
func plainly(err error) error {
	var closed *client.ClosedError
	if errors.As(err, &closed) && closed.Reason != nil {
		return closed.Reason
	}
	return err
}
