package consul

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// prepare chooses ports and writes what the agent reads at its start. The ports
// are chosen in the caller's network namespace; in the agent's they are as good
// as any.
func (a *Agent) prepare() error {
	var err error
	choosing := a.options.Address
	if a.options.Dial != nil {
		choosing = "127.0.0.1" // the address is another namespace's
	}
	if a.ports, err = choosePorts(choosing); err != nil {
		return err
	}
	config := map[string]any{"disable_update_check": true}
	a.HTTP = fmt.Sprintf("http://%s", net.JoinHostPort(a.options.Address, fmt.Sprint(a.ports.http)))
	if a.options.ACL {
		a.Token = managementToken
		config["acl"] = map[string]any{
			"enabled": true, "default_policy": "deny",
			"tokens": map[string]string{"initial_management": a.Token, "agent": a.Token},
		}
	}
	if a.options.TLS {
		if err := a.certify(); err != nil {
			return fmt.Errorf("making certificates: %w", err)
		}
		a.HTTPS = fmt.Sprintf("https://%s", net.JoinHostPort(a.options.Address, fmt.Sprint(a.ports.https)))
		config["ports"] = map[string]int{"https": a.ports.https}
		config["tls"] = map[string]any{"https": map[string]any{
			"ca_file": a.CAFile, "cert_file": a.file("server.pem"), "key_file": a.file("server-key.pem"),
			"verify_incoming": a.options.VerifyIncoming,
		}}
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.file("config"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(a.file("config/agent.json"), text, 0o600); err != nil {
		return err
	}
	return a.connect()
}

func (a *Agent) file(name string) string { return filepath.Join(a.Directory, name) }

// ports of one agent, free when they were chosen.
type ports struct{ http, https, server, serfLAN, serfWAN int }

func choosePorts(address string) (ports, error) {
	var p ports
	var held []interface{ Close() error }
	defer func() {
		for _, h := range held {
			h.Close()
		}
	}()
	for _, port := range []*int{&p.http, &p.https, &p.server, &p.serfLAN, &p.serfWAN} {
		// Serf wants the same port for TCP and UDP; ask for both everywhere.
		for range 20 {
			l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
			if err != nil {
				return p, fmt.Errorf("choosing ports for consul: %w", err)
			}
			held = append(held, l)
			u, err := net.ListenPacket("udp", l.Addr().String())
			if err == nil {
				held = append(held, u)
				*port = l.Addr().(*net.TCPAddr).Port
				break
			}
		}
	}
	return p, nil
}

func (a *Agent) arguments() []string {
	port := strconv.Itoa
	var out bytes.Buffer
	fmt.Fprintf(&out, "agent -dev -node=%s -bind=%s -client=%s", a.options.Node, a.options.Address, a.options.Address)
	fmt.Fprintf(&out, " -http-port=%s -server-port=%s -serf-lan-port=%s -serf-wan-port=%s",
		port(a.ports.http), port(a.ports.server), port(a.ports.serfLAN), port(a.ports.serfWAN))
	out.WriteString(" -dns-port=-1 -grpc-port=-1 -grpc-tls-port=-1 -log-level=info -config-dir=config")
	return strings.Fields(out.String())
}
