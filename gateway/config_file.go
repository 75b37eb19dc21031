package gateway

import (
	"errors"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxConfigFile keeps a wrong path (a log, a device) from being read into memory.
const maxConfigFile = 1 << 20

// readFile reads the settings of a YAML file. A key may be nested or dotted. Values are
// taken as written, so that a file, a variable and a flag are read by the same rules:
// 010 is ten, and yes is no boolean.
func readFile(path given, known []setting, faults *faultList) layer {
	name := path.texts[len(path.texts)-1]
	refuse := func(reason string) layer {
		faults.unread = true
		faults.addText(fmt.Sprintf("configuration file %s (%s): %s", name, path.from, reason))
		return layer{}
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return refuse(cause(err).Error())
	case !info.Mode().IsRegular():
		return refuse("is not a regular file")
	case info.Size() > maxConfigFile:
		return refuse("is larger than " + formatSize(maxConfigFile))
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return refuse(cause(err).Error())
	}
	return parseFile(name, data, known, faults, refuse)
}

// parseFile is readFile for what was read already.
func parseFile(name string, data []byte, known []setting, faults *faultList, refuse func(string) layer) layer {
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			return refuse(fmt.Sprintf("line %d is not YAML: %s", at.GetToken().Position.Line, at.GetMessage()))
		}
		return refuse("is not YAML: " + err.Error())
	}
	r := fileReader{name: name, settings: layer{}, groups: map[string]bool{}, faults: faults}
	for _, s := range known {
		r.known = append(r.known, s.name)
		for i, c := range s.name {
			if c == '.' {
				r.groups[s.name[:i]] = true
			}
		}
	}
	if len(parsed.Docs) > 1 {
		return refuse("has several documents; the settings are one")
	}
	for _, document := range parsed.Docs {
		if document.Body != nil {
			r.mapping("", document.Body)
		}
	}
	return r.settings
}

// fileReader walks the nodes of a file and gathers its settings.
type fileReader struct {
	name     string
	known    []string
	groups   map[string]bool // "limits" and the like
	settings layer
	faults   *faultList
}

func (r *fileReader) mapping(group string, node ast.Node) {
	switch node := node.(type) {
	case *ast.MappingNode:
		for _, entry := range node.Values {
			r.entry(group, entry)
		}
	case *ast.MappingValueNode:
		r.entry(group, node)
	case *ast.CommentGroupNode:
	case *ast.NullNode:
		// "limits:" with all its lines commented out.
	default:
		what := "a file"
		if group != "" {
			what = group
		}
		r.fault(node, what, "has to be a mapping, lines of name: value")
	}
}

func (r *fileReader) entry(group string, entry *ast.MappingValueNode) {
	name := entry.Key.GetToken().Value
	if group != "" {
		name = group + "." + name
	}
	if r.groups[name] {
		r.mapping(name, entry.Value)
		return
	}
	found := false
	for _, k := range r.known {
		found = found || k == name
	}
	if !found {
		r.fault(entry.Key, name, "there is no such setting"+didYouMean(name, r.known))
		return
	}
	// The parser refuses a key twice in one mapping; nested and dotted it can't see.
	if before, twice := r.settings[name]; twice {
		r.fault(entry.Key, name, "is already set at "+before.from)
		return
	}
	g := given{from: r.at(entry.Key)}
	nodes := []ast.Node{entry.Value}
	if sequence, ok := entry.Value.(*ast.SequenceNode); ok {
		nodes, g.list = sequence.Values, true
	}
	for _, node := range nodes {
		text, reason := scalar(node)
		if reason != "" {
			r.fault(entry.Key, name, reason)
			return
		}
		g.texts = append(g.texts, text)
	}
	r.settings[name] = g
}

// scalar returns a node's text as it was written, or why it has none.
func scalar(node ast.Node) (text, reason string) {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value, ""
	case *ast.LiteralNode:
		return node.Value.Value, ""
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, ""
	case nil, *ast.NullNode:
		return "", `has no value; write "" for an empty one, or take the line out for the default`
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return "", "has an anchor, alias or tag; write the value itself"
	default:
		return "", "has to be one value or a list of values"
	}
}

func (r *fileReader) at(node ast.Node) string {
	return fmt.Sprintf("%s:%d", r.name, node.GetToken().Position.Line)
}

func (r *fileReader) fault(node ast.Node, name, reason string) {
	r.faults.addText(fmt.Sprintf("%s (%s): %s", name, r.at(node), reason))
}

// cause strips the operation and path that package os puts before an error, where the
// message already names them.
func cause(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}
