package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// licenceNames are beginnings of names of files that say what is allowed, and what must be told along.
var licenceNames = []string{"LICENSE", "LICENCE", "COPYING", "NOTICE"}

// writeLicences writes those of a binary's modules, and of Go's library. A module without one is an error: nothing of it may be given away.
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
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("read the files of module %s: %w", module.Path, err)
		}
		found := 0
		for _, entry := range entries {
			if entry.IsDir() || !isLicence(entry.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				return fmt.Errorf("read the licence of module %s: %w", module.Path, err)
			}
			found++
			if _, err := fmt.Fprintf(out, "==== %s %s, %s\n\n%s\n\n", module.Path, module.Version, entry.Name(), strings.TrimSpace(string(text))); err != nil {
				return err
			}
		}
		if found == 0 {
			return fmt.Errorf("module %s has no file whose name begins with one of %q", module.Path, licenceNames)
		}
	}
	return nil
}

func isLicence(name string) bool {
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
