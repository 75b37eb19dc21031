package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"rookery/gateway"
)

const tokenUsage = `Usage: rookery token --user NAME [FLAGS]

Prints a signed token for a user. Without a key among the flags it is signed with the
HS256 secret of the server's own configuration, read in the way that rookery serve reads
it, and carries the issuer and the audience that the server asks for.

A pattern is the name of a room or a beginning of names with one * behind it, like team-*.

`

// tokenFlags is what the command was asked for.
type tokenFlags struct {
	request    gateway.TokenRequest
	config     string
	secretFile string
	privateKey string
	keyID      string
}

// token prints a token, and nothing else, so that it fits into $(rookery token …).
func token(_ context.Context, args []string, p process) int {
	var f tokenFlags
	set := flag.NewFlagSet("token", flag.ContinueOnError)
	set.SetOutput(p.stderr)
	set.Usage = func() {}
	set.StringVar(&f.request.User, "user", "", "`name` of the user (required)")
	set.DurationVar(&f.request.Lifetime, "ttl", time.Hour, "`time` until the token expires")
	set.Var((*patternList)(&f.request.Rooms), "rooms", "`patterns` of the rooms the user may enter, separated by commas; without it every room")
	set.Var((*patternList)(&f.request.Publish), "publish", "`patterns` of the rooms the user may write to; without it those of --rooms")
	set.Var((*patternList)(&f.request.Create), "create", "`patterns` of the rooms with members the user may create; without it those of --rooms")
	set.Var((*patternList)(&f.request.Moderate), "moderate", "`patterns` of the rooms the user is a moderator of, * is every room and the whole server; without it none")
	set.StringVar(&f.config, "config", "", "configuration `file` of the server")
	set.StringVar(&f.secretFile, "secret-file", "", "sign with the HS256 secret in `file`")
	set.StringVar(&f.privateKey, "private-key", "", "sign with the private key in the PEM `file`: RSA, ECDSA P-256 or Ed25519")
	set.StringVar(&f.keyID, "kid", "", "`id` of the private key, as in the server's auth.public_keys")
	set.StringVar(&f.request.ID, "id", "", "`id` of the token, its jti, by which it can be revoked alone")
	set.StringVar(&f.request.Issuer, "issuer", "", "`text` for iss, if the key is among the flags")
	set.StringVar(&f.request.Audience, "audience", "", "`text` for aud, if the key is among the flags")

	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(p.stdout, tokenUsage)
		set.SetOutput(p.stdout)
		set.PrintDefaults()
		return exitOK
	case err != nil: // already said
		return exitRefused
	}
	if reason := f.fault(set.Args()); reason != "" {
		return p.refuse("token", "%s", reason)
	}
	key, err := f.signingKey(p.environ)
	if err != nil {
		return p.refuse("token", "%v", err)
	}
	signed, err := key.SignToken(f.request)
	if err != nil {
		return p.refuse("token", "%v", err)
	}
	if _, err := fmt.Fprintln(p.stdout, signed); err != nil {
		return p.fail("token", err)
	}
	return exitOK
}

// fault says what can't be meant, "" if all can.
func (f *tokenFlags) fault(rest []string) string {
	ownKey := f.secretFile != "" || f.privateKey != ""
	switch {
	case len(rest) > 0:
		return fmt.Sprintf("argument %q: everything is a flag, --user NAME", rest[0])
	case f.request.User == "":
		return "--user is missing: whose token is it?"
	case f.secretFile != "" && f.privateKey != "":
		return "--secret-file and --private-key are two keys; a token is signed with one"
	case ownKey && f.config != "":
		return "--config names a key as well as --secret-file or --private-key does; take one out"
	case f.keyID != "" && f.privateKey == "":
		return "--kid is the id of a --private-key, and there is none"
	case !ownKey && (f.request.Issuer != "" || f.request.Audience != ""):
		return "--issuer and --audience go with --secret-file or --private-key; otherwise the configuration has them"
	}
	return ""
}

func (f *tokenFlags) signingKey(environ []string) (gateway.SigningKey, error) {
	switch {
	case f.privateKey != "":
		return gateway.ReadSigningKey(f.privateKey, f.keyID)
	case f.secretFile != "":
		c := gateway.DefaultConfig()
		c.Auth.HS256SecretFile = f.secretFile
		return c.SigningKey()
	}
	var args []string
	if f.config != "" {
		args = []string{"--config", f.config}
	}
	c, err := gateway.LoadConfig(args, environ)
	if err != nil {
		return gateway.SigningKey{}, fmt.Errorf("the server's configuration is refused; correct it, or name a key with --secret-file or --private-key\n%w", err)
	}
	f.request.Issuer, f.request.Audience = c.Auth.Issuer, c.Auth.Audience
	return c.SigningKey()
}

// patternList is a flag that takes several patterns and may be repeated. Given but empty,
// it is no room at all, which is not the same as not given.
type patternList []string

func (l *patternList) String() string { return strings.Join(*l, ",") }

func (l *patternList) Set(text string) error {
	if *l == nil {
		*l = patternList{}
	}
	if text != "" {
		*l = append(*l, strings.Split(text, ",")...)
	}
	return nil
}
