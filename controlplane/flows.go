package controlplane

import (
	"iter"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/dataplane"
)

// Flows lists connections of nat, for the API.
func (d *daemon) Flows(filter dataplane.PacketFilter, state string, limit int) (api.Flows, error) {
	list := api.Flows{
		SchemaVersion: api.SchemaVersion, Capacity: d.published.Load().connectionLimit,
		States: map[string]int{}, Flows: []api.Flow{},
	}
	now, second := time.Now(), d.second()
	err := d.plane.Look(second, func(tables *dataplane.Tables, connections iter.Seq[dataplane.Connection]) error {
		for c := range connections {
			if !filter.WantsFlow(c.Client, c.VIP, c.Protocol) || state != "" && state != c.State {
				continue
			}
			list.Total++
			list.States[c.State]++
			if limit == 0 || len(list.Flows) < limit {
				list.Flows = append(list.Flows, flowView(tables, c, now, second))
			}
		}
		return nil
	})
	return list, err
}

func flowView(tables *dataplane.Tables, c dataplane.Connection, now time.Time, second uint32) api.Flow {
	at := func(other uint32) time.Time { // seconds of the monotonic clock, as their differences
		return now.Add(time.Duration(int32(other-second)) * time.Second).Truncate(time.Second)
	}
	view := api.Flow{
		Protocol: c.Protocol.String(), Client: c.Client.String(), VIP: c.VIP.String(),
		Source: c.Source.String(), Backend: c.Backend.String(), State: c.State, Begun: at(c.Begun), Expires: at(c.Expires),
	}
	to := dataplane.VIP{Addr: c.VIP.Addr(), Port: c.VIP.Port(), Protocol: c.Protocol}
	if _, entry, found := tables.Find(to); found {
		view.Service = tables.Services[entry.Service].Name
	}
	return view
}
