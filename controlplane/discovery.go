package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
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

	mu      sync.Mutex
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
		for _, origin := range client.Origins() {
			if origin.Setting == "address" {
				d.mu.Lock()
				d.address = origin.Value
				d.mu.Unlock()
			}
			d.log.Info("Consul setting", "setting", origin.Setting, "value", origin.Value, "from", origin.From)
		}
	}
	source = consul.NewSource(querier, d.changed)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := source.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			d.log.Error("watching Consul ended", "reason", err)
		}
	}()
	return source, func() { cancel(); <-done }, nil
}

// sameConsul compares what is said, not where in the file.
func sameConsul(a, b config.Consul) bool {
	return reflect.DeepEqual(settings(a), settings(b))
}

// askConsul validates each query by asking it once, as long as Consul answers
// soon. What only time can mend is a warning; the rest are mistakes at their
// places in the file.
func askConsul(ctx context.Context, file *config.File, strict bool) (warnings []string, mistakes config.Errors) {
	if file.Consul == nil {
		return nil, nil
	}
	client, err := consul.Open(settings(*file.Consul))
	if err != nil {
		return nil, config.Errors{file.Mistake(file.Consul.At(""), "Consul cannot be asked with these settings", err.Error())}
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, validateTimeout)
	defer cancel()

	watches := 0
	faults := make([]error, len(file.Services))
	var asking sync.WaitGroup
	turns := make(chan struct{}, 8)
	for i, s := range file.Services {
		if s.Consul == nil {
			continue
		}
		watches++
		asking.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			faults[i] = client.Validate(ctx, query(*s.Consul))
		})
	}
	asking.Wait()
	for i, err := range faults {
		if err == nil {
			continue
		}
		if mistake, is := consulMistake(file, file.Services[i], err, strict); is {
			mistakes = append(mistakes, mistake)
		} else {
			warnings = append(warnings, err.Error())
		}
	}
	warning, err := client.CheckWatches(watches)
	if warning != "" {
		warnings = append(warnings, warning)
	}
	if err != nil {
		mistakes = append(mistakes, file.Mistake(file.Consul.At("max_watches"), "there are too many watches", err.Error()))
	}
	return warnings, mistakes
}

// validateTimeout bounds the questions to Consul before a start or a reload.
const validateTimeout = 5 * time.Second

// consulMistake tells what is wrong with the file from what is wrong with
// Consul. A right that is missing may come back, and what runs must outlive its
// loss, so only a strict check calls it a mistake.
func consulMistake(file *config.File, s config.Service, err error, strict bool) (config.Error, bool) {
	var fault *consul.Fault
	if !errors.As(err, &fault) {
		return config.Error{}, false
	}
	at, detail := s.Consul.At(""), fault.Advice
	switch fault.Reason {
	case consul.BadQuery:
		at = s.Consul.At("filter")
	case consul.NoToken:
		at = file.Consul.At("token_file")
	default:
		if !strict {
			return config.Error{}, false
		}
	}
	summary := strings.TrimSuffix(fmt.Sprintf("service %q: %v", s.Name, fault.Err), ".")
	return file.Mistake(at, summary, detail), true
}
