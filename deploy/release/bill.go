package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"
)

// bill is a bill of materials by CycloneDX 1.5, as far as it is used.
type bill struct {
	Format     string      `json:"bomFormat"`
	Spec       string      `json:"specVersion"`
	Version    int         `json:"version"`
	Metadata   metadata    `json:"metadata"`
	Components []component `json:"components"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Reference  string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Scope      string     `json:"scope,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []license  `json:"licenses,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type license struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// writeBill writes the modules of a binary.
func writeBill(out io.Writer, info *debug.BuildInfo, version string, at time.Time) error {
	own := component{Type: "application", Reference: "rookery", Name: "rookery", Version: version, Licenses: make([]license, 1)}
	own.Licenses[0].License.ID = "Apache-2.0"
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS", "GOARCH", "CGO_ENABLED", "-trimpath":
			own.Properties = append(own.Properties, property{"rookery:build:" + s.Key, s.Value})
		}
	}
	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	b := bill{Format: "CycloneDX", Spec: "1.5", Version: 1,
		Metadata:   metadata{at.UTC().Format(time.RFC3339), own},
		Components: []component{{Type: "library", Reference: "std", Name: "std", Version: goVersion, Scope: "required", PURL: "pkg:golang/std@" + goVersion}},
	}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		purl := "pkg:golang/" + module.Path + "@" + module.Version
		c := component{Type: "library", Reference: purl, Name: module.Path, Version: module.Version, Scope: "required", PURL: purl}
		// The sum of go.sum is SHA-256 over the module's files and their names.
		if sum, found := strings.CutPrefix(module.Sum, "h1:"); found {
			bytes, err := base64.StdEncoding.DecodeString(sum)
			if err != nil {
				return fmt.Errorf("the sum %q of module %s: %w", module.Sum, module.Path, err)
			}
			c.Hashes = []hash{{"SHA-256", hex.EncodeToString(bytes)}}
		}
		b.Components = append(b.Components, c)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(b)
}
