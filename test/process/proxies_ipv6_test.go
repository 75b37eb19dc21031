package process

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	v1 "rookery/proto/rookery/v1"
)

// ownNetworkVariable tells this program that it runs for TestProxiesOverIPv6, in a network of its own.
const ownNetworkVariable = "ROOKERY_OWN_NETWORK"

// inOwnNetwork reports whether there is sure to be IPv6: many machines and most containers have no ::1, so that no other test may need it.
func inOwnNetwork() bool { return os.Getenv(ownNetworkVariable) != "" }

// TestProxiesOverIPv6: clients of IPv6 through the proxies of TestProxies. It runs in a network namespace of its own, whose loopback has
// ::1 whatever the machine's has.
func TestProxiesOverIPv6(t *testing.T) {
	if !inOwnNetwork() {
		t.Parallel()
		runInOwnNetwork(t)
		return
	}
	raiseLoopback(t)
	p := startProxied(t, asShipped)
	c := p.startChains(t)
	lines := func() int { return strings.Count(p.log(), "address=::1 reason=bad_token") }
	for i, way := range append(p.ways(), way{"haproxy by http", c.haproxy, webSocket}) {
		made, err := p.dialFrom("::1", overIPv6(way.address), way.by, "")
		if err != nil {
			t.Errorf("%s: %v", way.name, err)
			continue
		}
		made.send(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{}}}) // without a name, refused
		made.ended()
		made.conn.Close()
		p.await(t, "a line about ::1 through "+way.name, func() bool { return lines() == i+1 })
	}
	if found := matched(t, whole(p.log()), ""); !slices.Contains(found, "::1") || slices.Contains(found, strayProxy) {
		t.Errorf("fail2ban finds %q", found)
	}
}

// runInOwnNetwork runs the test again, with unshare.
func runInOwnNetwork(t *testing.T) {
	t.Helper()
	command := []string{"unshare", "--net"}
	if os.Getuid() != 0 {
		command = []string{"unshare", "--user", "--map-current-user", "--keep-caps", "--net"}
	}
	command = append(command, os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "5m")
	again := exec.CommandContext(t.Context(), command[0], command[1:]...)
	again.Env = append(os.Environ(), ownNetworkVariable+"=1", binaryVariable+"="+plainBinary)
	said, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "--- PASS: "+t.Name()+" ") {
		t.Fatalf("%s: %v. It needs a machine that lets it make a network namespace: in a container, CAP_SYS_ADMIN; else user namespaces that are "+
			"allowed (kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns). It said:\n%s", strings.Join(command, " "), err, said)
	}
}

// raiseLoopback turns the loopback of a new namespace on, and looks whether it has IPv6.
func raiseLoopback(t *testing.T) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		t.Fatalf("turn the loopback of the namespace on: %v", err)
	}
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatalf("a new network namespace has no ::1: %v. The kernel was started without IPv6 (ipv6.disable=1 or ipv6.disable_ipv6=1), or "+
			"net.core.devconf_inherit_init_net has its loopback be like the machine's: start it with IPv6, which proxies serve too", err)
	}
	l.Close()
}

// alsoIPv6 is a part of a configuration with the same port at the loopback address of IPv6, where that is sure to be.
func alsoIPv6(format, address string) string {
	if !inOwnNetwork() {
		return ""
	}
	return fmt.Sprintf(format, overIPv6(address))
}

// overIPv6 is the same port at the loopback address of IPv6.
func overIPv6(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return net.JoinHostPort("::1", port)
}
