// Package script writes a plan of package tuning as one POSIX shell script with check, apply and rollback, for those who do not
// run a binary as root. It needs a shell, and of programs cat, cp, mv, mkdir, rm, rmdir, sed, cmp, sync, id and
// dirname, as every system has them, busybox too.
//
// The script follows the rules of package apply: it writes the same files, saves what was there first, undoes all when something
// fails, refuses to roll back what somebody has changed since, and does nothing when it is run again. It keeps its state apart,
// in /var/lib/rookery-tune-script, and neither of the two is applied where the other is. Unlike a plan it may be run on another machine
// than it was made for. So it leaves alone each value that is good enough there already.
package script

import (
	_ "embed"
	"fmt"
	"path"
	"strings"

	"rookery/tuning"
)

//go:embed template.sh
var template string

// Make gives the script of a plan.
func Make(p tuning.Plan) string {
	var values, files, list strings.Builder
	for _, v := range p.Values {
		if v.Path == "" {
			continue
		}
		kind := v.Rule.Kind
		if kind == "" {
			kind = "same"
		}
		fmt.Fprintf(&values, "%s|%d|%s|%s|%s|%s\n", kind, v.Rule.Place+1, v.Path, v.Key, v.Wanted, v.Reason)
	}
	n := 0
	for _, f := range p.Files {
		if f.After == "" || f.Path == "/"+tuning.SysctlFile {
			continue // that one is made of the values that were set
		}
		n++
		fmt.Fprintf(&list, "\t%d) echo '%s' ;;\n", n, f.Path)
		fmt.Fprintf(&files, "\t%d) cat <<'END'\n%sEND\n\t\t;;\n", n, f.After)
	}
	return strings.NewReplacer(
		"@TARGET@", p.Target.String(), "@MACHINE@", p.Machine, "@SYSCTL@", "/"+tuning.SysctlFile, "@SYSCTL_DIRECTORY@", "/"+path.Dir(tuning.SysctlFile),
		"@COUNT@", fmt.Sprint(n), "@VALUES@\n", values.String(), "@PATHS@\n", list.String(), "@FILES@\n", files.String(),
	).Replace(template)
}
