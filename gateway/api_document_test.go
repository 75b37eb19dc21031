package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rookery/gateway/gatewaytest"
)

// document is an OpenAPI document, as far as the tests look at it.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]*operation
	Components struct{ Schemas map[string]*schema }
}

type operation struct {
	OperationID string
	Summary     string
	Security    []map[string][]string
	Parameters  []struct{ Name, In string }
	Responses   map[string]struct {
		Content map[string]struct{ Schema *schema }
	}
}

type schema struct {
	Ref        string `json:"$ref"`
	Type       any
	Properties map[string]*schema
	Required   []string
	Items      *schema
	Enum       []any
	Minimum    *float64
	Maximum    *float64
}

// documentOf gets the document of a gateway, nil if its API is off.
func documentOf(t *testing.T, srv *gatewaytest.Server) *document {
	t.Helper()
	res, err := http.Get("http://" + srv.AdminAddr() + "/v1/openapi.json")
	if err != nil {
		return nil // it has stopped
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusForbidden {
		return nil
	}
	d := &document{}
	if err := json.Unmarshal(b, d); err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/vnd.oai.openapi+json" {
		t.Fatalf("the document: %d %s, %v", res.StatusCode, res.Header.Get("Content-Type"), err)
	}
	return d
}

// find gives the operation that a request is for, nil if there is none.
func (d *document) find(method, path string) *operation {
	for template, operations := range d.Paths {
		pattern := regexp.MustCompile("^" + regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(template), "[^/]+") + "$")
		if pattern.MatchString(path) {
			if op := operations[strings.ToLower(method)]; op != nil {
				return op
			}
		}
	}
	return nil
}

// described checks an answer against the document of the gateway that gave it: every answer of every test is looked at.
func (b *backend) described(method, path string, res *http.Response, body []byte) {
	b.t.Helper()
	u, err := url.Parse(path)
	if err != nil {
		b.t.Fatal(err)
	}
	d := documentOf(b.t, b.srv)
	if d == nil || u.EscapedPath() == "/v1/openapi.json" {
		return
	}
	op := d.find(method, u.EscapedPath())
	if op == nil {
		if res.StatusCode/100 == 2 {
			b.t.Errorf("%s %s was answered with %d, and the document does not have it", method, path, res.StatusCode)
		}
		return
	}
	described, ok := op.Responses[fmt.Sprint(res.StatusCode)]
	if !ok {
		described, ok = op.Responses["default"]
	}
	content, hasBody := described.Content[res.Header.Get("Content-Type")]
	switch {
	case !ok:
		b.t.Errorf("%s: the document has no answer %d", op.OperationID, res.StatusCode)
	case len(body) == 0 && len(described.Content) == 0:
	case !hasBody:
		b.t.Errorf("%s: an answer %d of the type %q is not in the document", op.OperationID, res.StatusCode, res.Header.Get("Content-Type"))
	case res.Header.Get("Content-Type") == "application/json":
		var value any
		if err := json.Unmarshal(body, &value); err != nil {
			b.t.Errorf("%s: %v", op.OperationID, err)
		} else if wrong := d.wrong(content.Schema, value, "answer"); wrong != "" {
			b.t.Errorf("%s: %s, in %.300s", op.OperationID, wrong, body)
		}
	}
}

