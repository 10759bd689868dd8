package controlplane

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

// discovery runs the watches in Consul that the file asks for. A reload may
// change the queries and even which Consul is asked.
type discovery struct {
	open    func(consul.Settings) (consul.Querier, error)
	changed func(consul.View)
	log     *slog.Logger
	poke    chan struct{}
	asked   func(time.Duration) // hears how long plain questions took

	mu      sync.Mutex
	past    consul.Counts  // of sources that have ended
	source  *consul.Source // nil while there is none
	consul  *config.Consul
	queries map[string]watched
	serial  int
	address string // that is asked, after the environment was heard
}

// watched is a query under the name its views come back with. The name changes
// with the query, so that a late view of the old one cannot pass for the new.
type watched struct {
	name  string
	query consul.Query
}

func newDiscovery(open func(consul.Settings) (consul.Querier, error), changed func(consul.View), log *slog.Logger) *discovery {
	return &discovery{open: open, changed: changed, log: log, poke: make(chan struct{}, 1), queries: map[string]watched{}}
}

func openConsul(s consul.Settings) (consul.Querier, error) { return consul.Open(s) }

// Set says what to watch and returns the names of the views by service.
func (d *discovery) Set(file *config.File) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.queries
	d.consul, d.queries = file.Consul, map[string]watched{}
	names := map[string]string{}
	for _, s := range file.Services {
		if s.Consul == nil {
			continue
		}
		q := query(*s.Consul)
		w, known := before[s.Name]
		if !known || !w.query.Equal(q) {
			d.serial++
			w = watched{s.Name + "#" + strconv.Itoa(d.serial), q}
		}
		d.queries[s.Name] = w
		names[s.Name] = w.name
	}
	select {
	case d.poke <- struct{}{}:
	default:
	}
	return names
}

// Address is that of the Consul which is asked; "" where none is.
func (d *discovery) Address() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.address
}

// Counts are totals since the discovery was made; Watches those of now.
func (d *discovery) Counts() consul.Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.source == nil {
		return d.past
	}
	return d.past.Plus(d.source.Counts())
}

// Run watches until the context is over. Its source lives as long as the
// settings of the consul block stay the same.
func (d *discovery) Run(ctx context.Context) error {
	var (
		current config.Consul
		source  *consul.Source
		stop    = func() {}
	)
	defer func() { stop() }()
	for {
		d.mu.Lock()
		wanted := d.consul
		queries := map[string]consul.Query{}
		for _, w := range d.queries {
			queries[w.name] = w.query
		}
		d.mu.Unlock()
		if wanted == nil || source != nil && !sameConsul(current, *wanted) {
			stop()
			stop, source = func() {}, nil
		}
		var again <-chan time.Time
		if wanted != nil && source == nil {
			var err error
			if source, stop, err = d.start(ctx, *wanted); err != nil {
				d.log.Error("Consul cannot be asked", "reason", err)
				again = time.After(consulRetry)
			}
			current = *wanted
		}
		if source != nil {
			source.Set(queries)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.poke:
		case <-again:
		}
	}
}

// consulRetry is when settings that could not be used are tried again: they
// were good when the file was read, so a certificate is being replaced.
const consulRetry = 5 * time.Second

// start runs a source of its own; stop ends it and waits.
func (d *discovery) start(ctx context.Context, c config.Consul) (source *consul.Source, stop func(), err error) {
	querier, err := d.open(settings(c))
	if err != nil {
		return nil, func() {}, err
	}
	if client, real := querier.(*consul.Client); real {
		d.mu.Lock()
		d.address = client.Address().Value
		d.mu.Unlock()
		for _, origin := range client.Origins() {
			d.log.Info("Consul setting", "setting", origin.Setting, "value", origin.Value, "from", origin.From)
		}
	}
	if d.asked != nil {
		querier = timed{querier, d.asked}
	}
	source = consul.NewSource(querier, d.changed)
	d.mu.Lock()
	d.source = source
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := source.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			d.log.Error("watching Consul ended", "reason", err)
		}
	}()
	return source, func() {
		cancel()
		<-done
		d.mu.Lock()
		defer d.mu.Unlock()
		d.past, d.source = d.past.Plus(source.Counts()), nil
		d.past.Watches = 0
	}, nil
}

// timed tells how long plain questions took. The others last until something changes.
type timed struct {
	consul.Querier
	asked func(time.Duration)
}

func (t timed) Read(ctx context.Context, q consul.Query, ask consul.Ask) (consul.Reply, error) {
	began := time.Now()
	reply, err := t.Querier.Read(ctx, q, ask)
	if err == nil && ask.Index == 0 {
		t.asked(time.Since(began))
	}
	return reply, err
}

// sameConsul compares what is said, not where in the file.
func sameConsul(a, b config.Consul) bool {
	return reflect.DeepEqual(settings(a), settings(b))
}
