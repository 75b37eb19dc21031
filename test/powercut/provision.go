package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// packages are the Debian packages of the programs that a run starts. The kernel's is not installed,
// only unpacked.
var packages = map[string]string{
	"qemu-system-x86_64": "qemu-system-x86",
	"mke2fs":             "e2fsprogs",
	"e2fsck":             "e2fsprogs",
	"mkfs.xfs":           "xfsprogs",
	"xfs_repair":         "xfsprogs",
	"mkfs.btrfs":         "btrfs-progs",
	"btrfs":              "btrfs-progs",
}

// kernelPackage names the newest kernel for virtual machines.
const kernelPackage = "linux-image-cloud-amd64"

// equipment is what machines are made of.
type equipment struct {
	kernel  string
	modules moduleFiles
	release string // of the kernel
	server  string // rookery
	guest   string // the first process
	// retention says whether the server has such a setting.
	retention bool
}

// provide installs and builds what is not there yet. Kernel and packages stay in the cache, so that
// later runs need no network and have the same kernel.
func provide(ctx context.Context, cache string, progress io.Writer) (*equipment, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	// Where root's programs are, which not everybody's path names.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return nil, err
	}
	if err := installPrograms(ctx, progress); err != nil {
		return nil, err
	}
	kernel := filepath.Join(cache, "kernel")
	if _, err := os.Stat(kernel); err != nil {
		if err := unpackKernel(ctx, kernel, progress); err != nil {
			return nil, err
		}
	}
	e := &equipment{server: filepath.Join(cache, "rookery"), guest: filepath.Join(cache, "guest")}
	images, err := filepath.Glob(filepath.Join(kernel, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("%s holds %d kernels, want one: remove it and start again", kernel, len(images))
	}
	e.kernel = images[0]
	e.release = strings.TrimPrefix(filepath.Base(e.kernel), "vmlinuz-")
	if e.modules, err = findModules(kernel); err != nil {
		return nil, err
	}
	for path, source := range map[string]string{e.server: "rookery/cmd/rookery", e.guest: "rookery/test/powercut/guest"} {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // the machine has no libc
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", source, err, out)
		}
	}
	settings, err := exec.CommandContext(ctx, e.server, "serve", "--dev", "--print-config").Output()
	if err != nil {
		return nil, fmt.Errorf("ask the server for its settings: %w", err)
	}
	e.retention = strings.Contains(string(settings), "retention:")
	return e, nil
}

func installPrograms(ctx context.Context, progress io.Writer) error {
	missing := map[string]bool{}
	for program, from := range packages {
		if _, err := exec.LookPath(program); err != nil {
			missing[from] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var names []string
	for name := range missing {
		names = append(names, name)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("these packages are missing and only root can install them:\n    apt-get install %s", strings.Join(names, " "))
	}
	fmt.Fprintf(progress, "installing %s\n", strings.Join(names, " "))
	return errors.Join(
		command(ctx, "", "apt-get", "update", "-q"),
		command(ctx, "", "apt-get", append([]string{"install", "-qy", "--no-install-recommends"}, names...)...))
}

// unpackKernel takes the kernel out of its package. The directory is there when all of it is.
func unpackKernel(ctx context.Context, to string, progress io.Writer) error {
	work, err := os.MkdirTemp(filepath.Dir(to), "unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	// The package for virtual machines is empty and depends on the kernel of the day.
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", kernelPackage).Output()
	if err != nil {
		return fmt.Errorf("ask apt for %s: %w", kernelPackage, err)
	}
	name := ""
	for line := range strings.Lines(string(out)) {
		if on, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok && name == "" {
			name = "linux-image-" + on
		}
	}
	if name == "" {
		return fmt.Errorf("apt knows no %s: is this Debian on x86-64, and was apt-get update run?", kernelPackage)
	}
	fmt.Fprintf(progress, "getting %s\n", name)
	if err := command(ctx, work, "apt-get", "-o", "APT::Sandbox::User=root", "download", "-q", name); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("download of %s left %d packages", name, len(found))
	}
	tree := filepath.Join(work, "tree")
	if err := command(ctx, "", "dpkg-deb", "-x", found[0], tree); err != nil {
		return err
	}
	return os.Rename(tree, to)
}

// command runs a program and gives what it said if it fails.
func command(ctx context.Context, dir, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
