package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// Flows is GET /v1/flows?vip=VIP&client=CLIENT&state=STATE&limit=N: connections of
// services with forward = "nat", which are the flows that are remembered one by one.
type Flows struct {
	SchemaVersion int            `json:"schema_version"`
	Capacity      int            `json:"capacity"` // connections that there can be
	Total         int            `json:"total"`    // that match
	States        map[string]int `json:"states"`   // of these
	Flows         []Flow         `json:"flows"`    // at most limit of them
}

// Flow is one connection.
type Flow struct {
	Protocol string    `json:"protocol"`
	Client   string    `json:"client"`
	VIP      string    `json:"vip"`
	Service  string    `json:"service,omitempty"` // "" where it has gone
	Source   string    `json:"source"`            // the client as the backend sees it
	Backend  string    `json:"backend"`
	State    string    `json:"state"` // "syn", "syn-ack", "established", …
	Begun    time.Time `json:"begun"`
	Expires  time.Time `json:"expires"` // if no packet comes
}

// FlowsQuery says which flows to list. What is zero does not matter.
type FlowsQuery struct {
	VIP, Client, State string
	Limit              int // 0 is all
}

// Flows asks for connections.
func (c *Client) Flows(ctx context.Context, q FlowsQuery) (Flows, error) {
	query := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	for key, value := range map[string]string{"vip": q.VIP, "client": q.Client, "state": q.State} {
		if value != "" {
			query.Set(key, value)
		}
	}
	var flows Flows
	err := c.get(ctx, "/v1/flows?"+query.Encode(), &flows)
	return flows, err
}

// defaultFlows are listed where nobody says how many.
const defaultFlows = 100

func flows(source Source) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		filter, err := dataplane.ParsePacketFilter(query.Get("vip"), query.Get("client"))
		limit := defaultFlows
		if text := query.Get("limit"); err == nil && text != "" {
			if limit, err = strconv.Atoi(text); err != nil || limit < 0 {
				err = fmt.Errorf("limit %q is not a number of flows", text)
			}
		}
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		list, err := source.Flows(filter, query.Get("state"), limit)
		conclude(w, list, err)
	}
}
