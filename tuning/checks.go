package tuning

import "slices"

// Checks are all of them, in an order in which a connection meets what they look at.
func Checks() []Check {
	return slices.Concat(descriptorChecks(), acceptChecks(), conntrackChecks(), portChecks(), memoryChecks(), bufferChecks(), cardChecks(), processorChecks(), surroundingChecks())
}

// Find gives the check of a key.
func Find(key string) (Check, bool) {
	for _, c := range Checks() {
		if c.Key == key {
			return c, true
		}
	}
	return Check{}, false
}

// Documents that sources name.
const (
	docIP        = "Linux Documentation/networking/ip-sysctl.rst"
	docNet       = "Linux Documentation/admin-guide/sysctl/net.rst"
	docFS        = "Linux Documentation/admin-guide/sysctl/fs.rst"
	docVM        = "Linux Documentation/admin-guide/sysctl/vm.rst"
	docConntrack = "Linux Documentation/networking/nf_conntrack-sysctl.rst"
	docScaling   = "Linux Documentation/networking/scaling.rst"
	docCgroup    = "Linux Documentation/admin-guide/cgroup-v2.rst"
	docCapacity  = "docs/benchmarks.md, rows density and kernel"
)
