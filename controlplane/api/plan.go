package api

import "context"

// Plan is GET /v1/plan: what the configuration file, as it is now, would change in
// what runs.
type Plan struct {
	SchemaVersion int    `json:"schema_version"`
	Path          string `json:"path"`
	Changes       bool   `json:"changes"`
	// Services are those that would change, sorted by name.
	Services []PlannedService `json:"services"`
	// Interfaces are what would change in where packets arrive: "+eth1", "-eth0".
	Interfaces []string `json:"interfaces"`
	// Warnings are what is odd about the file, and what only a restart can change.
	Warnings []string `json:"warnings"`
}

// PlannedService is what would become of one service.
type PlannedService struct {
	Name     string           `json:"name"`
	Change   string           `json:"change"`   // "added", "removed" or "changed"
	VIPs     []string         `json:"vips"`     // "+192.0.2.10:443/tcp", "-192.0.2.10:80/tcp"
	Settings []string         `json:"settings"` // "forward ipip -> l2"
	Backends []PlannedBackend `json:"backends"`
	// MovedShare is which share of new flows, 0 to 1, would begin at another backend
	// than now. Flows that are open stay where they are, unless their backend goes.
	MovedShare float64 `json:"moved_share"`
	// Unknown says why that and the backends cannot be told, if they cannot.
	Unknown string `json:"unknown,omitempty"`
}

// PlannedBackend is what would become of a backend.
type PlannedBackend struct {
	Address string `json:"address"`
	Change  string `json:"change"`           // "added", "removed" or "changed"
	Detail  string `json:"detail,omitempty"` // "weight 1 -> 2"
}

// Plan asks what the file would change. Mistakes in it are a *Problem that lists
// them.
func (c *Client) Plan(ctx context.Context) (Plan, error) {
	var plan Plan
	err := c.get(ctx, "/v1/plan", &plan)
	return plan, err
}
