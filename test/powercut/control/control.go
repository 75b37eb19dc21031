// Package control is what the machine that loses its power and the one that cuts it say to each other. The host speaks first,
// with a Plan; then each says what it has to. Package channel carries it.
package control

// Plan is what the guest does with its disk.
type Plan struct {
	// Filesystem and Options are those of mount.
	Filesystem string `json:"filesystem"`
	Options    string `json:"options"`
	// Server are the arguments of rookery; its data is in DataDirectory.
	Server []string `json:"server"`
	// Room, if not 0, is how many bytes are left free: a file takes the rest, the ballast. One that is
	// there from an earlier boot is left as it is.
	Room int64 `json:"room"`
}

const (
	// MountPoint is where the disk is.
	MountPoint = "/disk"
	// DataDirectory is for the server's setting data.
	DataDirectory = MountPoint + "/log"
	// Port is the server's in the guest.
	Port = 8080
)

// OrderKind says what the guest is to do next.
type OrderKind string

const (
	// Leave: end the server with SIGTERM, unmount, turn the machine off.
	Leave OrderKind = "leave"
	// DropBallast makes room on the disk.
	DropBallast OrderKind = "drop ballast"
)

// Order is sent by the host.
type Order struct {
	Kind OrderKind `json:"kind"`
}

// EventKind says what has happened in the guest.
type EventKind string

const (
	Mounting  EventKind = "mounting"  // about to
	Starting  EventKind = "starting"  // the server
	Said      EventKind = "said"      // a line of the server's log
	Ended     EventKind = "ended"     // the server, with status Text
	Unmounted EventKind = "unmounted" // nothing of the disk is in memory any more
	Failed    EventKind = "failed"    // Text says what
)

// Event is sent by the guest.
type Event struct {
	Kind EventKind `json:"kind"`
	Text string    `json:"text,omitempty"`
	// Of Starting: bytes of the disk, and how many of the log's files retention has rewritten.
	Free   int64 `json:"free,omitempty"`
	Packed int   `json:"packed,omitempty"`
}
