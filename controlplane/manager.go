package controlplane

import (
	"fmt"
	"time"

	"github.com/pointsman/pointsman/controlplane/desired"
)

// manager is what the loop tells the service manager.
type manager interface {
	Ready()
	Status(text string)
	Alive()
	Wake() time.Time
}

// tellManager tells the service manager how things are. It is called once a turn of
// the loop, so that a loop which hangs is told from one that has nothing to do.
func (d *daemon) tellManager() {
	d.manager.Alive()
	p := d.published.Load()
	d.manager.Status(p.line())
	// Packets are forwarded by whatever there is, as soon as it was tried to
	// attach: by views, by what is recalled, by an earlier daemon's tables, or,
	// when patience is over, by what has come by then.
	if !d.ready && d.attach.may {
		d.ready = true
		d.manager.Ready()
	}
}

// line is the daemon in a line.
func (p *page) line() string {
	n := map[desired.ServiceState]int{}
	for _, s := range p.report.Services {
		state, _ := p.judge(s)
		n[state]++
	}
	text := fmt.Sprintf("services: %d ok, %d degraded, %d down, %d waiting", n[desired.OK], n[desired.Degraded], n[desired.Down], n[desired.Waiting])
	var oldest time.Time
	for _, view := range p.views {
		if view.stale && view.Known() && (oldest.IsZero() || view.At.Before(oldest)) {
			oldest = view.At
		}
	}
	if !oldest.IsZero() {
		text += ", Consul stale since " + oldest.UTC().Format(time.RFC3339)
	}
	if p.attachErr != nil {
		text += ", not attached everywhere"
	}
	if p.lastApply != nil && p.lastApply.err != nil {
		text += ", the tables could not be written"
	}
	if p.refused != nil {
		text += ", the file has mistakes and the one before runs"
	}
	return text
}
