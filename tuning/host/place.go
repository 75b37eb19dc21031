package host

import (
	"io/fs"
	"path"
	"strings"
)

// Kinds of places.
const (
	Metal      = "a machine of its own"
	Virtual    = "virtual machine"
	Docker     = "Docker container"
	Podman     = "Podman container"
	Kubernetes = "Kubernetes pod"
	LXC        = "LXC container"
	OpenVZ     = "OpenVZ container"
	WSL        = "Windows Subsystem for Linux"
	Container  = "container"
)

// Place is where this Linux runs.
type Place struct {
	Kind       string
	Hypervisor string // of a virtual machine, where it says so
	// Mapped says that root here is not root of the kernel: only settings of the network namespace can be written.
	Mapped bool
}

// Shared says that the kernel is another's, and with it all settings that are not of a namespace.
func (p Place) Shared() bool {
	switch p.Kind {
	case Metal, Virtual, WSL:
		return false
	}
	return true
}

// Thrown says that files written here are gone with the container: what is set has to be told to who starts it.
func (p Place) Thrown() bool { return p.Kind == Docker || p.Kind == Podman || p.Kind == Kubernetes }

func (p Place) String() string {
	if p.Hypervisor != "" {
		return p.Kind + " (" + p.Hypervisor + ")"
	}
	return p.Kind
}

func readPlace(h *Host) Place {
	p := Place{Kind: Metal}
	if fields := strings.Fields(h.text("proc/self/uid_map")); len(fields) == 3 && fields[1] != "0" {
		p.Mapped = true
	}
	release := strings.ToLower(h.text("proc/sys/kernel/osrelease"))
	named := h.text("run/systemd/container") // what systemd found, readable to all
	if named == "" {
		for variable := range strings.SplitSeq(h.text("proc/1/environ"), "\x00") { // readable to root
			switch name, value, _ := strings.Cut(variable, "="); name {
			case "container":
				named = value
			case "KUBERNETES_SERVICE_HOST": // a pod has it also where it has no token
				named = Kubernetes
			}
		}
	}
	switch {
	case strings.Contains(release, "microsoft"):
		p.Kind = WSL
		return p
	case h.exists("var/run/secrets/kubernetes.io") || h.exists("run/secrets/kubernetes.io") || named == Kubernetes:
		p.Kind = Kubernetes
	case h.exists("run/.containerenv") || named == "podman":
		p.Kind = Podman
	case h.exists(".dockerenv") && !h.onDisk() || named == "docker":
		p.Kind = Docker
	case h.exists("proc/vz") && !h.exists("proc/bc"):
		p.Kind = OpenVZ
	case strings.HasPrefix(named, "lxc"):
		p.Kind = LXC
	case named != "" || p.Mapped || h.mountOf("/proc/sys") == (mount{"/proc/sys", "proc", true}): // as runtimes make it that say nothing
		p.Kind = Container
	}
	if p.Kind != Metal {
		return p
	}
	hypervisor := h.text("sys/hypervisor/type") // of Xen
	vendor := h.text("sys/class/dmi/id/sys_vendor")
	if hypervisor == "" {
		for _, known := range []string{"QEMU", "KVM", "Amazon EC2", "Google", "Microsoft Corporation", "VMware, Inc.", "DigitalOcean", "Hetzner", "Xen", "innotek GmbH", "OpenStack Foundation"} {
			if strings.EqualFold(vendor, known) {
				hypervisor = vendor
			}
		}
	}
	flags := " " + colon(h.text("proc/cpuinfo"), "flags") + " "
	if hypervisor != "" || strings.Contains(flags, " hypervisor ") {
		p.Kind, p.Hypervisor = Virtual, hypervisor
	}
	return p
}

// onDisk says whether / is a file system of a disk: an image of a container that was made into one of a machine has
// the file of Docker still.
func (h *Host) onDisk() bool {
	kind := h.mountOf("/").kind
	return kind == "ext4" || kind == "xfs"
}

// mount is a line of /proc/self/mounts.
type mount struct {
	at, kind string
	readOnly bool
}

func readMounts(h *Host) []mount {
	text, err := h.Text("proc/self/mounts")
	if err != nil {
		text = h.text("proc/mounts")
	}
	var all []mount
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		m := mount{at: f[1], kind: f[2]}
		for option := range strings.SplitSeq(f[3], ",") {
			m.readOnly = m.readOnly || option == "ro"
		}
		all = append(all, m)
	}
	return all
}

// mountOf is what an absolute path is on: of those that it is below, the longest, and of those the last.
func (h *Host) mountOf(name string) (found mount) {
	for _, m := range h.mounts {
		below := m.at == "/" || name == m.at || strings.HasPrefix(name, m.at+"/")
		if below && len(m.at) >= len(found.at) {
			found = m
		}
	}
	return found
}

// WhyFixed says why a file of the kernel below /proc/sys or /sys can't be written from here, "" if it can by root.
func (h *Host) WhyFixed(name string) string {
	name = path.Clean("/" + name)
	switch {
	case h.mountOf(name).readOnly:
		return "it is read-only in this " + h.Place.Kind
	case h.Place.Mapped && !strings.HasPrefix(name, "/proc/sys/net/"):
		return "root of this " + h.Place.Kind + " is not root of the kernel"
	}
	// Of the tracker a network namespace that is not the first has values of its own, and may not set them.
	if info, err := fs.Stat(h.root, name[1:]); err == nil && info.Mode().Perm()&0o222 == 0 {
		if h.Place.Shared() {
			return "the kernel lets nobody set it in this network namespace"
		}
		return "the kernel only shows it there"
	}
	return ""
}
