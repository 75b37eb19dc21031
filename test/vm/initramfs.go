package vm

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// archive builds an initramfs: a cpio archive in the form "newc", which is what the kernel unpacks.
type archive struct {
	bytes.Buffer
	inodes int
}

const (
	modeDirectory = 0o040755
	modeFile      = 0o100000
)

func (a *archive) directory(name string) { a.entry(name, modeDirectory, nil) }

// file puts a copy of a file of the host into the archive, with the rights that it has there.
func (a *archive) file(name, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	a.entry(name, modeFile|int(info.Mode().Perm()), content)
	return nil
}

// entry writes a header of 13 numbers of 8 hexadecimal digits, the name and the content, each padded
// to four bytes.
func (a *archive) entry(name string, mode int, content []byte) {
	a.inodes++
	links := 1
	if mode == modeDirectory {
		links = 2
	}
	a.WriteString("070701")
	for _, number := range []int{a.inodes, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0} {
		fmt.Fprintf(a, "%08x", number)
	}
	a.WriteString(name + "\x00")
	a.pad()
	a.Write(content)
	a.pad()
}

func (a *archive) pad() { a.WriteString(strings.Repeat("\x00", -a.Len()&3)) }

func (a *archive) end() { a.entry("TRAILER!!!", 0, nil) }

// Contents are what a machine boots into. Names have no slash before them.
type Contents struct {
	// Init is the path of the first process.
	Init string
	// Files are paths on the host, by their names in the machine.
	Files map[string]string
	// Directories are empty ones. Those that every Linux has are there anyway.
	Directories []string
	// Modules are paths in the order in which package guest loads them.
	Modules []string
}

// Write makes the initramfs.
func (c Contents) Write(path string) error {
	a := &archive{}
	for _, name := range append([]string{"dev", "proc", "sys", "modules", "tmp"}, c.Directories...) {
		a.directory(name)
	}
	if err := a.file("init", c.Init); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		if err := a.file(name, c.Files[name]); err != nil {
			return err
		}
	}
	for i, module := range c.Modules {
		if err := a.file(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(module)), module); err != nil {
			return err
		}
	}
	a.end()
	return os.WriteFile(path, a.Bytes(), 0o600)
}
