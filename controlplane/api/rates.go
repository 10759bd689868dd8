package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Rates are what passes per second, over some seconds.
type Rates struct {
	NewFlows float64 `json:"new_flows_per_second"`
	Packets  float64 `json:"packets_per_second"`
	Bits     float64 `json:"bits_per_second"` // of IP, as clients sent it
}

// RateHistory is GET /v1/rates?service=NAME: what passed in the last ten minutes.
type RateHistory struct {
	SchemaVersion int            `json:"schema_version"`
	Times         []time.Time    `json:"times"`    // ends of the intervals, oldest first
	Services      []ServiceRates `json:"services"` // sorted by name
}

// ServiceRates are those of a service, one for each of the times.
type ServiceRates struct {
	Name  string  `json:"name"`
	Rates []Rates `json:"rates"`
}

// Rates asks what passed, to one service or, if it is "", to all.
func (c *Client) Rates(ctx context.Context, service string) (RateHistory, error) {
	path := "/v1/rates"
	if service != "" {
		path += "?service=" + url.QueryEscape(service)
	}
	var list RateHistory
	err := c.get(ctx, path, &list)
	return list, err
}

func rates(source Source) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		list, err := source.Rates(r.URL.Query().Get("service"))
		list.SchemaVersion = SchemaVersion
		conclude(w, list, err)
	}
}
