package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const healthUsage = `Usage: rookery health [FLAGS]

Asks a running server at its admin listener whether it lives, or with --ready whether new connections should
be sent there, and says what it answers. The exit status is 0 if so, for health checks of containers and scripts.

A listener with admin_tls is asked where --admin begins with https://, or --ca or --cert is given.

`

// healthy asks a server how it is.
func healthy(ctx context.Context, args []string, p process) int {
	admin := "127.0.0.1:9090"
	for _, variable := range p.environ {
		if value, found := strings.CutPrefix(variable, "ROOKERY_ADMIN="); found {
			admin = value
		}
	}
	set := newFlagSet("health", p)
	set.StringVar(&admin, "admin", admin, "`address` of the admin listener, HOST:PORT or https://HOST:PORT; without it that of ROOKERY_ADMIN")
	ca := set.String("ca", "", "PEM `file` with the issuers that its certificate is believed by, instead of the system's")
	cert := set.String("cert", "", "PEM `file` with the certificate to show, where it asks for one")
	key := set.String("key", "", "PEM `file` with that certificate's key")
	ready := set.Bool("ready", false, "whether it takes new connections: 1 while it starts, drains, is full, or can't write its log")
	timeout := set.Duration("timeout", 5*time.Second, "`time` in which it must answer")
	rest, status, done := parse(set, healthUsage, args, p)
	switch {
	case done:
		return status
	case len(rest) > 0:
		return p.refuse("health", "argument %q: everything is a flag, --admin HOST:PORT", rest[0])
	}
	scheme := "http"
	address, secure := strings.CutPrefix(admin, "https://")
	if _, _, err := net.SplitHostPort(address); err != nil {
		return p.refuse("health", "--admin %q is no host:port; the server has none where its setting admin is empty", admin)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if secure || *ca != "" || *cert != "" || *key != "" {
		scheme = "https"
		var err error
		if transport.TLSClientConfig, err = adminTLS(*ca, *cert, *key); err != nil {
			return p.refuse("health", "%v", err)
		}
	}
	path := "/healthz"
	if *ready {
		path = "/readyz"
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+path, nil)
	if err != nil {
		return p.refuse("health", "--admin %q: %v", admin, err)
	}
	client := http.Client{Transport: transport}
	response, err := client.Do(request)
	if err != nil {
		return p.fail("health", err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return p.fail("health", fmt.Errorf("read what %s answers: %w", admin, err))
	}
	if response.StatusCode != http.StatusOK {
		return p.fail("health", fmt.Errorf("%s answers %s: %s", admin, response.Status, strings.TrimSpace(string(said))))
	}
	fmt.Fprintln(p.stdout, strings.TrimSpace(string(said)))
	return exitOK
}

// adminTLS is how a listener with admin_tls is spoken to, by the files of flags that may be empty.
func adminTLS(ca, cert, key string) (*tls.Config, error) {
	config := &tls.Config{}
	if ca != "" {
		issuers, err := readIssuers(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = issuers
	}
	switch {
	case cert == "" && key == "":
		return config, nil
	case cert == "" || key == "":
		return nil, errors.New("--cert and --key go together: name the certificate and its key")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--cert %s, --key %s: %w", cert, key, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
