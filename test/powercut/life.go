package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"rookery/test/ledger"
	"rookery/test/powercut/control"
	"rookery/test/powercut/disk"
	"rookery/test/vm"
)

// filesystem is one that a disk can have. It is made and checked on an image, without mounting it.
type filesystem struct {
	name, options string
	make, check   []string // the path of the image comes last
	modules       []string
	// share is how many of all lives have it.
	share int
}

var (
	makeExt4  = []string{"mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"}
	checkExt4 = []string{"e2fsck", "-f", "-n"}
)

var filesystems = []filesystem{
	{"ext4", "data=ordered", makeExt4, checkExt4, []string{"ext4"}, 3},
	{"ext4", "data=writeback", makeExt4, checkExt4, []string{"ext4"}, 2},
	{"xfs", "", []string{"mkfs.xfs", "-q", "-f"}, []string{"xfs_repair", "-n"}, []string{"xfs"}, 3},
	{"btrfs", "", []string{"mkfs.btrfs", "-q", "-f"}, []string{"btrfs", "check", "--readonly"}, []string{"btrfs"}, 1},
}

// pickFilesystem heeds the shares.
func pickFilesystem(random *rand.Rand) filesystem {
	var all []filesystem
	for _, f := range filesystems {
		all = append(all, slices.Repeat([]filesystem{f}, f.share)...)
	}
	return all[random.IntN(len(all))]
}

const (
	diskBytes = 512 << 20
	// A cramped disk has room for a few segments, until the ballast is dropped.
	crampedBytes = 80 << 20
	crampedRoom  = 5 << 20
	// fewBytes left end a life before the disk is full, unless that is what it is for.
	fewBytes = 128 << 20

	roundsOfLife    = 25
	roundsOfCramped = 8
)

// life is what one disk goes through, from an empty file system to its check. Owned by the run's
// goroutine, but for what the clients of a round have.
type life struct {
	// Set at construction.
	run        *run
	number     int
	random     *rand.Rand // decisions; not used while anything else happens
	filesystem filesystem
	cramped    bool
	keep       uint64 // messages that retention keeps of a room; 0: all
	machine    vm.Config
	flushTakes time.Duration // at most
	segment    string
	dir        string
	disk       *disk.Disk

	ledger     *ledger.Ledger
	auditor    *auditor
	publishers []*publisher
	watcher    *watcher

	rounds int // power cuts of this life
	full   bool
}

// newLife makes an empty disk. All of the same seed have the same lives.
func newLife(ctx context.Context, r *run, number int) (l *life, err error) {
	l = &life{
		run: r, number: number, random: rand.New(rand.NewPCG(r.options.seed, uint64(number))),
		dir: filepath.Join(r.work, fmt.Sprintf("life-%d", number)),
	}
	if err := os.Mkdir(l.dir, 0o755); err != nil {
		return nil, err
	}
	l.filesystem = pickFilesystem(l.random)
	l.cramped = l.random.IntN(5) == 0 && r.options.expectLoss == ""
	l.segment = []string{"2MiB", "2MiB", "4MiB", "16MiB"}[l.random.IntN(4)]
	l.machine = vm.Config{
		Kernel:     r.equipment.kernel,
		Initramfs:  filepath.Join(l.dir, "initramfs"),
		Processors: []int{1, 1, 2}[l.random.IntN(3)],
		MemoryMiB:  512,
		Port:       control.Port,
		Dir:        l.dir,
	}
	l.flushTakes = []time.Duration{0, 5 * time.Millisecond, 40 * time.Millisecond}[l.random.IntN(3)]
	if l.cramped {
		l.filesystem, l.segment = filesystems[l.random.IntN(2)], "2MiB"
	} else if l.random.IntN(3) == 0 && r.options.expectLoss == "" && r.equipment.retention {
		// Few enough that most of a file is to go when the next one begins.
		l.keep, l.segment = 10, "2MiB"
	}
	if r.options.expectLoss != "" {
		// A file system on a disk that lies can be past mounting, and then nothing is shown.
		l.filesystem = filesystems[0]
	}
	modules, err := r.equipment.kernel.Modules(l.filesystem.modules...)
	if err != nil {
		return nil, err
	}
	contents := vm.Contents{
		Init: r.equipment.guest, Files: map[string]string{"rookery": r.equipment.server}, Directories: []string{"disk"}, Modules: modules,
	}
	if err := contents.Write(l.machine.Initramfs); err != nil {
		return nil, err
	}
	if err := l.makeDisk(ctx); err != nil {
		return nil, err
	}
	l.people()
	return l, nil
}

