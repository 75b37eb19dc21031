// Package vm boots small Linux virtual machines in which one thing is tried, and which are thrown away: a Debian kernel, an
// initramfs with a first process of ours and what it needs, emulated by QEMU without KVM, so that they can be had
// everywhere. Booting takes some seconds.
//
//	provision.go  what has to be there: QEMU, a kernel, programs of ours without libc
//	debian.go     or a whole Debian, with systemd, that boots from a disk
//	modules.go    the drivers of that kernel
//	initramfs.go  what a machine boots into
//	machine.go    one boot, until it is off
//	link.go       a cable between two of them
//
// A first process begins with package guest and speaks with the host by package channel. What they say is theirs.
//
// Memory in such a machine is that of a real kernel. Times are not: the processor is emulated.
package vm
