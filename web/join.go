package web

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// The forms in which modules of the page and of the client import and export; others are refused below.
var (
	importForm = regexp.MustCompile(`(?m)^import \{ ([\w, ]+) \} from '([^']+)';(?: //.*)?$`)
	exportForm = regexp.MustCompile(`(?m)^export ((?:async )?(?:class|function|const) (\w+))`)
	againForm  = regexp.MustCompile(`(?m)^export \{ (\w+(?:, \w+)*) \};$`)
	otherForm  = regexp.MustCompile(`(?m)^(?:import|export)\b.*$|\bawait import\(.*$|\bimport\.meta\b.*$`)
)

// A joiner makes one module of many. Each stays in a function, since it has names of its own, that gives what it exports, and
// runs once, after those that it imports. That differs from what a browser makes of the many in one way: who imports a
// variable has the value that it had then. None is ever changed.
type joiner struct {
	all     map[string]File
	script  []byte
	done    map[string]bool     // false: it is being added
	exports map[string][]string // of those that are done
}

// join makes one module of that at an address and all that it imports.
func join(all map[string]File, address string) []byte {
	j := joiner{all: all, script: []byte("const modules = {};\n"), done: map[string]bool{}, exports: map[string][]string{}}
	j.add(address)
	return j.script
}

// add has the module run, unless it does already.
func (j *joiner) add(address string) {
	if done, begun := j.done[address]; begun {
		if !done {
			panic("BUG: " + address + " imports what imports it")
		}
		return
	}
	j.done[address] = false
	body := j.all[address].Body
	for _, form := range importForm.FindAllSubmatch(body, -1) {
		imported := beside(address, form[2])
		j.add(imported)
		for _, names := range strings.Split(string(form[1]), ", ") {
			// A browser says so itself where modules are modules; from the joined one it would take undefined.
			if name, _, _ := strings.Cut(names, " as "); !slices.Contains(j.exports[imported], name) {
				panic(fmt.Sprintf("BUG: %s imports %s, which %s does not export", address, name, imported))
			}
		}
	}
	var exports []string
	for _, exported := range exportForm.FindAllSubmatch(body, -1) {
		exports = append(exports, string(exported[2]))
	}
	for _, exported := range againForm.FindAllSubmatch(body, -1) {
		exports = append(exports, strings.Split(string(exported[1]), ", ")...)
	}
	body = importForm.ReplaceAllFunc(body, func(line []byte) []byte {
		form := importForm.FindSubmatch(line)
		names := bytes.ReplaceAll(form[1], []byte(" as "), []byte(": "))
		return fmt.Appendf(nil, "const { %s } = modules['%s'];", names, beside(address, form[2]))
	})
	body = againForm.ReplaceAll(exportForm.ReplaceAll(body, []byte("$1")), nil)
	if form := otherForm.Find(body); form != nil {
		panic(fmt.Sprintf("BUG: %s has a form that can't be joined: %s", address, form))
	}
	// Asynchronous, since one of them waits at its top.
	j.script = fmt.Appendf(j.script, "\nmodules['%s'] = await (async () => {\n%sreturn { %s };\n})();\n", address, body, strings.Join(exports, ", "))
	j.done[address], j.exports[address] = true, exports
}

// beside is the address of what a module names by a relative one.
func beside(address string, relative []byte) string {
	return path.Join(path.Dir(address), string(relative))
}

var stylesheet = regexp.MustCompile(`(?m)^ *<link rel="stylesheet" href="(.+)">\n`)

// joined gives a page with its modules and its style sheets in one file each, which it adds to the folder of the page's main.js.
func joined(html []byte, all map[string]File, folder string) []byte {
	var style []byte
	for _, link := range stylesheet.FindAllSubmatch(html, -1) {
		style = append(style, all[string(link[1])].Body...)
	}
	all[folder+"page.css"] = ready(File{Body: style, Type: contentTypes[".css"]})
	all[folder+"page.js"] = ready(File{Body: join(all, folder+"main.js"), Type: contentTypes[".js"]})
	html = stylesheet.ReplaceAll(html, nil)
	return bytes.Replace(html,
		fmt.Appendf(nil, `  <script type="module" src="%smain.js">`, folder),
		fmt.Appendf(nil, "  <link rel=\"stylesheet\" href=\"%[1]spage.css\">\n  <script type=\"module\" src=\"%[1]spage.js\">", folder), 1)
}
