package consul

import (
	"context"
)

// Instances asks once who the backends of q are, without resolving names.
func (c *Client) Instances(ctx context.Context, q Query) ([]Instance, error) {
	reply, err := c.Read(ctx, q, Ask{})
	if err != nil {
		return nil, err
	}
	return normalise(q, reply.Entries, nil)
}

// ConnectionLimit is how many connections the agent takes from one client's address,
// 0 where it does not say: that takes the right to read of the agent.
func (c *Client) ConnectionLimit(ctx context.Context) int {
	// The token of a request is not among the arguments of Agent().Self.
	var self struct {
		DebugConfig struct{ HTTPMaxConnsPerClient int }
	}
	options := Query{}.options(Ask{}, c.settings, c.tokenOrNone()).WithContext(ctx)
	if _, err := c.api.Raw().Query("/v1/agent/self", &self, options); err != nil {
		return 0
	}
	return self.DebugConfig.HTTPMaxConnsPerClient
}

// Leaderless tells whether an agent that answers knows nobody who leads. It holds other
// questions back then, for longer than who asks may wait.
func (c *Client) Leaderless(ctx context.Context) bool {
	options := Query{}.options(Ask{}, c.settings, c.tokenOrNone()).WithContext(ctx)
	leader, err := c.api.Status().LeaderWithQueryOptions(options)
	return err == nil && leader == "" || err != nil && reasonOf(err) == NoLeader
}

// Accessor is the token's own name, "" where Consul does not tell.
func (c *Client) Accessor(ctx context.Context) string {
	options := Query{}.options(Ask{}, c.settings, c.tokenOrNone()).WithContext(ctx)
	token, _, err := c.api.ACL().TokenReadSelf(options)
	if err != nil || token == nil {
		return ""
	}
	return token.AccessorID
}

func (c *Client) tokenOrNone() string {
	token, err := c.token(Query{})
	if err != nil {
		return ""
	}
	return token
}

// Encrypted tells whether the agent is asked by HTTPS, and so by HTTP/2.
func (c *Client) Encrypted() bool { return c.settings.scheme == "https" }
