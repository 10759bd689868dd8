package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/decap"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
	"github.com/pointsman/pointsman/controlplane/doctor"
	"github.com/pointsman/pointsman/controlplane/nexthop"
	"github.com/pointsman/pointsman/dataplane"
)

// ExamineOptions say what to look at. No daemon is asked: it may not run.
type ExamineOptions struct {
	ConfigPath string
	// Optional says that nobody has named the file: it need not be there.
	Optional bool
	PinDir   string
	// Backend is set on a backend, as far as its operator says what it is to be.
	Backend *decap.Options
	Kernel  ExaminedKernel
}

// ExaminedKernel answers what only the kernel knows of programs.
type ExaminedKernel interface {
	// ProgramsOn are the ids of our programs on an interface.
	ProgramsOn(iface string) ([]uint32, error)
	// LinkOf is the id of the link that holds a program, 0 where none does.
	LinkOf(program uint32) uint32
	// Decap says how the decapsulating program is attached, and what it knows.
	Decap(iface string) (DecapKnown, error)
}

// DecapKnown is what a program on a backend knows.
type DecapKnown struct {
	Mode     string // "" is not attached
	VIPs     []netip.Prefix
	Mappings []decap.Mapping
	From     []netip.Prefix
}

// examination is one look at a host.
type examination struct {
	ExamineOptions
	facts     doctor.Facts
	file      *config.File
	instances map[string][]desired.Instance
	unseen    []string
}

// Examine gathers what the rules of package doctor are about. unseen says what could
// not be looked at, and why.
func Examine(ctx context.Context, o ExamineOptions) (facts doctor.Facts, unseen []string, err error) {
	e := &examination{ExamineOptions: o, instances: map[string][]desired.Instance{}}
	if e.facts.Host, err = doctor.Look(o.PinDir); err != nil {
		return doctor.Facts{}, nil, err
	}
	if err := e.readFile(); err != nil {
		return doctor.Facts{}, nil, err
	}
	e.askConsul(ctx)
	if o.Backend != nil {
		err = e.lookAtBackend()
	} else {
		err = e.lookAtBalancer(ctx)
	}
	e.lookAtPrograms()
	return e.facts, e.unseen, err
}

func (e *examination) missed(format string, args ...any) {
	e.unseen = append(e.unseen, fmt.Sprintf(format, args...))
}

// readFile leaves the file nil where there is none, or none that can be understood.
func (e *examination) readFile() error {
	e.facts.Config.Path = e.ConfigPath
	if _, err := os.Stat(e.ConfigPath); e.Optional && errors.Is(err, os.ErrNotExist) {
		e.missed("there is no %s: services, ways to backends and Consul", e.ConfigPath)
		return nil
	}
	file, mistakes := config.Examine(e.ConfigPath)
	if file != nil && e.Backend == nil {
		addresses, err := hostAddresses()
		if err != nil {
			return err
		}
		gateways, err := hostGateways()
		if err != nil {
			return err
		}
		// Interfaces and sources that are not there have findings of their own.
		for _, source := range file.NAT.Sources {
			addresses = append(addresses, netip.PrefixFrom(source, source.BitLen()))
		}
		mistakes = mistakes.And(file.CheckHost(file.Interfaces, addresses, gateways))
	}
	for _, m := range mistakes {
		e.facts.Config.Mistakes = append(e.facts.Config.Mistakes, inOneLine(m))
	}
	e.file = file
	return nil
}

