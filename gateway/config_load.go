package gateway

import (
	"errors"
	"flag"
	"fmt"
	"strings"
)

// given is what one layer says of one setting.
type given struct {
	texts []string // as written; more than one if a flag was repeated or a file has a sequence
	list  bool     // a sequence of a file: every text is one entry, commas included
	from  string   // "flag --listen", "environment ROOKERY_LISTEN", "rookery.yaml:3"
}

// A layer is all that the file, the environment or the flags say, by name of the setting.
// The name "config", which no setting has, stands for the file itself.
type layer map[string]given

// LoadConfig lays the file named by --config or ROOKERY_CONFIG, then the environment, then
// the flags of args over the defaults, and validates the result. The later wins. All that
// is wrong is reported at once, a line each: setting, value, where it came from, why.
// It returns [flag.ErrHelp] if args ask for help; WriteUsage answers that.
func LoadConfig(args, environ []string) (Config, error) {
	var faults faultList
	known := settings()
	flags, err := readFlags(args, known, &faults)
	if err != nil {
		return Config{}, err
	}
	environment := readEnvironment(environ, known, &faults)
	file := layer{}
	if path, ok := configPath(flags, environment); ok {
		file = readFile(path, known, &faults)
	}

	c := DefaultConfig()
	c.sources = map[string]string{}
	for _, s := range known {
		for _, l := range []layer{file, environment, flags} {
			g, ok := l[s.name]
			if !ok {
				continue
			}
			c.sources[s.name] = g.from
			if err := s.assign(&c, g); err != nil {
				faults.add(s, g.from, strings.Join(g.texts, ","), err.Error())
			}
		}
	}
	if c.Dev {
		c.applyDevelopmentDefaults(known)
	}
	c.validate(&faults)
	for _, s := range known {
		if g, ok := file[s.name]; ok && s.secret {
			path, _ := configPath(flags, environment)
			checkSecretFile(path.texts[0], s, g.from, &faults)
		}
	}
	if err := faults.join(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func configPath(flags, environment layer) (given, bool) {
	if g, ok := flags["config"]; ok {
		return g, true
	}
	g, ok := environment["config"]
	return g, ok && g.texts[0] != ""
}

// assign sets the field to what g says. The later of repeated flags wins, but those of a
// list add up.
func (s setting) assign(c *Config, g given) error {
	switch v := s.value(c).(type) {
	case listValue:
		entries := g.texts
		if !g.list {
			entries = nil
			for _, text := range g.texts {
				entries = append(entries, splitList(text)...)
			}
		}
		v.setAll(entries)
		return nil
	default:
		if g.list {
			return errors.New("is a list; this setting takes one value")
		}
		return v.Set(g.texts[len(g.texts)-1])
	}
}

// applyDevelopmentDefaults lifts the caps that nobody asked for, since the load of a test
// comes from one address and often from one user.
func (c *Config) applyDevelopmentDefaults(known []setting) {
	for _, s := range known {
		if _, set := c.sources[s.name]; set || s.development == "" {
			continue
		}
		if err := s.value(c).Set(s.development); err != nil {
			panic("BUG: development default of " + s.name + ": " + err.Error())
		}
		c.sources[s.name] = developmentDefault
	}
}

const developmentDefault = "default in development mode"

// readFlags takes --name value and --name=value, with one hyphen as well. It is a loop of
// our own since flag.FlagSet stops at the first fault, and all are to be told.
func readFlags(args []string, known []setting, faults *faultList) (layer, error) {
	byFlag := map[string]setting{"--config": {name: "config"}}
	names := []string{"--config"}
	for _, s := range known {
		byFlag[s.flag()] = s
		names = append(names, s.flag())
	}
	flags := layer{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, text, hasText := strings.Cut(arg, "=")
		name = "--" + strings.TrimPrefix(strings.TrimPrefix(name, "-"), "-")
		switch {
		case arg == "-h" || name == "--help" && !hasText:
			return nil, flag.ErrHelp
		case !strings.HasPrefix(arg, "-") || arg == "-" || arg == "--":
			faults.addText(fmt.Sprintf("argument %q: every setting is a flag, --name value", arg))
			continue
		}
		s, ok := byFlag[name]
		if !ok {
			faults.addText(fmt.Sprintf("flag %s: there is no such flag%s", name, didYouMean(name, names)))
			if len(args) > 0 && !hasText && !strings.HasPrefix(args[0], "-") {
				args = args[1:] // most likely its value: no fault of its own
			}
			continue
		}
		if !hasText {
			switch {
			case s.name != "config" && isBool(s):
				text = "true"
			case len(args) == 0:
				faults.addText(fmt.Sprintf("flag %s: has no value; write %s VALUE", name, name))
				continue
			default:
				text, args = args[0], args[1:]
			}
		}
		flags[s.name] = given{texts: append(flags[s.name].texts, text), from: "flag " + name}
	}
	if g, ok := flags["config"]; ok && len(g.texts) > 1 {
		faults.addText("flag --config: given twice; there is one file")
	}
	return flags, nil
}

// isBool reports whether the setting's flag may stand without a value, in the way that
// the flag package asks.
func isBool(s setting) bool {
	b, ok := s.value(&Config{}).(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// readEnvironment reads the variables that are settings. An empty variable counts: it is
// the way to turn off the admin listener. A variable that merely begins with ROOKERY_ may
// belong to somebody else (a container platform makes ROOKERY_PORT for a service named
// rookery), so an unknown one is only refused where it looks like a slip.
func readEnvironment(environ []string, known []setting, faults *faultList) layer {
	byVariable := map[string]string{"ROOKERY_CONFIG": "config"}
	names := []string{"ROOKERY_CONFIG"}
	for _, s := range known {
		byVariable[s.environment()] = s.name
		names = append(names, s.environment())
	}
	environment := layer{}
	for _, entry := range environ {
		variable, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(variable, "ROOKERY_") {
			continue
		}
		name, ok := byVariable[variable]
		if !ok {
			for _, near := range names {
				// Two letters off is a slip in a long name; in a short one it is
				// another name (ROOKERY_ENV is not meant to be ROOKERY_DEV).
				if slips := editDistance(variable, near); slips == 1 || slips == 2 && len(near) > 16 {
					faults.addText(fmt.Sprintf("environment %s: there is no such setting; did you mean %s?", variable, near))
					break
				}
			}
			continue
		}
		environment[name] = given{texts: []string{text}, from: "environment " + variable}
	}
	return environment
}

func didYouMean(typed string, names []string) string {
	if near := nearest(typed, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return "; rookery serve --help lists them all"
}
