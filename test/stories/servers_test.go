package stories

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pointsman/pointsman/test/lab"
)

// The servers, by the VIP's port, and the port on which each listens.
var realServers = []struct {
	name, protocols string
	port, listens   int
}{{"nginx", "tcp", 80, 8080}, {"haproxy", "tcp", 81, 8081}, {"dnsmasq", "tcp udp", 53, 5353}, {"iperf3", "tcp udp", 5201, 5202}, {"lines", "tcp", 23, 7000}}

// iperf3 by number, and where one listens that is bound to the VIP. Else it answers UDP
// from its own address, as most servers do.
const (
	iperf3      = 3
	iperf3AtVIP = 5203
)

// serveUntouched starts what an operator finds on a host: from Debian's packages, with
// nothing in their configuration that knows of a balancer.
func (s *stage) serveUntouched(h *lab.Host) {
	s.t.Helper()
	dir := filepath.Join(s.Lab.Dir, h.Name+"-servers")
	s.must(os.Mkdir(dir, 0o755))
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		s.must(os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	nginx := file("nginx.conf", `user root;
daemon off;
pid `+dir+`/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path `+dir+`/body; proxy_temp_path `+dir+`/proxy; fastcgi_temp_path `+dir+`/fastcgi;
  uwsgi_temp_path `+dir+`/uwsgi; scgi_temp_path `+dir+`/scgi;
  server {
    listen 8080;
    listen [::]:8080 ipv6only=on;
    default_type text/plain;
    return 200 "`+h.Name+` $remote_addr";
  }
}`)
	haproxy := file("haproxy.cfg", `defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 10s
frontend web
  bind 0.0.0.0:8081
  bind :::8081 v6only
  http-request return status 200 content-type text/plain lf-string "`+h.Name+` %[src]"
`)
	for _, command := range [][]string{
		{"nginx", "-p", dir, "-e", "stderr", "-c", nginx},
		{"haproxy", "-db", "-f", haproxy},
		{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--port=5353", "--no-resolv", "--no-hosts", "--txt-record=who.test," + h.Name},
		{"iperf3", "-s", "-p", "5202"},
	} {
		s.serveBy(h, command...)
	}
}

// serveBy starts a server that Debian has, for as long as the story lasts.
func (s *stage) serveBy(h *lab.Host, command ...string) {
	s.t.Helper()
	name := filepath.Base(command[0])
	debian := map[string]string{"nginx": "nginx-light", "dnsmasq": "dnsmasq-base"}[name]
	need(s.t, command[0], cmp.Or(debian, name))
	said := &spoken{}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = said, said
	p, err := h.Start(cmd)
	s.must(err)
	s.t.Cleanup(func() {
		if err := p.Stop(); err != nil || s.t.Failed() {
			s.t.Logf("%s on %s: %v: %s", name, h.Name, err, said)
		}
	})
}

// awaitServers waits until all servers of a host listen.
func (s *stage) awaitServers(h *lab.Host) {
	s.t.Helper()
	for _, server := range realServers {
		for _, addr := range []netip.Addr{h.Addr4, h.Addr6} {
			s.awaitServer(h, netip.AddrPortFrom(addr, uint16(server.listens)))
		}
	}
}

// awaitServer waits until the host listens, at one of its addresses.
func (s *stage) awaitServer(h *lab.Host, at netip.AddrPort) {
	s.t.Helper()
	s.await(fmt.Sprintf("%s listens at %s", h.Name, at), func() error {
		conn, err := h.Dial(s.t.Context(), "tcp", at.String())
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// resolve asks a DNS server by one protocol.
func (s *stage) resolve(protocol string, server netip.AddrPort) (string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.Lab.Client.Dial(ctx, protocol, server.String())
	}}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	texts, err := resolver.LookupTXT(ctx, "who.test.")
	return strings.Join(texts, " "), err
}

// measure runs iperf3, which fails for an answer that does not come. A server that is
// still busy with the run before says so.
func (s *stage) measure(to netip.AddrPort, how ...string) {
	s.t.Helper()
	s.await("iperf3 "+strings.Join(how, " ")+" is through", func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), patience)
		defer cancel()
		args := append([]string{"-c", to.Addr().String(), "-p", fmt.Sprint(to.Port()), "--connect-timeout", "5000"}, how...)
		out, err := s.Lab.Client.Run(ctx, "iperf3", args...)
		if err != nil {
			err = errors.Join(err, errors.New(string(out)))
		}
		return err
	})
}
