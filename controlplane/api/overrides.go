package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// OverrideRequest is the body of POST /v1/drain, /v1/disable and /v1/weight.
type OverrideRequest struct {
	Service string `json:"service"`
	Address string `json:"address"` // "10.20.0.11" or "10.20.0.11:443"
	Weight  uint16 `json:"weight,omitempty"`
	Reason  string `json:"reason,omitempty"`
	TTL     string `json:"ttl"` // a duration, "1h", after which it ends by itself
	// By is for whom the peer on the socket asks, if not for itself.
	By string `json:"by,omitempty"`
}

// LiftRequest is the body of POST /v1/undrain and /v1/enable.
type LiftRequest struct {
	Service string `json:"service"`
	Address string `json:"address"`
	By      string `json:"by,omitempty"`
}

// ClearRequest is the body of POST /v1/overrides/clear: which to end. What is ""
// does not matter.
type ClearRequest struct {
	Service string `json:"service,omitempty"`
	Address string `json:"address,omitempty"`
	By      string `json:"by,omitempty"`
}

// Override is what an operator wants, or no longer wants, of a backend.
type Override struct {
	SchemaVersion int       `json:"schema_version"`
	Service       string    `json:"service"`
	Address       string    `json:"address"`
	Kind          string    `json:"kind"` // "drain", "disable" or "weight"
	Weight        uint16    `json:"weight,omitempty"`
	State         string    `json:"state"` // of the backend; "gone" where there is none
	Reason        string    `json:"reason,omitempty"`
	By            string    `json:"by"`
	Since         time.Time `json:"since"`
	Until         time.Time `json:"until"`
}

// Overrides is GET /v1/overrides?service=NAME&address=ADDRESS, and the answer to a
// ClearRequest: those that it ended.
type Overrides struct {
	SchemaVersion int        `json:"schema_version"`
	Overrides     []Override `json:"overrides"` // sorted by service, address and kind
}

// The verbs that begin an override, by its kind, and those that end one.
var (
	overrideVerbs = map[string]string{"drain": "drain", "disable": "disable", "weight": "weight"}
	liftVerbs     = map[string]string{"undrain": "drain", "enable": "disable"}
)

// Override asks for an override: "drain", "disable" or "weight".
func (c *Client) Override(ctx context.Context, kind string, r OverrideRequest) (Override, error) {
	var taken Override
	err := c.post(ctx, "/v1/"+kind, r, &taken)
	return taken, err
}

// Lift takes an operator's override back: "undrain" or "enable".
func (c *Client) Lift(ctx context.Context, verb string, r LiftRequest) (Override, error) {
	var ended Override
	err := c.post(ctx, "/v1/"+verb, r, &ended)
	return ended, err
}

// Overrides asks for what operators want, of a service and a backend unless they
// are "".
func (c *Client) Overrides(ctx context.Context, service, address string) (Overrides, error) {
	query := url.Values{}
	if service != "" {
		query.Set("service", service)
	}
	if address != "" {
		query.Set("address", address)
	}
	var list Overrides
	err := c.get(ctx, "/v1/overrides?"+query.Encode(), &list)
	return list, err
}

// ClearOverrides ends overrides, and says which.
func (c *Client) ClearOverrides(ctx context.Context, r ClearRequest) (Overrides, error) {
	var ended Overrides
	err := c.post(ctx, "/v1/overrides/clear", r, &ended)
	return ended, err
}

func overrides(source Source) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		list, err := source.Overrides(r.URL.Query().Get("service"), r.URL.Query().Get("address"))
		conclude(w, list, err)
	}
}
