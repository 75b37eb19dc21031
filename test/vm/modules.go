package vm

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// machineModules are the drivers of what QEMU gives a machine.
var machineModules = []string{"virtio_pci", "virtio_blk", "virtio_net"}

// moduleFiles are the modules of a kernel, by name.
type moduleFiles map[string]string

// findModules looks for all of them below a directory. Newer packages have them compressed; those that
// are needed are unpacked beside themselves.
func findModules(dir string) (moduleFiles, error) {
	found := moduleFiles{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if name, _, ok := strings.Cut(entry.Name(), ".ko"); ok {
			found[strings.ReplaceAll(name, "-", "_")] = path
		}
		return nil
	})
	return found, err
}

// Modules gives the files of modules, of all that they need, and of the drivers that every machine needs, in the order in
// which they are loaded. What is not there is built into the kernel.
func (k *Kernel) Modules(names ...string) ([]string, error) {
	return k.modules.inOrder(append(names, machineModules...))
}

// inOrder gives the files of modules and of all that they need, those first. What is not there is
// built into the kernel.
func (m moduleFiles) inOrder(names []string) ([]string, error) {
	var files []string
	var add func(name string) error
	add = func(name string) error {
		path, ok := m[strings.ReplaceAll(name, "-", "_")]
		if !ok {
			return nil
		}
		path, err := uncompressed(path)
		if err != nil {
			return err
		}
		if slices.Contains(files, path) {
			return nil
		}
		needs, err := dependencies(path)
		if err != nil {
			return fmt.Errorf("module %s: %w", path, err)
		}
		for _, need := range needs {
			if err := add(need); err != nil {
				return err
			}
		}
		files = append(files, path)
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// dependencies reads a module's own words about what has to be loaded before it.
func dependencies(path string) ([]string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("has no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	return parseInfo(string(info)), nil
}

// parseInfo gives the names of the modules that a section .modinfo asks for.
func parseInfo(info string) []string {
	var needs []string
	for line := range strings.SplitSeq(info, "\x00") {
		if list, ok := strings.CutPrefix(line, "depends="); ok && list != "" {
			needs = append(needs, strings.Split(list, ",")...)
		}
		if name, ok := strings.CutPrefix(line, "softdep=pre: "); ok {
			// Names of algorithms: where a module has such a name it is the one.
			needs = append(needs, softDependencies[name]...)
		}
	}
	return needs
}

// softDependencies are the modules behind the names by which file systems ask the kernel for an
// algorithm. In kernels that have them built in there is no such module.
var softDependencies = map[string][]string{
	"crc32c":        {"crc32c_generic"},
	"crypto-crc32c": {"crc32c_generic"},
	"blake2b-256":   {"blake2b_generic"},
	"sha256":        {"sha256_generic"},
	"xxhash64":      {"xxhash_generic"},
}

// unpackers are the programs for the endings of compressed modules.
var unpackers = map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}

// uncompressed gives the path of a module that is none of a packer's.
func uncompressed(path string) (string, error) {
	program, packed := unpackers[filepath.Ext(path)]
	if !packed {
		return path, nil
	}
	plain := strings.TrimSuffix(path, filepath.Ext(path))
	if _, err := os.Stat(plain); err == nil {
		return plain, nil
	}
	content, err := exec.Command(program, "-dc", path).Output()
	if err != nil {
		return "", fmt.Errorf("unpack %s with %s: %w", path, program, err)
	}
	return plain, os.WriteFile(plain, content, 0o600)
}
