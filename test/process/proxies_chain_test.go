package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rookery/internal/porttest"
	v1 "rookery/proto/rookery/v1"
)

// chains are proxies beside those of the shipped configurations: HAProxy that speaks HTTP, and one proxy before another.
type chains struct {
	haproxy                             string // mode http
	nginxTCP, nginxHTTP, haproxyToNginx string // nginx before HAProxy in both modes, and the other way round
}

// startChains starts them. A proxy that is before another one connects from strayProxy, which the server trusts.
func (p *proxied) startChains(t *testing.T) *chains {
	dir := t.TempDir()
	c := &chains{haproxy: porttest.FreeAddress(t), nginxTCP: porttest.FreeAddress(t), nginxHTTP: porttest.FreeAddress(t), haproxyToNginx: porttest.FreeAddress(t)}
	tcp, appending, behind := porttest.FreeAddress(t), porttest.FreeAddress(t), porttest.FreeAddress(t)
	// As docs/proxies.md has it.
	write(t, filepath.Join(dir, "haproxy.cfg"), fmt.Sprintf(`
global
	maxconn 500
defaults
	mode http
	timeout connect 5s
	timeout client 7500ms
	timeout server 7500ms
	timeout tunnel 7500ms
frontend edge
	bind %[1]s ssl crt %[2]s alpn http/1.1
%[3]s	option forwardfor
	http-request del-header X-Forwarded-For
	default_backend rookery
frontend behind
	option forwardfor
	bind %[4]s
	default_backend rookery
backend rookery
	server rookery unix@%[5]s
frontend edge-to-nginx
	bind %[6]s ssl crt %[2]s alpn http/1.1
	option forwardfor
	http-request del-header X-Forwarded-For
	default_backend nginx
backend nginx
	server nginx %[7]s source %[8]s
frontend tcp
	mode tcp
	bind %[9]s
	default_backend passing
backend passing
	mode tcp
	server rookery unix@%[5]s send-proxy-v2
`, c.haproxy, filepath.Join(p.dir, "haproxy.pem"), alsoIPv6("\tbind %s ssl crt "+filepath.Join(p.dir, "haproxy.pem")+" alpn http/1.1\n", c.haproxy), appending, p.socket, c.haproxyToNginx, behind, strayProxy, tcp))

	// The shipped configuration three times: each with names of its own, since they are in one nginx.
	site := func(name, listen, next, forwarded string) string {
		path := filepath.Join(dir, name+".conf")
		write(t, path, adapt(t, "../../deploy/nginx/rookery.conf",
			"unix:/run/rookery/socket", next, "listen 443 ssl", "listen "+listen, "    listen [::]:443 ssl;\n", "",
			"/etc/ssl/rookery/fullchain.pem", filepath.Join(p.dir, "fullchain.pem"), "/etc/ssl/rookery/privkey.pem", filepath.Join(p.dir, "privkey.pem"),
			"shared:rookery", "shared:"+name, "$rookery_connection", "$"+name+"_connection", "upstream rookery", "upstream "+name,
			"http://rookery;", "http://"+name+";", "X-Forwarded-For $remote_addr;", "X-Forwarded-For "+forwarded+";"))
		return path
	}
	bind := "$remote_addr; proxy_bind " + strayProxy
	user := ""
	if os.Getuid() == 0 {
		user = "user root root;"
	}
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`
%s
worker_processes 1; pid %s/nginx.pid; error_log stderr;
events { worker_connections 500; }
http {
	access_log off;
	client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
	include %[3]s; include %[4]s; include %[5]s;
}
`, user, dir, site("to_tcp", c.nginxTCP+" ssl", tcp, bind), site("to_http", c.nginxHTTP+" ssl", appending, bind),
		site("behind", behind, "unix:"+p.socket, "$proxy_add_x_forwarded_for")))

	nginx := []string{"/usr/sbin/nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr"}
	haproxy := []string{"/usr/sbin/haproxy", "-f", filepath.Join(dir, "haproxy.cfg")}
	mustPass(t, append(nginx, "-t")...)
	mustPass(t, append(haproxy, "-c")...)
	runProxy(t, append(nginx, "-g", "daemon off;")...)
	runProxy(t, append(haproxy, "-db")...)
	for _, address := range []string{c.haproxy, c.nginxTCP, c.nginxHTTP, c.haproxyToNginx, tcp, appending, behind} {
		awaitListener(t, address)
	}
	return c
}

// testChains has clients of known addresses turned away, and finds these in the log.
func (p *proxied) testChains(t *testing.T) {
	const spoofed = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: " + strayProxy + "\r\n\r\n"
	c := p.startChains(t)
	denied := func(client, to string, by transport, first string) {
		t.Helper()
		made, err := p.dialFrom(client, to, by, first)
		if err != nil {
			t.Errorf("%s to %s: %v", client, to, err)
			return
		}
		defer made.conn.Close()
		made.send(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{}}}) // without a name, refused
		made.ended()
	}
	lines := func(client string) int { return strings.Count(p.log(), "address="+client+" reason=bad_token") }
	for i, to := range []string{c.haproxy, c.nginxTCP, c.nginxHTTP, c.haproxyToNginx} {
		client := fmt.Sprint("127.0.0.", 50+i)
		denied(client, to, webSocket, "")
		denied(client, to, webSocket, upgradeWith+spoofed)
		p.await(t, fmt.Sprintf("two lines about %s through chain %d", client, i), func() bool { return lines(client) == 2 })
	}
	if found := matched(t, whole(p.log()), ""); !slices.Contains(found, "127.0.0.53") || slices.Contains(found, strayProxy) || slices.Contains(found, "203.0.113.9") {
		t.Errorf("fail2ban finds %q", found)
	}
}
