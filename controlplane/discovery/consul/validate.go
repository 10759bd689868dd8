package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

const (
	serviceRight = `service_prefix "" { policy = "read" }`
	nodeRight    = `node_prefix "" { policy = "read" }`
	rightsLine   = serviceRight + " and " + nodeRight
)

// Validate asks q once and says what a watch on it would stumble over: a filter
// that Consul does not understand, rights that the token lacks, no token where
// one is needed, or a name that nobody bears. The error is a *Fault; one that is
// Temporary says nothing certain about the configuration.
func (c *Client) Validate(ctx context.Context, q Query) error {
	if problem := q.Problem(); problem != "" {
		return fault(BadQuery, "%s", problem)
	}
	token, err := c.token(q)
	if err != nil {
		return err
	}
	reply, err := c.Read(ctx, q, Ask{})
	switch {
	case reasonOf(err) == Forbidden && err != nil:
		return c.forbidden(ctx, q, token, err)
	case err != nil:
		return err
	case reply.Anonymous:
		return &Fault{Reason: NoToken, Err: fmt.Errorf("asking Consul for %s: it denies by default and there is no token", q),
			Advice: "set token_file to one with " + rightsLine}
	case reply.Filtered || len(reply.Entries) == 0:
		if lacks := c.missing(ctx, q, token, reply.Filtered); lacks != nil {
			return lacks
		}
		return fault(Nobody, "%s", q.Nobody())
	}
	return nil
}

// Names are the names of all services where q looks, as far as the token shows
// them.
func (c *Client) Names(ctx context.Context, q Query) ([]string, error) {
	token, err := c.token(q)
	if err != nil {
		return nil, err
	}
	options := q.options(Ask{}, c.settings, token).WithContext(ctx)
	options.Filter = ""
	services, _, err := c.api.Catalog().Services(options)
	if err != nil {
		return nil, c.explain(err, q, Ask{})
	}
	return slices.Sorted(maps.Keys(services)), nil
}

// forbidden tells a token that Consul does not know from one with too few rights.
func (c *Client) forbidden(ctx context.Context, q Query, token string, err error) error {
	var status api.StatusError
	if errors.As(err, &status) && strings.Contains(status.Body, "ACL not found") {
		return &Fault{Reason: Forbidden, Err: fmt.Errorf("asking Consul for %s: it does not know the token", q),
			Advice: "create one with " + rightsLine}
	}
	if missing := c.missing(ctx, q, token, true); missing != nil {
		return missing
	}
	return err
}

// missing finds which right the token lacks. An empty answer alone proves
// neither that there are no instances nor that they may not be seen. The
// discovery chain needs the right to the service whether or not it exists, and
// the list of nodes is never empty for whoever may see it.
func (c *Client) missing(ctx context.Context, q Query, token string, filtered bool) error {
	options := q.options(Ask{}, c.settings, token).WithContext(ctx)
	options.Filter = ""
	var lacks []string
	var status api.StatusError
	_, _, err := c.api.DiscoveryChain().Get(q.Service, nil, options)
	if errors.As(err, &status) && status.Code == http.StatusForbidden {
		lacks = append(lacks, serviceRight)
	}
	nodes, meta, err := c.api.Catalog().Nodes(options)
	if err == nil && meta.ResultsFilteredByACLs && (filtered || len(nodes) == 0) {
		lacks = append(lacks, nodeRight)
	}
	if len(lacks) == 0 && !filtered {
		return nil
	}
	if len(lacks) == 0 {
		lacks = []string{rightsLine}
	}
	return &Fault{Reason: Filtered, Err: fmt.Errorf("asking Consul for %s: access rules hide instances from the token", q),
		Advice: "give it " + strings.Join(lacks, " and ")}
}
