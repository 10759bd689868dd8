package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// Drop is a line of GET /v1/drops: a packet that was dropped or held. A line
// without a reason only says that some are not shown.
type Drop struct {
	SchemaVersion int        `json:"schema_version"`
	At            *time.Time `json:"at,omitempty"`
	Reason        string     `json:"reason,omitempty"` // an outcome: "DROP_NO_BACKEND"
	Interface     string     `json:"interface,omitempty"`
	Length        int        `json:"length,omitempty"`   // of the frame
	VLAN          []int      `json:"vlan,omitempty"`     // that it came by, the outer one first
	Protocol      string     `json:"protocol,omitempty"` // "tcp", "udp", "icmp", "icmpv6" or "protocol-50"
	Source        string     `json:"source,omitempty"`   // "198.51.100.7:40000"; an address alone where no port was read
	Destination   string     `json:"destination,omitempty"`
	// NotShown are drops since the line before that are not shown, of whatever
	// reason: the program tells of a hundred a second and CPU, and nobody waits for
	// a client that is slow.
	NotShown uint64 `json:"not_shown,omitempty"`
}

// DropsQuery says which drops are of interest: GET /v1/drops?reason=…&vip=….
type DropsQuery struct {
	Reasons []string // outcomes; none is all
	VIP     string   // as dataplane.ParsePacketFilter reads it
	Client  string
}

// Watcher is what the server asks for what happens.
type Watcher interface {
	// Drops calls tell for each drop, until the context is over or tell fails.
	Drops(ctx context.Context, reasons []string, filter dataplane.PacketFilter, tell func(Drop) error) error
}

// streamDrops answers with a line for each drop as it happens.
func streamDrops(daemon Watcher) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		filter, err := dataplane.ParsePacketFilter(query.Get("vip"), query.Get("client"))
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		lines := json.NewEncoder(w)
		begun := false
		tell := func(d Drop) error {
			if !begun {
				w.Header().Set("Content-Type", "application/x-ndjson")
				begun = true
			}
			d.SchemaVersion = SchemaVersion
			control := http.NewResponseController(w)
			_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // for each line
			return errors.Join(lines.Encode(d), control.Flush())
		}
		err = daemon.Drops(r.Context(), query["reason"], filter, tell)
		if err != nil && !begun {
			conclude(w, nil, err)
		}
	}
}

// Drops calls tell for each drop that the daemon tells of, until the context is
// over or tell fails. The first call, of an empty Drop, says that it has begun.
func (c *Client) Drops(ctx context.Context, q DropsQuery, tell func(Drop) error) error {
	values := url.Values{"reason": q.Reasons}
	for key, value := range map[string]string{"vip": q.VIP, "client": q.Client} {
		if value != "" {
			values.Set(key, value)
		}
	}
	response, err := c.open(ctx, http.MethodGet, "/v1/drops?"+values.Encode(), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for lines := json.NewDecoder(response.Body); ; {
		var d Drop
		err := lines.Decode(&d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return &UnreachableError{Socket: c.socket, Err: errors.New("it has ended")}
		}
		if err != nil {
			return fmt.Errorf("reading drops: %w", err)
		}
		if err := tell(d); err != nil {
			return err
		}
	}
}
