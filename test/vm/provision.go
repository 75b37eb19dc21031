package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kernelPackage names the newest kernel for virtual machines.
const kernelPackage = "linux-image-cloud-amd64"

// Kernel is a kernel with its modules.
type Kernel struct {
	Image   string // path
	Release string
	modules moduleFiles
}

// Programs are the Debian packages of programs, by the programs' names.
type Programs map[string]string

// Provide installs the programs and QEMU where they are missing, and gives the newest kernel for virtual machines. That is
// not installed, only unpacked into a directory of cache, so that later runs need no network and have the same one.
func Provide(ctx context.Context, cache string, programs Programs, progress io.Writer) (*Kernel, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	needed := Programs{"qemu-system-x86_64": "qemu-system-x86"}
	maps.Copy(needed, programs)
	if err := provide(ctx, needed, progress); err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "kernel")
	if _, err := os.Stat(dir); err != nil {
		if err := unpackKernel(ctx, dir, progress); err != nil {
			return nil, err
		}
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("%s holds %d kernels, want one: remove it and start again", dir, len(images))
	}
	k := &Kernel{Image: images[0], Release: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	k.modules, err = findModules(dir)
	return k, err
}

// Build makes a program for the machine, which has no libc. Source is a package of this module.
func Build(ctx context.Context, path, source string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", source, err, out)
	}
	return nil
}

// provide installs programs where they are missing.
func provide(ctx context.Context, programs Programs, progress io.Writer) error {
	// Where root's programs are, which not everybody's path names.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return err
	}
	return installPrograms(ctx, programs, progress)
}

func installPrograms(ctx context.Context, programs Programs, progress io.Writer) error {
	missing := map[string]bool{}
	for program, from := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing[from] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(missing))
	if os.Geteuid() != 0 {
		return fmt.Errorf("these packages are missing and only root can install them:\n    apt-get install %s", strings.Join(names, " "))
	}
	fmt.Fprintf(progress, "installing %s\n", strings.Join(names, " "))
	return errors.Join(
		Command(ctx, "", "apt-get", "update", "-q"),
		Command(ctx, "", "apt-get", append([]string{"install", "-qy", "--no-install-recommends"}, names...)...))
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
	if err := Command(ctx, work, "apt-get", "-o", "APT::Sandbox::User=root", "download", "-q", name); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("download of %s left %d packages", name, len(found))
	}
	tree := filepath.Join(work, "tree")
	if err := Command(ctx, "", "dpkg-deb", "-x", found[0], tree); err != nil {
		return err
	}
	return os.Rename(tree, to)
}

// Command runs a program and gives what it said if it fails.
func Command(ctx context.Context, dir, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
