package controlplane

import (
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
	"github.com/pointsman/pointsman/controlplane/health"
	"github.com/pointsman/pointsman/controlplane/nexthop"
	"github.com/pointsman/pointsman/dataplane"
)

// The parts do not know one another; what one says in its words is put into
// another's words here, and nowhere else.

func declaredServices(file *config.File) []desired.Service {
	var all []desired.Service
	for _, s := range file.Services {
		d := desired.Service{
			Name: s.Name, Forward: forward(s.Forward), PortMapping: s.PortMapping, Slots: s.Slots, PanicThreshold: s.PanicThreshold,
			Tracking: tracking(s.Tracking), AffinityClient: s.Affinity == "client",
			IdleTimeout: s.IdleTimeout, DrainTimeout: s.DrainTimeout, SlowStart: s.SlowStart,
		}
		for _, l := range s.Listen {
			d.VIPs = append(d.VIPs, l.VIP)
		}
		if s.QUIC != nil {
			d.QUIC = dataplane.QUIC{Offset: s.QUIC.Offset, Length: s.QUIC.Length}
		}
		if s.Health != nil {
			d.Probed, d.ProbePort = true, s.Health.Port
		}
		if s.Consul != nil {
			d.Warning, d.AllowedBackends = warning(s.Consul.Warning), s.Consul.AllowedBackends
		}
		all = append(all, d)
	}
	return all
}

func forward(word string) dataplane.Forward {
	switch word {
	case "l2":
		return dataplane.L2
	case "gue":
		return dataplane.GUE
	case "nat":
		return dataplane.NAT
	}
	return dataplane.IPIP
}

func tracking(word string) dataplane.Tracking {
	switch word {
	case "always":
		return dataplane.TrackAlways
	case "never":
		return dataplane.TrackNever
	}
	return dataplane.TrackAuto
}

func warning(word string) desired.Warning {
	switch word {
	case "drop":
		return desired.WarningDrop
	case "as-passing":
		return desired.WarningAsPassing
	}
	return desired.WarningUseWeight
}

// staticInstances are the backends that the file names. The file vouches for
// them; only probes can object.
func staticInstances(s config.Service) []desired.Instance {
	var all []desired.Instance
	for _, b := range s.Backends {
		all = append(all, desired.Instance{
			Source: "file", Addr: b.Addr, Port: b.Port,
			Status: desired.Passing, WeightPassing: int(b.Weight), QUICID: quicID(b.QUICID),
		})
	}
	return all
}

// quicID is what package config has read from hexadecimal before.
func quicID(text string) string {
	id, err := hex.DecodeString(text)
	if err != nil {
		return ""
	}
	return string(id)
}

func consulInstances(view consul.View) []desired.Instance {
	var all []desired.Instance
	for _, i := range view.Instances {
		all = append(all, desired.Instance{
			Source: "consul", ID: i.ID, Node: i.Node, Addr: i.Addr, Port: i.Port,
			Status: status(i.Status), WeightPassing: i.WeightPassing, WeightWarning: i.WeightWarning,
			Rejected: i.Rejected,
		})
	}
	return all
}

func status(s consul.Status) desired.Status {
	switch s {
	case consul.Passing:
		return desired.Passing
	case consul.Warning:
		return desired.Warned
	case consul.Maintenance:
		return desired.Maintenance
	}
	return desired.Critical
}

func query(s config.ConsulSource) consul.Query {
	return consul.Query{
		Service: s.Service, Tags: s.Tags, Filter: s.Filter,
		Datacenter: s.Datacenter, Namespace: s.Namespace, Partition: s.Partition, Peer: s.Peer,
		TaggedAddress: s.TaggedAddress, PortName: s.PortName, Resolve: s.Resolve, IgnoreChecks: s.IgnoreChecks,
	}
}

func settings(c config.Consul) consul.Settings {
	return consul.Settings{
		Address: c.Address, Token: c.Token, TokenFile: c.TokenFile,
		CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile, ServerName: c.TLSServerName,
		Datacenter: c.Datacenter, Namespace: c.Namespace, Partition: c.Partition, MaxWatches: c.MaxWatches,
	}
}

