package vfs

import (
	"math/rand/v2"
	"slices"
)

// CrashClone gives a file system as it may be found after power loss at this moment; the
// original goes on. rng decides, for each thing that was not synced: changed names reach the
// disk up to some point per directory (journals keep the order); the size of a file is the old
// one, the new one or between; each changed block is kept, lost, or kept up to some byte. The
// same rng on the same state gives the same clone. No lock is held in it.
func (m *Memory) CrashClone(rng *rand.Rand) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	clone := NewMemory()
	for dir := range m.directories {
		clone.directories[dir] = true
	}
	for path, inode := range m.durableNames {
		clone.names[path] = inode
	}
	for _, dir := range sortedKeys(m.pending) {
		changes := m.pending[dir]
		kept := rng.IntN(len(changes) + 1)
		for kept < len(changes) && changes[kept].joined {
			kept++
		}
		for _, change := range changes[:kept] {
			apply(clone.names, change)
		}
	}
	// Inodes are shared up to here; from here the clone has its own, and all of it is durable.
	for _, path := range sortedKeys(clone.names) {
		content := clone.names[path].afterCrash(rng)
		clone.names[path] = &memoryInode{
			data:    content,
			durable: slices.Clone(content),
			dirty:   map[int64]bool{},
		}
	}
	for path, inode := range clone.names {
		clone.durableNames[path] = inode
	}
	return clone
}

// afterCrash gives what the disk may hold.
func (n *memoryInode) afterCrash(rng *rand.Rand) []byte {
	size := int64(len(n.durable))
	if n.resized {
		size = crashSize(rng, size, int64(len(n.data)))
	}
	content := append([]byte(nil), n.durable[:min(size, int64(len(n.durable)))]...)
	content = resize(content, size)
	for _, block := range sortedKeys(n.dirty) {
		start := block * blockBytes
		end := min(start+blockBytes, size, int64(len(n.data)))
		if start >= end {
			continue
		}
		switch rng.IntN(4) {
		case 0: // lost
		case 1: // kept in part
			copy(content[start:end], n.data[start:start+rng.Int64N(end-start+1)])
		default: // kept
			copy(content[start:end], n.data[start:end])
		}
	}
	return content
}

func crashSize(rng *rand.Rand, durable, current int64) int64 {
	switch rng.IntN(3) {
	case 0:
		return durable
	case 1:
		return current
	default:
		low, high := min(durable, current), max(durable, current)
		return low + rng.Int64N(high-low+1)
	}
}

// sortedKeys makes the walk over a map, and so the clone, the same for the same rng.
func sortedKeys[K int64 | string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
