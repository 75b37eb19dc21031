package gateway

import (
	"strings"
	"testing"
)

func TestReadNeeds(t *testing.T) {
	for text, want := range map[string]Needs{
		"":                             {Port: 8080},
		"# nothing\nlisten: ':9000'\n": {Port: 9000},
		"tls:\n  listen: :8443\n  cert_files: [/nowhere]\nauth.hs256_secret_file: /nowhere\n": {Port: 8080, TLS: true},
		"tls.listen: ''\nproxy: {socket: /run/rookery/socket}\nwebhooks.concurrency: 50\n":    {Port: 8080, Socket: true},
		"webhooks: {url: 'https://a.example/'}\n":                                             {Port: 8080, Webhooks: DefaultConfig().Webhooks.Concurrency},
		"webhooks: {url: 'https://a.example/', concurrency: 7}\nlisten: 'host:name'\n":        {Webhooks: 7},
	} {
		if got, err := ReadNeeds("rookery.yaml", []byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"tls: [":                     "not YAML",
		"no_such_setting: 1":         "no_such_setting",
		"webhooks.concurrency: many": "webhooks.concurrency",
		"listen: [a, b]":             "takes one value",
	} {
		if got, err := ReadNeeds("rookery.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want a fault with %q", text, got, err, want)
		}
	}
}
