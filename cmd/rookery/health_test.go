package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"rookery/gateway/gatewaytest"
)

func TestHealthIsTheServersAnswer(t *testing.T) {
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}))
	defer admin.Close()
	address := admin.Listener.Addr().String()
	hung := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hung.Close()
	for _, c := range []struct {
		environ        string
		args           []string
		status         int
		stdout, stderr string
	}{
		{"ROOKERY_ADMIN=" + address, nil, exitOK, "ok", ""},
		{"", []string{"--admin", address}, exitOK, "ok", ""},
		{"", []string{"--admin", address, "--ready"}, exitFailed, "", "draining"},
		{"", []string{"--admin", hung.Listener.Addr().String(), "--timeout", "50ms"}, exitFailed, "", "deadline"},
		{"", []string{"--admin", "127.0.0.1:1"}, exitFailed, "", "refused"},
		{"", []string{"--admin", "localhost"}, exitRefused, "", "host:port"},
		{"ROOKERY_ADMIN=", nil, exitRefused, "", "setting admin is empty"},
		{"", []string{"please"}, exitRefused, "", "please"},
	} {
		var stdout, stderr strings.Builder
		status := run(context.Background(), append([]string{"health"}, c.args...),
			process{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, environ: []string{c.environ}})
		if status != c.status || strings.TrimSpace(stdout.String()) != c.stdout || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%q %q: status %d, stdout %q, stderr %q; want %d, %q, %q", c.environ, c.args, status, stdout.String(), stderr.String(), c.status, c.stdout, c.stderr)
		}
	}
}

// TestHealthOfSecureAdmin: a server whose admin listener has TLS and asks for certificates.
func TestHealthOfSecureAdmin(t *testing.T) {
	option, ca, cert, key := gatewaytest.SecureAdmin(t)
	address := gatewaytest.Start(t, option).AdminAddr()
	for _, c := range []struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		{[]string{"--admin", address, "--ca", ca, "--cert", cert, "--key", key}, exitOK, "ok", ""},
		{[]string{"--admin", "https://" + address, "--ca", ca, "--cert", cert, "--key", key, "--ready"}, exitOK, "ok", ""},
		{[]string{"--admin", address}, exitFailed, "", "HTTPS server"},
		{[]string{"--admin", "https://" + address}, exitFailed, "", "unknown authority"},
		{[]string{"--admin", address, "--ca", ca}, exitFailed, "", "certificate required"},
		{[]string{"--admin", address, "--cert", cert}, exitRefused, "", "--cert and --key go together"},
		{[]string{"--admin", address, "--key", key}, exitRefused, "", "--cert and --key go together"},
		{[]string{"--admin", address, "--cert", key, "--key", key}, exitRefused, "", "--cert " + key},
		{[]string{"--admin", address, "--ca", key}, exitRefused, "", "no certificate"},
		{[]string{"--admin", address, "--ca", key + ".away"}, exitRefused, "", "no such file"},
	} {
		var stdout, stderr strings.Builder
		status := run(context.Background(), append([]string{"health"}, c.args...),
			process{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr})
		if status != c.status || strings.TrimSpace(stdout.String()) != c.stdout || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%q: status %d, stdout %q, stderr %q; want %d, %q, %q", c.args, status, stdout.String(), stderr.String(), c.status, c.stdout, c.stderr)
		}
	}
}
