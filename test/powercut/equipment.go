package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"rookery/test/vm"
)

// programs are those of file systems.
var programs = vm.Programs{
	"mke2fs":     "e2fsprogs",
	"e2fsck":     "e2fsprogs",
	"mkfs.xfs":   "xfsprogs",
	"xfs_repair": "xfsprogs",
	"mkfs.btrfs": "btrfs-progs",
	"btrfs":      "btrfs-progs",
}

// equipment is what machines are made of.
type equipment struct {
	kernel *vm.Kernel
	server string // rookery
	guest  string // the first process
	// retention says whether the server has such a setting.
	retention bool
}

// provide gets and builds it.
func provide(ctx context.Context, cache string, progress io.Writer) (*equipment, error) {
	kernel, err := vm.Provide(ctx, cache, programs, progress)
	if err != nil {
		return nil, err
	}
	e := &equipment{kernel: kernel, server: filepath.Join(cache, "rookery"), guest: filepath.Join(cache, "guest")}
	for path, source := range map[string]string{e.server: "rookery/cmd/rookery", e.guest: "rookery/test/powercut/guest"} {
		if err := vm.Build(ctx, path, source); err != nil {
			return nil, err
		}
	}
	settings, err := exec.CommandContext(ctx, e.server, "serve", "--dev", "--print-config").Output()
	if err != nil {
		return nil, fmt.Errorf("ask the server for its settings: %w", err)
	}
	e.retention = strings.Contains(string(settings), "retention:")
	return e, nil
}
