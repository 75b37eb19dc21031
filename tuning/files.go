package tuning

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"rookery/tuning/host"
)

// The files that a plan may write, without the first slash. Nothing else of the system is touched.
const (
	// SysctlFile has a name that is read after all that begin with a digit.
	SysctlFile  = "etc/sysctl.d/zz-rookery-tune.conf"
	ModulesFile = "etc/modules-load.d/rookery-tune.conf"
	LimitsFile  = "etc/security/limits.d/zz-rookery-tune.conf"
	UdevFile    = "etc/udev/rules.d/99-rookery-tune.rules"
)

// DropIn is the file for the limits of a unit.
func DropIn(unit string) string { return "etc/systemd/system/" + unit + ".d/zz-rookery-tune.conf" }

// File is a file of a plan.
type File struct {
	Path  string // with the first slash
	Now   string
	There bool   // before
	After string // "" : the file goes, nothing of the plan is in it any more
}

// Changed says whether the plan changes the file.
func (f File) Changed() bool { return f.Now != f.After || f.There != (f.After != "") }

// files gives those that a plan needs, and those that an earlier one has left.
func files(v *view, p Plan, applied bool) []File {
	content := map[string]string{
		SysctlFile: sysctlText(p), ModulesFile: modulesText(p), UdevFile: udevText(v, p), LimitsFile: "", DropIn(v.host.Unit.Name): "",
	}
	for _, value := range p.Values {
		switch {
		case value.Key != descriptorKey:
		case byLogin(v):
			content[LimitsFile] = header(p) + fmt.Sprintf("*    - nofile %s\nroot - nofile %[1]s\n", value.Wanted)
		default:
			content[DropIn(v.host.Unit.Name)] = header(p) + fmt.Sprintf("[Service]\nLimitNOFILE=%s\n", value.Wanted)
		}
	}
	var all []File
	for _, name := range []string{SysctlFile, ModulesFile, LimitsFile, DropIn(v.host.Unit.Name), UdevFile} {
		now, err := fs.ReadFile(v.host.FS(), name)
		there := !errors.Is(err, fs.ErrNotExist)
		if content[name] != "" || there && applied { // one that was copied here by hand is its owner's
			all = append(all, File{Path: "/" + name, Now: string(now), There: there, After: content[name]})
		}
	}
	return all
}

// byLogin says whether the process that opens the connections has its limit from a login, and not from a unit.
func byLogin(v *view) bool {
	g := v.host.Gateway
	return g != nil && g.Unit == "" || g == nil && v.host.Unit.File == "" && !v.host.Systemd()
}

// ownLimit is the limit that an earlier plan has written.
func ownLimit(v *view) (int64, bool) {
	if byLogin(v) {
		for _, s := range v.host.LoginLimits() {
			if s.File == "/"+LimitsFile {
				return s.Limit(), true
			}
		}
		return 0, false
	}
	for _, s := range v.host.Unit.Settings {
		if s.File == "/"+DropIn(v.host.Unit.Name) {
			return s.Limit(), true
		}
	}
	return 0, false
}

// otherLimit is the limit that files other than ours give the unit, if one does.
func otherLimit(v *view) (limit int64, found bool) {
	for _, s := range v.host.DefaultLimits() {
		if s.Name == "DefaultLimitNOFILE" {
			limit, found = s.Limit(), true
		}
	}
	for _, s := range v.host.Unit.Settings {
		if s.Name == "LimitNOFILE" && s.File != "/"+DropIn(v.host.Unit.Name) {
			limit, found = s.Limit(), true
		}
	}
	return limit, found
}

// limitsAfterOurs are those that are read after the file that a plan writes, and are less than it sets.
func limitsAfterOurs(v *view) (all []host.Setting) {
	lines, ours := v.host.Unit.Settings, DropIn(v.host.Unit.Name)
	if byLogin(v) {
		lines, ours = v.host.LoginLimits(), LimitsFile
	}
	for _, s := range lines {
		hard := !strings.Contains(s.Name, " soft ")
		counts := s.Name == "LimitNOFILE" || hard && (strings.HasPrefix(s.Name, "* ") || strings.HasPrefix(s.Name, "root "))
		if counts && s.File != v.host.Unit.File && path.Base(s.File) > path.Base(ours) && s.Limit() < v.descriptors()-999 {
			all = append(all, s)
		}
	}
	return all
}

// takeOut says of a limit that is read after ours what has to be done about it.
func takeOut(s host.Setting) string {
	return fmt.Sprintf("take out %s:%d, which is read after the file of rookery tune apply, and apply", s.File, s.Line)
}

func header(p Plan) string {
	return fmt.Sprintf("# Written by rookery tune for %s.\n# Not to be edited: rookery tune apply writes it anew, rookery tune rollback takes it away.\n\n", p.Target)
}

func sysctlText(p Plan) string {
	var b strings.Builder
	for _, v := range p.Values {
		if v.Path != "/"+host.SysctlPath(v.Key) {
			continue
		}
		wrap(&b, "# ", "# ", v.Reason)
		if strings.HasPrefix(v.Key, "net.netfilter.") {
			b.WriteString("-") // no fault where the module is not loaded
		}
		fmt.Fprintf(&b, "%s = %s\n\n", v.Key, v.Wanted)
	}
	if b.Len() == 0 {
		return ""
	}
	return header(p) + strings.TrimSuffix(b.String(), "\n")
}

// modulesText has the module be loaded before the settings are: without it they are not there at boot.
func modulesText(p Plan) string {
	for _, v := range p.Values {
		if strings.HasPrefix(v.Key, "net.netfilter.") {
			return header(p) + "nf_conntrack\n"
		}
	}
	return ""
}

// udevText sets what belongs to a network card when it appears, or gets its name.
func udevText(v *view, p Plan) string {
	var b strings.Builder
	for _, card := range v.host.Cards {
		rule := ""
		for _, value := range p.Values {
			if attribute, ours := strings.CutPrefix(value.Path, "/"+card.Dir+"/"); ours {
				rule += fmt.Sprintf(", ATTR{%s}=%q", attribute, value.Wanted)
			}
		}
		if rule != "" {
			fmt.Fprintf(&b, "ACTION==\"add|move\", SUBSYSTEM==\"net\", KERNEL==%q%s\n", card.Name, rule)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return header(p) + b.String()
}
