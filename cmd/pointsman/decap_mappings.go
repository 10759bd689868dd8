package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/decap"
	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/kernel"
)

// parseMappings takes one mapping of a VIP for the host's only instance, however
// it is told of, and several for instances that tunnels name.
func parseMappings(c *cli.Context, o *decap.Options) error {
	locals := map[dataplane.VIP][]uint16{}
	var asked []dataplane.VIP
	for _, text := range c.StringSlice("map") {
		vip, local, err := parseMapping(text)
		if err != nil {
			return err
		}
		if locals[vip] == nil {
			asked = append(asked, vip)
		}
		locals[vip] = append(locals[vip], local)
	}
	for _, vip := range asked {
		for _, local := range locals[vip] {
			m := decap.Mapping{VIP: netip.AddrPortFrom(vip.Addr, vip.Port), Protocol: vip.Protocol, Local: local, Named: true}
			if len(locals[vip]) == 1 {
				only := m
				only.Named = false
				o.Mappings = append(o.Mappings, only)
			}
			if local != vip.Port { // an instance there is nothing to map for, but it is one of several
				o.Mappings = append(o.Mappings, m)
			}
		}
	}
	return nil
}

// parseMapping reads 192.0.2.10:443/tcp=20001.
func parseMapping(text string) (vip dataplane.VIP, local uint16, err error) {
	mistake := fmt.Errorf("--map takes VIP:PORT/PROTOCOL=PORT, as 192.0.2.10:443/tcp=20001, not %q", text)
	asked, last, found := strings.Cut(text, "=")
	at, protocol, named := strings.Cut(asked, "/")
	address, err := netip.ParseAddrPort(at)
	if err != nil || !found || !named || address.Addr().Zone() != "" || address.Port() == 0 {
		return vip, 0, mistake
	}
	vip = dataplane.VIP{Addr: address.Addr().Unmap(), Port: address.Port(), Protocol: dataplane.TCP}
	switch protocol {
	case "tcp":
	case "udp":
		vip.Protocol = dataplane.UDP
	default:
		return vip, 0, mistake
	}
	port, err := strconv.ParseUint(last, 10, 16)
	if err != nil || port == 0 {
		return vip, 0, mistake
	}
	return vip, uint16(port), nil
}

func decapPorts(mappings []decap.Mapping) []kernel.DecapPort {
	var ports []kernel.DecapPort
	for _, m := range mappings {
		ports = append(ports, kernel.DecapPort{VIP: m.VIP, Protocol: m.Protocol, Local: m.Local, Named: m.Named})
	}
	return ports
}

// mappingRow is a mapping that is in effect.
type mappingRow struct {
	VIP       string `json:"vip"`
	LocalPort uint16 `json:"local_port"`
	// Named tells a mapping of what tunnels name the port for from one of the rest.
	Named bool `json:"named"`
}

func printDecapMappings(c *cli.Context, o decap.Options) error {
	iface, err := decapInterface(o)
	if err != nil {
		return err
	}
	ports, err := kernel.DecapPorts(o.PinDir, iface)
	if err != nil {
		return sayNotAttached(err, iface)
	}
	rows := []mappingRow{}
	for _, port := range ports {
		vip := dataplane.VIP{Addr: port.VIP.Addr(), Port: port.VIP.Port(), Protocol: port.Protocol}
		rows = append(rows, mappingRow{vip.String(), port.Local, port.Named})
	}
	if c.String("output") == "json" {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int          `json:"schema_version"`
			Interface     string       `json:"interface"`
			Mappings      []mappingRow `json:"mappings"`
		}{1, iface, rows})
	}
	t := newTable("VIP", "LOCAL PORT", "FOR TUNNELS THAT NAME")
	for _, row := range rows {
		names := map[bool]string{true: "this port", false: "none"}[row.Named]
		t.row(row.VIP, fmt.Sprint(row.LocalPort), names)
	}
	return t.print(c.App.Writer)
}
