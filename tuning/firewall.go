package tuning

import (
	"fmt"
	"strings"
)

// firewallFiles are those from which rules are loaded at boot.
var firewallFiles = []string{"etc/ufw/user.rules", "etc/nftables.conf", "etc/firewalld/zones/public.xml", "etc/iptables/rules.v4", "etc/sysconfig/iptables"}

// firewall is what is known of the rules of filters.
type firewall struct {
	from    string // where the rules are
	filters bool   // they keep something out
	named   bool   // the gateway's port is among them
	unread  string // why the rules in force are not known, so that those of files stand in for them
}

// firewallOf looks at the rules in force, or where it can't at the files from which they are loaded.
func firewallOf(v *view) firewall {
	if !v.host.Module("nf_tables") && !v.host.Module("ip_tables") {
		return firewall{from: "/proc/modules"}
	}
	text, err := v.host.Rules()
	if err == nil {
		return firewall{from: "the rules in force", filters: filters(text), named: namesPort(text, v.target.Port)}
	}
	f := firewall{from: "/proc/modules", unread: err.Error()}
	for _, name := range firewallFiles {
		text, err := v.host.Text(name)
		if err != nil || !filters(text) {
			continue // none, or without filters, as Debian's package brings it
		}
		if strings.HasPrefix(name, "etc/ufw") {
			if conf, _ := v.host.Text("etc/ufw/ufw.conf"); !strings.Contains(conf, "ENABLED=yes") {
				continue
			}
		}
		f.from, f.filters, f.named = "/"+name, true, namesPort(text, v.target.Port)
		return f
	}
	return f
}

// filters says whether rules keep anything out. What they accept only is open to all.
func filters(rules string) bool {
	for _, word := range []string{"drop", "DROP", "reject", "REJECT", "<zone"} {
		if strings.Contains(rules, word) {
			return true
		}
	}
	return false
}

func namesPort(text string, port int) bool {
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n{},;:\"", r) }) {
		if field == fmt.Sprint(port) {
			return true
		}
	}
	return false
}

func readFirewall(v *view) current {
	f := firewallOf(v)
	switch {
	case f.filters && f.named:
		return known(f.from, "a filter that names port %d", v.target.Port)
	case f.filters:
		return known(f.from, "a filter that does not name port %d", v.target.Port)
	case f.unread != "":
		return known(f.from, "not known")
	}
	return known(f.from, "nothing that keeps anything out")
}

func judgeFirewall(v *view, _ current) verdict {
	f := firewallOf(v)
	says := ""
	if f.unread != "" {
		says = "the rules in force could not be read: " + f.unread
	}
	if f.filters && !f.named {
		return verdict{severity: Advice, says: says, do: "see whether a client from outside gets in; --port names another port"}
	}
	return verdict{says: says}
}
