// Package consul watches Consul's catalog and health for the instances behind
// the operator's services. It reports facts and holds the last ones when Consul
// cannot be believed; what they mean for backends is decided elsewhere.
//
// A watch keeps nine rules, named W1 to W9 where they are applied:
//
//	W1 the first read, and every read after an error, is a plain one
//	W2 a watch that returns with its own index has said nothing; its body is not looked at
//	W3 an index that went back, or is 0 or 1, is discarded with its body
//	W4 an error keeps everything as it is; retry from 100 ms up to 10 s, for ever
//	W5 an answer that access rules have shortened is an error
//	W6 an answer that is empty or lacks over half of the members needs a consistent read
//	W7 about every minute there is a plain read, even while watching
//	W8 a watch waits 55 to 65 s, and is given up some time after that
//	W9 the first change is acted on at once; then questions are 100 ms apart
package consul

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// Querier puts one question to Consul. Client is the real one.
type Querier interface {
	// Read returns when Consul answers, or an error; ctx bounds it.
	Read(ctx context.Context, q Query, ask Ask) (Reply, error)
}

// Reply is Consul's answer to a Read.
type Reply struct {
	Entries   []*api.ServiceEntry
	Index     uint64
	Filtered  bool // access rules hid some entries
	Anonymous bool // no token was sent, and access is denied by default
}

// View is what is known of the instances of one of the operator's services.
type View struct {
	Service   string     // the operator's name for it, as given to Set
	Instances []Instance // sorted by node and id; says nothing until Known
	At        time.Time  // when Consul last confirmed Instances; zero: never
	Changed   bool       // Instances differ from the view before, or are the first
	Reason    Reason     // why Instances may be out of date; empty: they are not
	Err       error      // the same as a sentence; nil with an empty Reason

	Answered      time.Time     // when the answer arrived that led to this view: the start of detect_ms
	ConsulLatency time.Duration // how long the last plain read took
}

// Known tells an empty set from no knowledge at all.
func (v View) Known() bool { return !v.At.IsZero() }

// Counts are totals since the Source was made.
type Counts struct {
	Watches  int
	Requests map[Reason]uint64 // questions by result; the empty reason is success
	Holds    map[Reason]uint64 // answers that were not used, by reason
}

// Plus is the sum of two.
func (c Counts) Plus(other Counts) Counts {
	sum := Counts{c.Watches + other.Watches, map[Reason]uint64{}, map[Reason]uint64{}}
	for _, counts := range []Counts{c, other} {
		for reason, n := range counts.Requests {
			sum.Requests[reason] += n
		}
		for reason, n := range counts.Holds {
			sum.Holds[reason] += n
		}
	}
	return sum
}

// Source runs one watch for each of a set of queries.
type Source struct {
	ask    Querier
	update func(View)
	pace   pace
	lookup Lookup

	telling sync.Mutex // update is never called twice at a time

	mu     sync.Mutex
	want   map[string]Query
	counts Counts
	wake   chan struct{} // holds a token while want may differ from what runs
}

// NewSource makes a Source that calls update with each new View: at the first
// answer, when the set or the reason changes, and when the set is confirmed.
// Calls do not overlap; update must not call Set, and should return soon.
func NewSource(ask Querier, update func(View)) *Source {
	return &Source{
		ask:    ask,
		update: update,
		pace:   usualPace,
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		counts: Counts{Requests: map[Reason]uint64{}, Holds: map[Reason]uint64{}},
		wake:   make(chan struct{}, 1),
	}
}

// Set says which queries to watch, by the operator's name of the service.
// Watches whose query is unchanged go on undisturbed; a changed query starts
// without knowledge. It does not wait, and works before Run and during it.
func (s *Source) Set(queries map[string]Query) {
	s.mu.Lock()
	s.want = maps.Clone(queries)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Counts returns a copy of the totals.
func (s *Source) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Counts{
		Watches:  s.counts.Watches,
		Requests: maps.Clone(s.counts.Requests),
		Holds:    maps.Clone(s.counts.Holds),
	}
}

// running is a watch that Run has started.
type running struct {
	query Query
	stop  context.CancelFunc
	ended chan struct{}
}

// Run keeps one watch for each query and returns when ctx is over and all of
// them have ended.
func (s *Source) Run(ctx context.Context) error {
	have := map[string]running{}
	for {
		s.reconcile(ctx, have)
		select {
		case <-s.wake:
		case <-ctx.Done():
			for _, r := range have {
				r.stop()
				<-r.ended
			}
			return nil
		}
	}
}

// reconcile ends the watches that are no longer wanted before it starts new
// ones, so that a service is never told about by two.
func (s *Source) reconcile(ctx context.Context, have map[string]running) {
	s.mu.Lock()
	want := maps.Clone(s.want)
	s.counts.Watches = len(want)
	s.mu.Unlock()

	var ending []running
	for service, r := range have {
		if q, ok := want[service]; !ok || !q.Equal(r.query) {
			r.stop()
			ending = append(ending, r)
			delete(have, service)
		}
	}
	for _, r := range ending {
		<-r.ended
	}
	for service, q := range want {
		if _, ok := have[service]; !ok {
			have[service] = s.start(ctx, service, q)
		}
	}
}

func (s *Source) start(ctx context.Context, service string, q Query) running {
	ctx, stop := context.WithCancel(ctx)
	r := running{query: q, stop: stop, ended: make(chan struct{})}
	w := &watch{
		service: service, query: q,
		ask: s.ask, lookup: s.lookup, pace: s.pace,
		tell: s.tell, count: s.count,
	}
	go func() {
		defer close(r.ended)
		w.run(ctx)
	}()
	return r
}

func (s *Source) tell(v View) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.update(v)
}

func (s *Source) count(result, held Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Requests[result]++
	if held != "" {
		s.counts.Holds[held]++
	}
}