// askConsul asks once for each service, as a start does.
func (e *examination) askConsul(ctx context.Context) {
	if e.file == nil {
		return
	}
	for _, s := range e.file.Services {
		e.instances[s.Name] = staticInstances(s)
	}
	if e.file.Consul == nil {
		return
	}
	client, err := consul.Open(settings(*e.file.Consul))
	if err != nil {
		e.facts.Consul = &doctor.Consul{Faults: []doctor.Fault{{Reason: string(consul.BadCert), About: e.file.Consul.Address, What: err.Error()}}}
		return
	}
	defer client.Close()
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, validateTimeout)
	defer cancel()
	asked, objections := validate(ctx, client, e.file)
	address := client.Address().Value
	found := &doctor.Consul{Address: address, Here: isHere(address), TokenFile: e.file.Consul.TokenFile,
		Encrypted: client.Encrypted(), Watches: asked, Limit: client.ConnectionLimit(ctx), Accessor: client.Accessor(ctx)}
	for _, o := range once(objections) {
		reason := o.fault.Reason
		if errors.Is(o.fault, context.DeadlineExceeded) && isLeaderless(whole, client) {
			reason = consul.NoLeader
		}
		fault := doctor.Fault{Reason: string(reason), About: address, What: o.fault.Err.Error(), Advice: o.fault.Advice}
		if !ofTheAgent(o.fault.Reason) {
			fault.About = "service " + o.service.Name
		}
		found.Faults = append(found.Faults, fault)
	}
	e.facts.Consul = found
	for _, s := range e.file.Services {
		if s.Consul == nil {
			continue
		}
		if list, err := client.Instances(ctx, query(*s.Consul)); err == nil {
			e.instances[s.Name] = consulInstances(consul.View{Instances: list})
		}
	}
}

func isLeaderless(ctx context.Context, client *consul.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, validateTimeout)
	defer cancel()
	return client.Leaderless(ctx)
}

// isHere tells whether an agent's address is this host's.
func isHere(address string) bool {
	if strings.HasPrefix(address, "unix://") {
		return true
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	parsed, err := url.Parse(address)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(parsed.Hostname())
	return parsed.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

func (e *examination) lookAtBalancer(ctx context.Context) error {
	if e.file == nil {
		iface, err := decap.DefaultInterface()
		if err != nil {
			e.missed("%v: interfaces", err)
			return nil
		}
		e.facts.Interfaces = []string{iface}
		return nil
	}
	e.facts.Interfaces = e.file.Interfaces
	if slices.ContainsFunc(e.file.Services, func(s config.Service) bool { return s.Forward == "nat" }) {
		e.facts.NAT = &doctor.NAT{First: e.file.NAT.Ports.First, Last: e.file.NAT.Ports.Last, Sources: e.file.NAT.Sources}
	}
	return e.lookAtWays(ctx)
}

func (e *examination) lookAtWays(ctx context.Context) error {
	addrs := map[netip.Addr]bool{}
	for _, of := range e.instances {
		for _, i := range of {
			if i.Rejected == "" {
				addrs[i.Addr] = true
			}
		}
	}
	var wanted []netip.Addr
	for addr := range addrs {
		wanted = append(wanted, addr)
	}
	seen, err := nexthop.Look(ctx, wanted, ingress(e.file.Interfaces, nil))
	if err != nil {
		return err
	}
	for _, s := range e.file.Services {
		for _, i := range e.instances[s.Name] {
			if i.Rejected == "" {
				e.facts.Ways = append(e.facts.Ways, wayOf(s, i, seen[i.Addr]))
			}
		}
	}
	return nil
}

func wayOf(s config.Service, i desired.Instance, seen nexthop.Seen) doctor.Way {
	return doctor.Way{
		Service: s.Name, Backend: i.Addr, Overhead: overheadOf(s, i),
		IPv6:    slices.ContainsFunc(s.Listen, func(l config.Listen) bool { return l.Addr.Is6() }),
		Problem: seen.Problem, Silent: seen.Silent, Interface: seen.Interface, MTU: seen.MTU, Route: seen.Lasting,
	}
}

func overheadOf(s config.Service, i desired.Instance) int {
	entry := dataplane.BackendEntry{Forward: forward(s.Forward), ID: dataplane.ID{Addr: i.Addr}}
	if s.PortMapping {
		entry.ID.Port = i.Port
	}
	return int(entry.Overhead())
}

// lookAtPrograms tells ours from others.
func (e *examination) lookAtPrograms() {
	for _, name := range e.facts.Interfaces {
		link, there := e.facts.Links[name]
		if !there || link.Program.ID == 0 {
			continue
		}
		ours, err := e.Kernel.ProgramsOn(name)
		if err != nil {
			e.missed("%v: whose XDP program is on %s", err, name)
			link.Program.Unsure = true
		}
		if link.Program.Ours = slices.Contains(ours, link.Program.ID); !link.Program.Ours {
			link.Program.Link = e.Kernel.LinkOf(link.Program.ID)
		}
		e.facts.Links[name] = link
	}
}