// wrong says where a value is not what a schema says, "" if it is.
func (d *document) wrong(s *schema, value any, at string) string {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		if s = d.Components.Schemas[name]; s == nil {
			return at + " is of the schema " + name + ", which is missing"
		}
	}
	types := map[string]bool{}
	switch t := s.Type.(type) {
	case string:
		types[t] = true
	case []any:
		for _, one := range t {
			types[one.(string)] = true
		}
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
		return fmt.Sprintf("%s is %v, none of %v", at, value, s.Enum)
	}
	switch v := value.(type) {
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				return at + " lacks " + name
			}
		}
		for name, inner := range v {
			if name == "$schema" || s.Properties[name] == nil {
				return at + " has the field " + name + ", which the document does not have"
			}
			if wrong := d.wrong(s.Properties[name], inner, at+"."+name); wrong != "" {
				return wrong
			}
		}
		return wrongType(types, at, "object")
	case []any:
		if wrong := wrongType(types, at, "array"); wrong != "" {
			return wrong
		}
		for i, inner := range v {
			if wrong := d.wrong(s.Items, inner, fmt.Sprintf("%s[%d]", at, i)); wrong != "" {
				return wrong
			}
		}
	case float64:
		if s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			return fmt.Sprintf("%s is %v, out of its range", at, v)
		}
		if v == math.Trunc(v) && types["integer"] {
			return ""
		}
		return wrongType(types, at, "number")
	case string:
		return wrongType(types, at, "string")
	case bool:
		return wrongType(types, at, "boolean")
	case nil:
		return wrongType(types, at, "null")
	}
	return ""
}

func wrongType(types map[string]bool, at, is string) string {
	if types[is] {
		return ""
	}
	return fmt.Sprintf("%s is a %s, and the document says %v", at, is, types)
}

// TestAPIDocument: the document names what there is, and each operation is asked for the scope that it says.
func TestAPIDocument(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, withAPI)
	b := newBackend(t, srv)
	d := documentOf(t, srv)
	if d.OpenAPI != "3.1.0" {
		t.Errorf("the document is of OpenAPI %s", d.OpenAPI)
	}
	reader := *b
	reader.secret = readSecret
	seen := 0
	for template, operations := range d.Paths {
		for method, op := range operations {
			seen++
			path := strings.NewReplacer("{room}", "r", "{user}", "u", "{seq}", "1").Replace(template)
			if op.OperationID == "" || op.Summary == "" || len(op.Security) != 1 || len(op.Security[0]["key"]) != 1 {
				t.Errorf("%s %s is not described: %+v", method, template, op)
				continue
			}
			for _, m := range regexp.MustCompile(`\{([a-z]+)\}`).FindAllStringSubmatch(template, -1) {
				if !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.In == "path" && p.Name == m[1] }) {
					t.Errorf("%s does not describe the parameter %s", op.OperationID, m[1])
				}
			}
			if scope := op.Security[0]["key"][0]; scope != "read" {
				reader.refused(strings.ToUpper(method), path, "", 403, "scope_missing")
			}
			if op.OperationID == "trace-user" {
				continue // its answer has no end: TestATrace
			}
			// Whatever it thinks of an empty request, it is there, and says nothing that is not described.
			if status, _, answer := b.send(strings.ToUpper(method), path, ""); strings.Contains(string(answer), "no_such_path") || status == 405 || status >= 500 {
				t.Errorf("%s %s: %d %s", method, path, status, answer)
			}
		}
	}
	if seen < 16 {
		t.Errorf("the document has only %d operations", seen)
	}
	// The check above can fail.
	for _, c := range []struct{ value, want string }{
		{`{"room":"r","seq":1,"at":1}`, ""}, {`{"room":"r","seq":1}`, "lacks at"}, {`{"room":"r","seq":"1","at":1}`, "is a string"},
		{`{"room":"r","seq":-1,"at":1}`, "range"}, {`{"room":"r","seq":1.5,"at":1}`, "is a number"}, {`{"room":"r","seq":1,"at":1,"x":0}`, "field x"}, {`[]`, "is a array"},
	} {
		var value any
		if err := json.Unmarshal([]byte(c.value), &value); err != nil {
			t.Fatal(err)
		}
		if wrong := d.wrong(&schema{Ref: "#/components/schemas/Published"}, value, "answer"); (wrong == "") != (c.want == "") || !strings.Contains(wrong, c.want) {
			t.Errorf("%s: %q, want %q", c.value, wrong, c.want)
		}
	}
}
