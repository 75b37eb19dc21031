package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// rulesPatience is how long a program that lists rules may take: with very many it does for seconds.
const rulesPatience = 5 * time.Second

// errNoFilter says that there is nothing to list.
var errNoFilter = errors.New("no filter is loaded")

// Rules asks for the rules of filters that the kernel has now, as the programs that manage them list them. It asks only for what is
// loaded: to ask for rules that no module has would load the module.
func (h *Host) Rules() (text string, err error) {
	if h.probes.Rules == nil {
		return "", errNotAsked
	}
	var listings [][]string
	if h.Module("nf_tables") {
		listings = append(listings, []string{"nft", "list", "ruleset"})
	}
	if h.Module("ip_tables") {
		listings = append(listings, []string{"iptables-save"})
	}
	if len(listings) == 0 {
		return "", errNoFilter
	}
	for _, command := range listings {
		part, err := h.probes.Rules(command)
		if err != nil {
			return "", err // half of the rules would be taken for all
		}
		text += part
	}
	return text, nil
}

// list runs a program that lists rules.
func list(command []string) (string, error) {
	program, err := exec.LookPath(command[0])
	if err != nil {
		program = "/usr/sbin/" + command[0] // which not everybody's path names
	}
	ctx, cancel := context.WithTimeout(context.Background(), rulesPatience)
	defer cancel()
	c := exec.CommandContext(ctx, program, command[1:]...)
	c.WaitDelay = time.Second
	said, err := c.Output()
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s took longer than %v", command[0], rulesPatience)
	case errors.As(err, &failed):
		line, _, _ := strings.Cut(strings.TrimSpace(string(failed.Stderr)), "\n")
		return "", fmt.Errorf("%s: %s", command[0], line)
	case err != nil:
		return "", fmt.Errorf("%s is not installed", command[0])
	}
	return string(said), nil
}
