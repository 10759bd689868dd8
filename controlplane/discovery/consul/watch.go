package consul

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// watch follows one query. It decides nothing: decide does.
type watch struct {
	service string
	query   Query
	ask     Querier
	lookup  Lookup
	pace    pace
	tell    func(View)
	count   func(result, held Reason)

	have     known
	names    map[string]resolved
	shown    Reason        // of the last view told
	took     time.Duration // the last plain read
	index    uint64        // for the next question; 0 is a plain read
	asked    time.Time     // when the last question started
	audit    time.Time     // when the next plain read is due
	failures int           // errors in a row
	resets   int           // watches in a row that W3 discarded
}

// run returns when ctx is over.
func (w *watch) run(ctx context.Context) {
	for ctx.Err() == nil {
		got := w.question(ctx, w.next())
		what := decide(w.have, got)
		first := got.at
		if what.action == confirm {
			w.count("", "")
			// W6: one plain read that the leader stands behind, and its answer counts.
			got = w.question(ctx, Ask{Consistent: true})
			if what = decide(w.have, got); what.action == hold {
				what.err = fmt.Errorf("confirming that instances are gone: %w", what.err)
			}
		}
		if ctx.Err() != nil {
			return // what came back is only the cancellation
		}
		pause(ctx, w.act(what, got, first))
	}
}

// next is the question to put. A plain read comes first and after every error
// (W1), after a wait without news, and whenever one is due (W7).
func (w *watch) next() Ask {
	if w.index == 0 || !time.Now().Before(w.audit) {
		return Ask{}
	}
	return Ask{Index: w.index, Wait: w.pace.wait()}
}

// question puts one question, no sooner than the gap after the one before (W9).
// Counting from start to start lets the first change after a quiet time be
// followed at once by the question for the second.
func (w *watch) question(ctx context.Context, ask Ask) answer {
	pause(ctx, w.pace.gap-time.Since(w.asked))
	w.asked = time.Now()

	limited, cancel := context.WithTimeout(ctx, w.pace.deadline(ask.Wait)) // W8
	defer cancel()
	reply, err := w.ask.Read(limited, w.query, ask)
	got := answer{
		asked:     ask,
		index:     reply.Index,
		filtered:  reply.Filtered,
		anonymous: reply.Anonymous,
		err:       err,
		at:        time.Now(),
	}
	if ask.Index == 0 {
		w.took = got.at.Sub(w.asked)
		w.audit = got.at.Add(w.pace.untilAudit())
	}
	// A wait without news has a body that means nothing; spare its decoding.
	if err == nil && (ask.Index == 0 || reply.Index != ask.Index) {
		w.resolve(ctx, reply, ask.Index == 0)
		got.members, got.err = normalise(w.query, reply.Entries, w.names)
	}
	return got
}

// act carries a decision out and returns how long to pause.
func (w *watch) act(what decision, got answer, first time.Time) time.Duration {
	switch what.action {
	case accept:
		w.count("", "")
		w.failures = 0
		if got.asked.Index > 0 {
			w.resets = 0
		}
		w.index = got.index
		before := w.have
		w.have = before.adopt(got)
		w.show(w.have.doubt(), first, !before.loaded || !slices.Equal(before.members, w.have.members))
		return 0
	case ignore:
		w.count("", "")
		w.resets = 0
		w.audit = time.Time{}
		return 0
	case discard: // at once, unless it keeps happening
		w.count(reasonOf(what.err), reasonOf(what.err))
		w.index = 0
		w.resets++
		if w.resets == 1 {
			return 0
		}
		return w.pace.backoff(w.resets - 1)
	}
	w.count(reasonOf(what.err), reasonOf(what.err))
	w.index = 0 // W4: an old index may be too high now, and would block for the whole wait
	w.failures++
	if reasonOf(what.err) != w.shown {
		w.show(what.err, first, false)
	}
	return w.pace.backoff(w.failures)
}

// show tells the owner what is known, and with err why it may be out of date.
func (w *watch) show(err error, answered time.Time, changed bool) {
	w.shown = ""
	if err != nil {
		w.shown = reasonOf(err)
		err = fmt.Errorf("watching %s in Consul: %w", w.query, err)
	}
	w.tell(View{
		Service:       w.service,
		Instances:     slices.Clone(w.have.members),
		At:            w.have.confirmed,
		Changed:       changed,
		Reason:        w.shown,
		Err:           err,
		Answered:      answered,
		ConsulLatency: w.took,
	})
}

// Lookup finds the addresses of a name, as net.Resolver's LookupNetIP for "ip".
type Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

var errNoAddress = errors.New("it has no address")

// resolve looks up the names in an answer: new ones at once, the others again
// with every plain read. A name that stops resolving keeps its address, since a
// silent DNS server is no evidence that a backend is gone. Of several addresses
// the lowest is taken, so that all balancers take the same.
func (w *watch) resolve(ctx context.Context, reply Reply, again bool) {
	if !w.query.Resolve {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, w.pace.lookup)
	defer cancel()
	names := map[string]resolved{}
	for _, host := range hostnames(w.query, reply.Entries) {
		last, seen := w.names[host]
		if seen && last.err == nil && !again {
			names[host] = last
			continue
		}
		addrs, err := w.lookup(ctx, host)
		switch {
		case err == nil && len(addrs) > 0:
			names[host] = resolved{addr: slices.MinFunc(addrs, netip.Addr.Compare).Unmap()}
		case seen && last.err == nil:
			names[host] = last
		case err == nil:
			names[host] = resolved{err: errNoAddress}
		default:
			names[host] = resolved{err: err}
		}
	}
	w.names = names
}