// people are the clients of a life.
func (l *life) people() {
	l.ledger = ledger.New(contentOf)
	var rooms []string
	user, most := "publisher-%d", 8
	if l.keep > 0 {
		user, most = heavy+user, 2
	}
	for i := range 2 + l.random.IntN(most) {
		rooms = append(rooms, fmt.Sprintf("room-%d", i))
	}
	for i := range 3 + l.random.IntN(10) {
		l.publishers = append(l.publishers, &publisher{
			ledger: l.ledger, random: rand.New(rand.NewPCG(l.random.Uint64(), 0)), user: fmt.Sprintf(user, i), rooms: rooms,
			forgetful: l.keep > 0,
		})
	}
	l.watcher = newWatcher(l.ledger, "watcher", l.keep, rooms)
	l.auditor = &auditor{ledger: l.ledger, rooms: rooms, keep: l.keep, epochs: map[string]bool{}}
}

func (l *life) image() string { return filepath.Join(l.dir, "image") }

// makeDisk makes the file system in a file of holes and takes it over.
func (l *life) makeDisk(ctx context.Context) error {
	size := int64(diskBytes)
	if l.cramped {
		size = crampedBytes
	}
	image, err := os.Create(l.image())
	if err != nil {
		return err
	}
	defer os.Remove(l.image())
	defer image.Close()
	if err := image.Truncate(size); err != nil {
		return err
	}
	if err := vm.Command(ctx, "", l.filesystem.make[0], append(l.filesystem.make[1:], l.image())...); err != nil {
		return err
	}
	// No file system outlives a block that is torn between its sectors: ext4 and Btrfs don't mount with such a
	// superblock, and XFS takes a block whose first sector is new for a new one, and does not repair it from its log.
	if l.disk, err = disk.New(size, disk.BlockBytes); err != nil {
		return err
	}
	l.disk.Lie(l.run.options.expectLoss == lyingDisk)
	return l.disk.Load(image)
}

// plan is what the guest is told.
func (l *life) plan() control.Plan {
	p := control.Plan{
		Filesystem: l.filesystem.name,
		Options:    l.filesystem.options,
		Server: []string{
			"serve", "--dev", "--data", control.DataDirectory,
			"--listen", fmt.Sprintf("0.0.0.0:%d", control.Port), "--admin", "",
			"--log.segment-bytes", l.segment, "--drain.window", "0s",
		},
	}
	if l.keep > 0 {
		// Files within the retry window are not rewritten, so it is the shortest.
		p.Server = append(p.Server, "--retention.messages", fmt.Sprint(l.keep), "--retry-window", "1s")
	} else {
		p.Server = append(p.Server, "--retry-window", "2h")
	}
	if l.run.options.expectLoss == syncNever {
		p.Server = append(p.Server, "--log.sync", "never")
	}
	if l.cramped {
		p.Room = crampedRoom
	}
	return p
}

// over says whether the disk has had enough.
func (l *life) over() bool {
	if l.cramped {
		return l.rounds >= roundsOfCramped
	}
	return l.full || l.rounds >= roundsOfLife
}

// check looks at the file system of a disk that was unmounted. Damage would mean that our disk breaks
// its promises, and then the log's can't be judged.
func (l *life) check(ctx context.Context) error {
	if err := l.save(l.image()); err != nil {
		return err
	}
	defer os.Remove(l.image())
	return vm.Command(ctx, "", l.filesystem.check[0], append(l.filesystem.check[1:], l.image())...)
}

// save writes the disk to a file.
func (l *life) save(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(l.disk.Size()), l.disk.Save(file)); err != nil {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}

func (l *life) String() string {
	kind := l.filesystem.name
	if l.filesystem.options != "" {
		kind += " " + l.filesystem.options
	}
	if l.cramped {
		kind += ", cramped"
	}
	if l.keep > 0 {
		kind += fmt.Sprintf(", %d messages of a room are kept", l.keep)
	}
	return fmt.Sprintf("disk %d: %s, segments of %s, %d processors, flushes up to %v, %d publishers, %d rooms",
		l.number, kind, l.segment, l.machine.Processors, l.flushTakes, len(l.publishers), len(l.auditor.rooms))
}
