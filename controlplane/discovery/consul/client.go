package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/hashicorp/consul/api"
)

// Client asks one agent. It is a Querier and safe for concurrent use.
type Client struct {
	api       *api.Client
	transport *http.Transport
	settings  effective
	tokens    tokens
}

// Open makes a client; it does not connect. An error is a mistake in the
// settings or in a certificate file.
func Open(s Settings) (*Client, error) { return open(s, environment, nil) }

func open(s Settings, getenv func(string) string, dial dial) (*Client, error) {
	e := resolve(s, getenv)
	transport, err := e.transport(dial)
	if err != nil {
		return nil, err
	}
	config := &api.Config{
		Address:    e.scheme + "://" + e.address, // may end in a gateway's path prefix
		HttpClient: &http.Client{Transport: oneDialAtATime(transport)},
		// Every request carries its own token. This one never travels; it keeps
		// api.NewClient from reading the environment's token file by itself.
		Token: "per-request",
	}
	if e.token == "" && e.tokenFile == "" {
		config.Token = ""
	}
	if e.scheme == "unix" {
		// The transport dials the socket; the host in the URL is only a name.
		config.Address = "http://localhost"
	}
	if e.basicUser != "" {
		config.HttpAuth = &api.HttpBasicAuth{Username: e.basicUser, Password: e.basicPass}
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("preparing the Consul client for %s: %w", e.address, err)
	}
	return &Client{api: client, transport: transport, settings: e}, nil
}

// Origins are the settings in effect and where each came from, to be printed at
// start: the environment can change where a daemon looks without a trace.
func (c *Client) Origins() []Origin { return c.settings.origins }

// Address is that of the agent, as it was given.
func (c *Client) Address() Origin {
	i := slices.IndexFunc(c.settings.origins, func(o Origin) bool { return o.Setting == "address" })
	return c.settings.origins[i] // there is a default
}

// Close drops idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

func (c *Client) token(q Query) (string, error) {
	path := or(q.TokenFile, c.settings.tokenFile)
	if path == "" {
		return c.settings.token, nil
	}
	token, err := c.tokens.read(path)
	if err != nil {
		return "", &Fault{Reason: NoToken, Err: err}
	}
	return token, nil
}

// Read puts one question, as Querier wants it. Instances of every status are
// asked for, since what to do about warnings is not Consul's to decide.
func (c *Client) Read(ctx context.Context, q Query, ask Ask) (Reply, error) {
	token, err := c.token(q)
	if err != nil {
		return Reply{}, err
	}
	options := q.options(ask, c.settings, token).WithContext(ctx)
	entries, meta, err := c.api.Health().ServiceMultipleTags(q.Service, q.Tags, false, options)
	if err != nil {
		return Reply{}, c.explain(err, q, ask)
	}
	return Reply{
		Entries:   entries,
		Index:     meta.LastIndex,
		Filtered:  meta.ResultsFilteredByACLs,
		Anonymous: token == "" && meta.DefaultACLPolicy == "deny",
	}, nil
}

// explain makes an error of the API a Fault that says what was being done.
func (c *Client) explain(err error, q Query, ask Ask) error {
	reason := reasonOf(err)
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // without the URL, which only repeats the query
	}
	f := fault(reason, "asking Consul at %s for %s: %w", c.settings.address, q, err)
	switch reason {
	case TooMany:
		f.Advice = "the agent accepts too few connections from this host: " + limitsLine(1)
	case Forbidden:
		f.Advice = "the token must exist and have " + rightsLine
	case BadQuery:
		if q.Filter != "" {
			f.Advice = fmt.Sprintf("mend the filter %q", q.Filter)
		}
	case Unreachable:
		if ask.Index > 0 && errors.Is(err, context.DeadlineExceeded) {
			f.Advice = "the watch was given up, since no answer came in time"
		}
	}
	return f
}

// The agent's default for http_max_conns_per_client is 200, shared with every
// other program on the host, whose health checks a greedy balancer would starve.
const (
	plainWarning = 100
	// PlainLimit is how many watches plain HTTP may carry unless Settings.MaxWatches is set.
	PlainLimit  = 150
	othersShare = 200 // connections that other programs on the host may want
)

// CheckWatches says whether n watches may be run over the client's transport. The
// warning is for the log; the error says why they must not run.
func (c *Client) CheckWatches(n int) (warning string, err error) {
	if c.settings.scheme == "https" {
		return "", nil
	}
	limit := PlainLimit
	if c.settings.maxWatches > 0 {
		limit = c.settings.maxWatches
	}
	cost := fmt.Sprintf("%d services are watched over plain HTTP, which takes a connection each of the 200 that the agent gives this host", n)
	mend := "use https:// for HTTP/2, or set in the agent's configuration: " + limitsLine(n)
	if n > limit {
		return "", fmt.Errorf("%s, and at most %d may be; %s and raise max_watches", cost, limit, mend)
	}
	if n > plainWarning {
		return cost + "; " + mend, nil
	}
	return "", nil
}

func limitsLine(watches int) string {
	return fmt.Sprintf("limits { http_max_conns_per_client = %d }", max(2*othersShare, watches+othersShare))
}
