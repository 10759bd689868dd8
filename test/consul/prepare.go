package consul

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// choosePorts chooses ports for agents, all in the caller's network namespace; in
// the agents' they are as good as any.
func (a *Agent) choosePorts(others ...*Agent) error {
	address := a.options.Address
	if a.options.Dial != nil {
		address = "127.0.0.1" // it is another namespace's
	}
	var held []io.Closer
	defer func() {
		for _, h := range held {
			h.Close()
		}
	}()
	for _, agent := range append(others, a) {
		for _, port := range []*int{&agent.ports.http, &agent.ports.https, &agent.ports.server, &agent.ports.serfLAN, &agent.ports.serfWAN} {
			keep, err := choosePort(address, port)
			if err != nil {
				return fmt.Errorf("choosing ports for consul: %w", err)
			}
			held = append(held, keep...)
		}
	}
	return nil
}

// ports of one agent, free when they were chosen.
type ports struct{ http, https, server, serfLAN, serfWAN int }

// Ports are none that Linux gives to connections: of an agent that is killed and comes
// back, such a one could be a client's meanwhile, and of who asks for it his own.
const firstPort, lastPort = 10_000, 32_000

// choosePort chooses one that is free for TCP and UDP: Serf wants the same.
func choosePort(address string, port *int) (held []io.Closer, err error) {
	for range 20 {
		*port = firstPort + rand.IntN(lastPort-firstPort)
		at := net.JoinHostPort(address, strconv.Itoa(*port))
		l, err := net.Listen("tcp", at)
		if err != nil {
			continue
		}
		held = append(held, l)
		if u, err := net.ListenPacket("udp", at); err == nil {
			return append(held, u), nil
		}
	}
	return held, errors.New("none is free for TCP and UDP")
}

// prepare writes what the agent reads at its start.
func (a *Agent) prepare() error {
	config := map[string]any{"disable_update_check": true}
	a.HTTP = fmt.Sprintf("http://%s", net.JoinHostPort(a.options.Address, fmt.Sprint(a.ports.http)))
	if a.options.ACL {
		a.Token = managementToken
		config["acl"] = map[string]any{
			"enabled": true, "default_policy": "deny",
			"tokens": map[string]string{"initial_management": a.Token, "agent": a.Token},
			// A token that is changed or deleted counts at once, also at the agents of a cluster.
			"token_ttl": "1s", "policy_ttl": "1s", "role_ttl": "1s",
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
	if a.options.Limit > 0 {
		config["limits"] = map[string]int{"http_max_conns_per_client": a.options.Limit}
	}
	if a.member != nil {
		a.member.configure(a, config)
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

func (a *Agent) arguments() []string {
	if a.member != nil {
		return []string{"agent", "-config-dir=config"}
	}
	port := strconv.Itoa
	var out bytes.Buffer
	fmt.Fprintf(&out, "agent -dev -node=%s -bind=%s -client=%s", a.options.Node, a.options.Address, a.options.Address)
	fmt.Fprintf(&out, " -http-port=%s -server-port=%s -serf-lan-port=%s -serf-wan-port=%s",
		port(a.ports.http), port(a.ports.server), port(a.ports.serfLAN), port(a.ports.serfWAN))
	out.WriteString(" -dns-port=-1 -grpc-port=-1 -grpc-tls-port=-1 -log-level=info -config-dir=config")
	return strings.Fields(out.String())
}
