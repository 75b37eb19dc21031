package tuning

import (
	"fmt"
	"math"
	"slices"
)

func processorChecks() []Check {
	return []Check{
		{
			Key:    "processors",
			Reason: "each message that comes in or goes out takes about 15 µs of a processor, most of it in the kernel, and each heartbeat two of these; over 70% latencies rise",
			Cost:   "a larger machine",
			Source: "docs/scaling.md; docs/benchmarks.md, row delivery",
			read:   func(v *view) current { return known("/proc/stat", "%d", v.host.Processors) },
			judge: func(v *view, _ current) verdict {
				needed := processorsFor(v.target)
				if needed <= v.room.Processors*(1+1e-9) { // the capacity is computed the other way round
					return verdict{says: fmt.Sprintf("this load takes %.2g of them, within a third", needed*busyShare)}
				}
				return verdict{severity: Hurts, wanted: fmt.Sprint(math.Ceil(needed)), says: fmt.Sprintf("%s messages a second and the heartbeats take %.3g of %.3g, give or take a third, and over 70%% latencies rise",
					number(int64(v.target.MessageRate)), needed*busyShare, v.room.Processors),
					do: fmt.Sprintf("use a machine with %.0f processors; fewer messages; or rooms.gather where milliseconds do not matter", math.Ceil(needed))}
			},
		}, {
			Key:    "cpu.max",
			Reason: "a quota stops the gateway for the rest of a period of 100 ms when it is used up, which is what clients wait for",
			Cost:   "others get less",
			Source: docCgroup + ", CPU Interface Files; systemd.resource-control(5), CPUQuota=",
			read: func(v *view) current {
				b, found := v.host.ProcessorBound()
				if !found {
					return known("no cgroup above the gateway", "no quota")
				}
				return known(b.File, "%.3g processors", b.Amount)
			},
			judge: func(v *view, _ current) verdict {
				b, found := v.host.ProcessorBound()
				switch {
				case !found || b.Amount >= float64(v.host.Processors):
					return verdict{}
				case b.Amount < 1:
					return verdict{severity: Hurts, says: "it is less than one processor: every burst is stopped", do: "give it a whole one, or use weights (CPUWeight=) instead of a quota"}
				}
				return verdict{severity: Advice, says: fmt.Sprintf("%.3g of %d processors", b.Amount, v.host.Processors), do: "use weights (CPUWeight=) instead of a quota where the machine is yours"}
			},
		}, {
			Key:    "cpu governor",
			Reason: "with powersave an old driver keeps the clock low, and a gateway that wakes for moments never raises it",
			Source: "Linux Documentation/admin-guide/pm/cpufreq.rst, Generic Scaling Governors",
			read: func(v *view) current {
				text, err := v.host.Text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
				if err != nil {
					return known("no file of cpufreq", "none: the hypervisor's or the firmware's")
				}
				return known("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "%s", text)
			},
			judge: func(v *view, now current) verdict {
				driver, _ := v.host.Text("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver")
				if now.Text != "powersave" || driver == "intel_pstate" || driver == "amd-pstate-epp" { // there it means balanced
					return verdict{}
				}
				return verdict{severity: Advice, wanted: "schedutil", do: "cpupower frequency-set -g schedutil, or performance"}
			},
		}, {
			Key:    "steal",
			Reason: "time in which this machine could have run and the hypervisor let others run is time that every client waits",
			Source: "proc_stat(5), steal",
			read: func(v *view) current {
				share, known1 := v.host.Steal()
				if !known1 {
					return known("/proc/stat", "not known")
				}
				return known("/proc/stat, since boot", "%.2g%% of the time it wanted to run", share*100)
			},
			judge: func(v *view, _ current) verdict {
				const much, some = 0.1, 0.03
				switch share, _ := v.host.Steal(); {
				case share >= much:
					return verdict{severity: Hurts, says: "the hypervisor takes a tenth or more", do: "ask for dedicated processors, or another host"}
				case share >= some:
					return verdict{severity: Advice, says: "the hypervisor takes some", do: "look at it under load: vmstat 1, column st"}
				}
				return verdict{}
			},
		}, {
			Key:    "clock source",
			Reason: "the gateway asks for the time for each message; with tsc or kvm-clock that is no call of the kernel, with hpet or acpi_pm it is a slow one",
			Source: "Linux Documentation/timers/timekeeping.rst, Clock sources; vdso(7)",
			read: func(v *view) current {
				const file = "sys/devices/system/clocksource/clocksource0/current_clocksource"
				text, err := v.host.Text(file)
				if err != nil {
					return missing(err)
				}
				return known("/"+file, "%s", text)
			},
			judge: func(v *view, now current) verdict {
				if slices.Contains([]string{"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource"}, now.Text) {
					return verdict{}
				}
				there, _ := v.host.Text("sys/devices/system/clocksource/clocksource0/available_clocksource")
				return verdict{severity: Hurts, wanted: "tsc", says: "there are " + there, do: "clocksource=tsc on the kernel's command line, if the kernel log does not call the tsc unstable"}
			},
		},
	}
}
