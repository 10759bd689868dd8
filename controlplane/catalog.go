package controlplane

import (
	"context"
	"fmt"
	"slices"

	"github.com/agext/levenshtein"

	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

// catalog finds out why Consul knows nobody by some name. It reads the names of
// all services once for each place where services are looked for.
type catalog struct {
	list  func(context.Context, consul.Query) ([]string, error)
	names map[string][]string // by place; none where the token does not show them
}

// advice is what to do about a query that nobody stands behind.
func (c catalog) advice(ctx context.Context, q consul.Query) string {
	place := fmt.Sprintf("%q", []string{q.Datacenter, q.Namespace, q.Partition, q.Peer})
	names, read := c.names[place]
	if !read {
		names, _ = c.list(ctx, q) // without them there is only less to advise
		c.names[place] = names
	}
	if slices.Contains(names, q.Service) {
		return "it knows others of that service: look at tags and filter"
	}
	if meant := closest(q.Service, names); meant != "" {
		return fmt.Sprintf("did you mean %q?", meant)
	}
	return "there are no backends until one registers"
}

// closest is the name that was probably meant, or "".
func closest(given string, names []string) string {
	best, least := "", 1000
	for _, name := range names {
		d := levenshtein.Distance(given, name, nil)
		if near := max(2, len(name)/3); d <= near && d < len(name) && d < least {
			best, least = name, d
		}
	}
	return best
}
