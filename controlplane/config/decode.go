package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// file decodes bodies as one file. name is what the mistakes of no file in
// particular are said of.
func (d *decoder) file(name string, bodies []hcl.Body) *File {
	if d.unparsed || len(bodies) == 0 {
		return nil
	}
	top := d.merge(name, bodies)
	f := &File{Place: top.Place, StateDir: DefaultStateDir, HTTPListen: DefaultHTTPListen, BackendMetrics: true, Limits: DefaultLimits, sources: d.sources}

	f.interfaces = setList(top, "interfaces", &f.Interfaces, interfaceName)
	top.require("interfaces", `say where packets for the VIPs arrive: interfaces = ["eth0"]`)
	top.filled("interfaces", "packets for the VIPs must arrive somewhere")
	before := len(d.errs)
	f.pools = setList(top, "vip_pools", &f.VIPPools, prefix)
	poolsKnown := len(d.errs) == before
	if _, given := top.attrs["hash_secret"]; given {
		f.HashSecret = new(string)
		set(top, "hash_secret", f.HashSecret, secretText)
	}
	set(top, "state_dir", &f.StateDir, path)
	set(top, "http_listen", &f.HTTPListen, tcpAddress)
	set(top, "backend_metrics", &f.BackendMetrics, flag)
	f.NAT = d.nat(top)
	limits := Place{}
	if b := top.one("limits"); b != nil {
		limits = d.limits(top.child(b, "limits"), &f.Limits)
	}
	if b := top.one("consul"); b != nil {
		f.Consul = d.consul(top.child(b, "consul"))
	}
	for _, b := range top.each("service") {
		f.Services = append(f.Services, d.service(top.child(b, "service"), b.Labels[0]))
	}
	d.guard(f, limits, poolsKnown)
	slices.SortFunc(f.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return f
}

// merge opens the files' bodies as one block.
func (d *decoder) merge(name string, bodies []hcl.Body) *block {
	var top *block
	for _, body := range bodies {
		b := d.open(body, "", "", Position{File: name})
		if top == nil {
			top = b
			continue
		}
		for key, attr := range b.attrs {
			if _, twice := top.attrs[key]; twice {
				d.report(position(attr.NameRange), fmt.Sprintf("key %q is set twice", key),
					fmt.Sprintf("the first is at %s; keep one of them", top.At(key)))
				continue
			}
			top.attrs[key], top.keys[key] = attr, b.At(key)
		}
		top.blocks = append(top.blocks, b.blocks...)
	}
	return top
}

func (d *decoder) limits(b *block, into *Limits) Place {
	// The kernel refuses larger maps long before these bounds; they only keep
	// the arithmetic within 32 bits.
	set(b, "services", &into.Services, whole[uint32](1, 1<<20))
	set(b, "vips", &into.VIPs, whole[uint32](1, 1<<20))
	set(b, "backends", &into.Backends, whole[uint32](2, 1<<20))
	set(b, "slots", &into.Slots, whole[uint32](leastSlots, 1<<29))
	set(b, "flows", &into.Flows, whole[uint32](8, 1<<27))
	set(b, "icmp_errors", &into.ICMPErrors, whole[uint32](1, 1_000_000))
	set(b, "connections", &into.Connections, whole[uint32](64, 1<<22))
	return b.Place
}

func (d *decoder) consul(b *block) *Consul {
	c := &Consul{Place: b.Place, MaxWatches: DefaultMaxWatches}
	set(b, "address", &c.Address, consulAddress)
	set(b, "token", &c.Token, name)
	set(b, "token_file", &c.TokenFile, path)
	set(b, "ca_file", &c.CAFile, path)
	set(b, "cert_file", &c.CertFile, path)
	set(b, "key_file", &c.KeyFile, path)
	set(b, "tls_server_name", &c.TLSServerName, name)
	set(b, "datacenter", &c.Datacenter, name)
	set(b, "namespace", &c.Namespace, name)
	set(b, "partition", &c.Partition, name)
	set(b, "max_watches", &c.MaxWatches, whole[int](1, 1<<20))

	_, token := b.attrs["token"]
	_, tokenFile := b.attrs["token_file"]
	if token && tokenFile {
		d.report(b.At("token_file"), `"token" and "token_file" are both set`, "keep one; a file can be changed without a reload")
	}
	_, cert := b.attrs["cert_file"]
	_, key := b.attrs["key_file"]
	if cert && !key {
		d.report(b.At("cert_file"), `"cert_file" is set without "key_file"`, "a client certificate needs both")
	}
	if key && !cert {
		d.report(b.At("key_file"), `"key_file" is set without "cert_file"`, "a client certificate needs both")
	}
	return c
}

func (d *decoder) service(b *block, label string) Service {
	s := Service{
		Place: b.Place, Name: label, Forward: DefaultForward, Slots: DefaultSlots,
		Tracking: DefaultTracking, Affinity: DefaultAffinity, DrainTimeout: DefaultDrainTimeout,
	}
	if !serviceNames.MatchString(label) {
		d.report(b.block, fmt.Sprintf("%q cannot be the name of a service", label),
			"1 to 63 of a-z, 0-9, \".\", \"_\" and \"-\", with a letter or digit first; the name in Consul is a key of its consul block")
	}
	places := setList(b, "listen", &s.Listen, listen)
	for i := range s.Listen {
		s.Listen[i].Position = places[i]
	}
	b.require("listen", "give the VIPs: "+`listen = ["192.0.2.10:443/tcp"]`)
	b.filled("listen", listenForm)
	set(b, "forward", &s.Forward, oneOf("ipip", "gue", "l2", "nat"))
	set(b, "port_mapping", &s.PortMapping, flag)
	set(b, "slots", &s.Slots, slots)
	set(b, "panic_threshold", &s.PanicThreshold, share(1))
	set(b, "tracking", &s.Tracking, oneOf("auto", "always", "never"))
	set(b, "affinity", &s.Affinity, oneOf("flow", "client", "quic"))
	set(b, "idle_timeout", &s.IdleTimeout, span(time.Second, MaxIdleTimeout))
	set(b, "drain_timeout", &s.DrainTimeout, span(0, mostDrainTimeout))
	set(b, "slow_start", &s.SlowStart, span(0, time.Hour))
	if inner := b.one("consul"); inner != nil {
		s.Consul = d.consulSource(b.child(inner, "service.consul"), label)
	}
	for _, inner := range b.each("backend") {
		if backend, ok := d.backend(b.child(inner, "service.backend"), inner.Labels[0]); ok {
			s.Backends = append(s.Backends, backend)
		}
	}
	d.oneSource(b)
	s.QUIC = d.quic(b, s)
	d.portMapping(b, s)
	if inner := b.one("health"); inner != nil {
		s.Health = d.health(b, inner)
	}
	return s
}

// oneSource asks for exactly one origin of backends, so that it is always
// clear who decides about membership.
func (d *decoder) oneSource(b *block) {
	discovered, static := b.each("consul"), b.each("backend")
	switch {
	case len(discovered) == 0 && len(static) == 0:
		d.report(b.block, b.in+" has no backends", `add a consul block, or backends: backend "10.20.0.11" {}`)
	case len(discovered) > 0 && len(static) > 0:
		d.report(blockPosition(static[0]), b.in+" has a backend of its own and a consul block",
			fmt.Sprintf("its backends come from one place: drop these or the consul block at %s", blockPosition(discovered[0])))
	}
}

func (d *decoder) consulSource(b *block, service string) *ConsulSource {
	c := &ConsulSource{Place: b.Place, Service: service, Warning: DefaultWarning}
	set(b, "service", &c.Service, name)
	setList(b, "tags", &c.Tags, name)
	set(b, "filter", &c.Filter, name)
	set(b, "datacenter", &c.Datacenter, name)
	set(b, "namespace", &c.Namespace, name)
	set(b, "partition", &c.Partition, name)
	set(b, "peer", &c.Peer, name)
	set(b, "tagged_address", &c.TaggedAddress, taggedAddress)
	set(b, "port_name", &c.PortName, name)
	set(b, "resolve", &c.Resolve, flag)
	setList(b, "ignore_checks", &c.IgnoreChecks, name)
	set(b, "warning", &c.Warning, oneOf("use-weight", "drop", "as-passing"))
	setList(b, "allowed_backends", &c.AllowedBackends, prefix)
	b.filled("allowed_backends", "leave the key out to allow any address")
	return c
}

func (d *decoder) backend(b *block, label string) (StaticBackend, bool) {
	backend := StaticBackend{Place: b.Place, Weight: DefaultWeight}
	set(b, "weight", &backend.Weight, whole[uint16](0, 256))
	set(b, "quic_id", &backend.QUICID, quicID)
	addr, port, mistake := backendAddress(label)
	if mistake != nil {
		d.report(b.block, mistake.summary, mistake.detail)
		return backend, false
	}
	backend.Addr, backend.Port = addr, port
	return backend, true
}

// kinds of checks, each with a schema of its own.
func kinds() []string {
	var known []string
	for _, path := range slices.Sorted(maps.Keys(schemas)) {
		if kind, ok := strings.CutPrefix(path, "service.health."); ok {
			known = append(known, kind)
		}
	}
	return known
}
