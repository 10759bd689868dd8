package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/decap"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

// AgentOptions say how a backend host follows the balancers' file and Consul.
type AgentOptions struct {
	ConfigPath string
	// Host is what does not follow from the file: interface, balancers, pins, and
	// VIPs and mappings beside the file's.
	Host decap.Options
	// Linger is how long what nothing needs any more stays, for the flows it has.
	Linger time.Duration
	// Apply prepares the host; Held says what of that is in effect, nothing where
	// the program is not attached.
	Apply   func(context.Context, decap.Options) (decap.Report, error)
	Held    func(decap.Options) ([]netip.Prefix, []decap.Mapping, error)
	Hangups <-chan os.Signal // each reads the file again
	Log     *slog.Logger
}

// follower is a backend host that follows. Only its loop touches its fields.
type follower struct {
	AgentOptions
	discovery *discovery
	views     chan consul.View
	addresses func() ([]netip.Prefix, error)

	file    *config.File
	names   map[string]string // of views, by service
	known   map[string]consul.View
	until   map[any]time.Time // what nothing needs any more stays
	applied *decap.Options    // nil until it succeeded
	refused []string          // that were told of
}

const agentRetry = 5 * time.Second

// RunAgent keeps a backend host as the file and Consul want it, until the
// context is over; then all stays in place. Until Consul has spoken about every
// service, and while it is silent, the host stays as it is.
func RunAgent(ctx context.Context, o AgentOptions) error {
	file, err := config.Load(o.ConfigPath)
	if err != nil {
		return err
	}
	f := &follower{AgentOptions: o, views: make(chan consul.View), addresses: hostAddresses, known: map[string]consul.View{}, until: map[any]time.Time{}}
	group, ctx := errgroup.WithContext(ctx)
	f.discovery = newDiscovery(openConsul, func(v consul.View) {
		select {
		case f.views <- v:
		case <-ctx.Done():
		}
	}, o.Log)
	f.follow(file)
	group.Go(func() error { return f.discovery.Run(ctx) })
	group.Go(func() error { return f.loop(ctx) })
	return group.Wait()
}

// follow takes up a file: from then on its services are those that are watched.
func (f *follower) follow(file *config.File) {
	f.file = file
	f.names = f.discovery.Set(file)
	for name := range f.known {
		if !slices.Contains(slices.Collect(maps.Values(f.names)), name) {
			delete(f.known, name)
		}
	}
}

func (f *follower) loop(ctx context.Context) error {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case v := <-f.views:
			if v.Known() {
				f.known[v.Service] = v
			}
		case <-f.Hangups:
			f.reload()
		case <-again.C:
		}
		if wait := f.bringUp(ctx); wait > 0 {
			again.Reset(wait)
		}
	}
}

func (f *follower) reload() {
	file, err := config.Load(f.ConfigPath)
	if err != nil {
		f.Log.Error("the file has a mistake, and the one before stays in force", "reason", err)
		return
	}
	f.follow(file)
	f.Log.Info("configuration read", "file", f.ConfigPath)
}

// bringUp lets the host be as it should, and says when to look again though
// nothing is heard; 0 is never.
func (f *follower) bringUp(ctx context.Context) time.Duration {
	for _, name := range f.names {
		if !f.known[name].Known() {
			return 0
		}
	}
	wanted, wait, err := f.plan(time.Now())
	if err == nil && (f.applied == nil || !reflect.DeepEqual(*f.applied, wanted)) {
		err = f.apply(ctx, wanted)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		f.Log.Error("the host is not as it should be", "reason", err, "again_in", agentRetry)
		return agentRetry
	}
	return wait
}

func (f *follower) plan(now time.Time) (decap.Options, time.Duration, error) {
	own, err := f.addresses()
	if err != nil {
		return decap.Options{}, 0, err
	}
	vips, mappings, err := f.Held(f.Host)
	if err != nil {
		return decap.Options{}, 0, fmt.Errorf("reading what is mapped: %w", err)
	}
	wanted := f.Host
	needs := needsOf(f.file, f.instances(), own, mappings)
	wanted.VIPs = append(slices.Clone(wanted.VIPs), needs.vips...)
	kept, refused := decap.Unambiguous(append(slices.Clone(wanted.Mappings), needs.mappings...), needs.taken)
	f.tell(append(refused, needs.refused...))

	staying, wait := stay(f.until, mappings, kept, now, f.Linger)
	wanted.Mappings, _ = decap.Unambiguous(append(kept, staying...), needs.taken)
	stayingVIPs, waitVIPs := stay(f.until, vips, wanted.VIPs, now, f.Linger)
	wanted.VIPs = append(wanted.VIPs, stayingVIPs...)
	slices.SortFunc(wanted.VIPs, netip.Prefix.Compare)
	wanted.VIPs = slices.Compact(wanted.VIPs)
	slices.SortFunc(wanted.Mappings, decap.Mapping.Compare)
	return wanted, sooner(wait, waitVIPs), nil
}

// apply leaves a host alone that nothing needs any more: without a VIP there is
// nothing to attach for, and --off takes away what is there.
func (f *follower) apply(ctx context.Context, wanted decap.Options) error {
	if len(wanted.VIPs) == 0 {
		return nil
	}
	report, err := f.Apply(ctx, wanted)
	for _, warning := range report.Warnings {
		f.Log.Warn(warning)
	}
	if err != nil {
		return err
	}
	var mapped []string
	for _, m := range wanted.Mappings {
		mapped = append(mapped, m.String())
	}
	f.Log.Info("brought up to date", "vips", len(wanted.VIPs), "mappings", mapped)
	f.applied = &wanted
	return nil
}

// tell says once what is not mapped, and why.
func (f *follower) tell(refused []decap.Refusal) {
	var texts []string
	for _, r := range refused {
		text := fmt.Sprintf("%s is not mapped: %s", r.Mapping, r.Reason)
		texts = append(texts, text)
		if !slices.Contains(f.refused, text) {
			f.Log.Warn(text)
		}
	}
	f.refused = texts
}

// instances are those of all services, as the balancers see them.
func (f *follower) instances() map[string][]desired.Instance {
	all := map[string][]desired.Instance{}
	for _, s := range f.file.Services {
		all[s.Name] = staticInstances(s)
		if name, asked := f.names[s.Name]; asked {
			all[s.Name] = consulInstances(f.known[name])
		}
	}
	return all
}
