// Package controlplane runs the daemon: it reads the configuration, starts the
// parts that find out who serves and how they are reached, and keeps the data
// plane as the whole of it wants. One loop owns all state; everything else
// leaves it news and reads what it published.
package controlplane

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/drops"
	"github.com/pointsman/pointsman/controlplane/fragments"
	"github.com/pointsman/pointsman/controlplane/health"
	"github.com/pointsman/pointsman/controlplane/nexthop"
	"github.com/pointsman/pointsman/controlplane/systemd"
)

// Options are what Run needs. All are required but Reload and Manager.
type Options struct {
	ConfigPath string
	PinDir     string // locked while Run runs
	Socket     string
	Version    string
	Open       func(Sizes) (DataPlane, error)
	Manager    *systemd.Notifier
	Reload     <-chan os.Signal // each value asks for the configuration to be read again
	Log        *slog.Logger
	eventsOnly bool // see attaching
}

// prober is what the loop asks of package health.
type prober interface {
	Set(map[health.Backend]health.Check)
	Verdict(health.Backend) health.Verdict
}

// hops is what the loop asks of package nexthop.
type hops interface {
	Set(addrs []netip.Addr, ingress []nexthop.Ingress)
	Lookup(netip.Addr) (nexthop.Resolution, bool)
}

// watches is what the loop asks of discovery.
type watches interface {
	Set(*config.File) map[string]string
}

// Run runs the daemon until the context is over, and leaves the data plane in
// place and forwarding. An error of type config.Errors is the operator's to mend.
func Run(ctx context.Context, o Options) error {
	if o.Manager == nil {
		o.Manager = &systemd.Notifier{}
	}
	lock, err := Lock(o.PinDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	file, warnings, err := Check(ctx, o.ConfigPath, CheckOptions{})
	if err != nil {
		return err
	}
	keeper, known := openKeeper(file.StateDir, o.Log)
	secret, drawn, err := hashSecret(file, known.secret, o.Log)
	if err != nil {
		return err
	}
	overrides, err := openOverrides(file.StateDir, o.Log)
	if err != nil {
		return err
	}
	plane, err := o.Open(sizes(file, secret))
	if err != nil {
		return err
	}
	shared := &serial{dp: plane}
	defer shared.Close()
	listener, err := api.Listen(o.Socket)
	if err != nil {
		return err
	}
	defer os.Remove(o.Socket)

	inbox := newInbox()
	prober := health.New(health.Options{Changed: func(b health.Backend, _ health.Verdict) { inbox.judged(b.Service) }})
	hops := nexthop.New(nexthop.Options{Changed: func(addr netip.Addr, _ nexthop.Resolution) { inbox.resolved(addr) }, Log: o.Log})
	discovery := newDiscovery(openConsul, inbox.viewed, o.Log)
	timings := api.NewTimings()
	discovery.asked = timings.Asked
	load := func(ctx context.Context) (*config.File, []string, error) {
		return Check(ctx, o.ConfigPath, CheckOptions{})
	}
	reloader := newReloader(load, inbox, o.Log)
	reloader.began, reloader.ended = o.Manager.Reloading, o.Manager.Ready
	daemon := &daemon{
		log: o.Log, version: o.Version, path: o.ConfigPath, started: time.Now(),
		plane: shared, hashSecret: secret, inbox: inbox, events: newChronicle(o.Log), prober: prober, hops: hops, watches: discovery,
		consulAddress: discovery.Address, consulCounts: discovery.Counts, timings: timings, second: monotonicSecond, ifindexes: ifindexes, overrides: overrides,
		keeper: keeper, secret: drawn, recalling: recalling{notes: known}, manager: o.Manager, reloader: reloader,
	}
	daemon.web = api.NewWeb(file.HTTPListen, api.WebHandler(daemon, timings, o.Log), o.Log)
	daemon.attach.eventsOnly = o.eventsOnly
	if err := daemon.begin(loaded{file: file, warnings: warnings, at: time.Now()}); err != nil {
		return errors.Join(err, listener.Close())
	}
	source, err := plane.WatchDrops()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	daemon.drops = drops.New(source)
	stopping := context.AfterFunc(ctx, o.Manager.Stopping)
	defer stopping()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return prober.Run(ctx) })
	group.Go(func() error { return hops.Run(ctx) })
	group.Go(func() error { return watchLinks(ctx, inbox.linked) })
	group.Go(func() error { return discovery.Run(ctx) })
	group.Go(func() error { return api.Serve(ctx, listener, daemon) })
	group.Go(func() error { return reloader.Run(ctx, o.Reload) })
	group.Go(func() error { return keeper.Run(ctx) })
	group.Go(func() error { return daemon.run(ctx) })
	group.Go(func() error { return daemon.measureRates(ctx) })
	group.Go(func() error { return holdFragments(ctx, plane, o.Log) })
	group.Go(func() error { return daemon.web.Run(ctx) })
	group.Go(func() error { return watchDrops(ctx, daemon.drops, o.Log) })
	return group.Wait()
}

// holdFragments lets fragments wait for the first of their packet, where the
// kernel can send them again.
func holdFragments(ctx context.Context, plane DataPlane, log *slog.Logger) error {
	source, err := plane.HoldFragments()
	if err != nil {
		log.Warn("fragments that come before the first of their packet are dropped", "reason", err)
		return nil
	}
	if err := fragments.New(source, log).Run(ctx); err != nil {
		log.Error("no fragment is held any more", "reason", err)
	}
	return nil
}

// watchDrops tells listeners of drops. Forwarding needs nothing of it.
func watchDrops(ctx context.Context, hub *drops.Hub, log *slog.Logger) error {
	if err := hub.Run(ctx); err != nil {
		log.Error("nobody is told of drops any more", "reason", err)
	}
	return nil
}
