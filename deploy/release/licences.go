package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// licenceNames are beginnings of names of files that say what is allowed, and what must be told along.
var licenceNames = []string{"LICENSE", "LICENCE", "COPYING", "NOTICE"}

// writeLicences writes those of a binary's modules, and of Go's library: also what lies deeper in them, since a module may have code of others
// in a directory of its own. A module without one at its root is an error: nothing of it may be given away.
func writeLicences(out io.Writer, info *debug.BuildInfo, directory func(path, version string) (string, error)) error {
	modules := append([]*debug.Module{{Path: "std", Version: info.GoVersion}}, info.Deps...)
	for _, module := range modules {
		if module.Replace != nil {
			module = module.Replace
		}
		dir, err := directory(module.Path, module.Version)
		if err != nil {
			return fmt.Errorf("find the files of module %s: %w", module.Path, err)
		}
		names, err := licences(os.DirFS(dir))
		if err != nil {
			return fmt.Errorf("read the files of module %s: %w", module.Path, err)
		}
		if !slices.ContainsFunc(names, func(name string) bool { return path.Dir(name) == "." }) {
			return fmt.Errorf("module %s has no file at its root whose name begins with one of %q", module.Path, licenceNames)
		}
		for _, name := range names {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return fmt.Errorf("read the licence of module %s: %w", module.Path, err)
			}
			if _, err := fmt.Fprintf(out, "==== %s %s, %s\n\n%s\n\n", module.Path, module.Version, name, strings.TrimSpace(string(text))); err != nil {
				return err
			}
		}
	}
	return nil
}

// licences finds them in a module, in the order of their names. What is in testdata comes into no binary.
func licences(module fs.FS) (names []string, err error) {
	err = fs.WalkDir(module, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "testdata":
			return fs.SkipDir
		case entry.Type().IsRegular() && isLicence(entry.Name()):
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// isLicence is not fooled by source files that are about licences.
func isLicence(name string) bool {
	if path.Ext(name) == ".go" {
		return false
	}
	for _, beginning := range licenceNames {
		if strings.HasPrefix(strings.ToUpper(name), beginning) {
			return true
		}
	}
	return false
}

// moduleDirectory is where the toolchain keeps the files of a module.
func moduleDirectory(path, version string) (string, error) {
	if path == "std" {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return "", fmt.Errorf("go env GOROOT, of %s: %w", runtime.Version(), err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	// With an error of its own the command writes what it was, in Error.
	out, failed := exec.Command("go", "mod", "download", "-json", path+"@"+version).Output()
	var module struct{ Dir, Error string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", errors.Join(failed, err)
	}
	if module.Error != "" {
		return "", errors.New(module.Error)
	}
	return module.Dir, nil
}