func check(c config.Check) health.Check {
	translated := health.Check{
		Kind: health.Kind(c.Kind), Interval: c.Interval, Jitter: c.Jitter, Timeout: c.Timeout,
		Rise: c.Rise, Fall: c.Fall, Path: c.Path, Host: c.Host,
		TLS: health.TLS{ServerName: c.TLSServerName, CAFile: c.CAFile, SkipVerify: c.TLSSkipVerify},
	}
	for _, r := range c.ExpectStatus {
		translated.ExpectStatus = append(translated.ExpectStatus, health.StatusRange{First: r.First, Last: r.Last})
	}
	return translated
}

func probed(k desired.Key) health.Backend {
	return health.Backend{Service: k.Service, Addr: k.Addr, Port: k.Port}
}

func verdict(v health.Verdict) desired.Verdict {
	switch v.State {
	case health.Well:
		return desired.Verdict{Health: desired.Well}
	case health.Ill:
		return desired.Verdict{Health: desired.Ill, Reason: v.Reason}
	}
	return desired.Verdict{}
}

func hop(r nexthop.Resolution) desired.Hop {
	return desired.Hop{
		Hop: dataplane.Hop{
			Interface: r.Index, EgressMAC: r.EgressMAC, NextHopMAC: r.NextHopMAC, Source: r.Source,
			VLAN: [2]uint16{tag(r.VLAN[0]), tag(r.VLAN[1])},
			MTU:  uint16(min(max(r.MTU, 0), 65535)), // an IP packet is no longer than that
		},
		Gateway: r.Gateway,
		Problem: r.Problem,
	}
}

// ingress are the interfaces where packets arrive, with how the program is attached
// where it is.
func ingress(names []string, attached []dataplane.Attachment) []nexthop.Ingress {
	var all []nexthop.Ingress
	for _, name := range names {
		in := nexthop.Ingress{Name: name}
		for _, a := range attached {
			if a.Interface == name {
				in.Attached, in.Native = true, a.Mode == "native"
			}
		}
		all = append(all, in)
	}
	return all
}

// tag is a TCI of priority 0.
func tag(t nexthop.Tag) uint16 {
	if t.Service {
		return t.ID | dataplane.ServiceTag
	}
	return t.ID
}

// natSettings takes the source ports in whole steps.
func natSettings(n config.NAT) dataplane.NATSettings {
	const step = dataplane.NATPortStep
	first := (uint32(n.Ports.First) + step - 1) / step * step
	end := (uint32(n.Ports.Last) + 1) / step * step
	settings := dataplane.DefaultNATSettings()
	settings.Sources, settings.FirstPort, settings.Ports = n.Sources, uint16(first), uint16(end-first)
	t := n.Timeouts
	settings.Timeouts = dataplane.NATTimeouts{
		SYN: wholeSeconds(t.Handshake), FirstAnswer: wholeSeconds(t.UDPFirst), Established: wholeSeconds(t.Established),
		HalfClosed: wholeSeconds(t.HalfClosed), LastAck: settings.Timeouts.LastAck,
		TimeWait: wholeSeconds(t.TimeWait), Reset: wholeSeconds(t.TimeWait), UDP: wholeSeconds(t.UDP),
	}
	return settings
}

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

func sizes(file *config.File, secret uint64) Sizes {
	return Sizes{
		Limits:      dataplane.Limits{Services: file.Limits.Services, VIPs: file.Limits.VIPs, Backends: file.Limits.Backends},
		Slots:       file.Limits.Slots,
		Flows:       file.Limits.Flows,
		Errors:      file.Limits.ICMPErrors,
		Connections: file.Limits.Connections,
		Secret:      secret,
	}
}

// held are the names of the services that some VIP leads to and that have a
// backend.
func held(tables *dataplane.Tables) map[string]bool {
	manned := map[uint32]bool{}
	for _, backend := range tables.Backends {
		if !backend.Dead {
			manned[backend.Service] = true
		}
	}
	names := map[string]bool{}
	for _, vip := range tables.VIPs {
		if manned[vip.Service] {
			names[tables.Services[vip.Service].Name] = true
		}
	}
	return names
}

func byService(candidates []desired.Candidate) map[string][]desired.Candidate {
	all := make(map[string][]desired.Candidate)
	for _, c := range candidates {
		all[c.Key.Service] = append(all[c.Key.Service], c)
	}
	return all
}

// addresses are those whose next hops are needed.
func addresses(candidates map[string][]desired.Candidate) []netip.Addr {
	var all []netip.Addr
	for _, of := range candidates {
		for _, c := range of {
			all = append(all, c.Addr)
		}
	}
	return all
}
