package controlplane

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// dropsMatter is for how long, at least, dropped packets are worth a warning.
// The samples are as old as the audits are apart, so it may be that much longer.
const dropsMatter = time.Minute

// sample is what the program had counted at a time.
type sample struct {
	at       time.Time
	outcomes map[string]uint64
}

// samples are of different times, oldest first. Nobody changes them, since the
// API reads them.
type samples []sample

// with has one sample more, and those left out that are not needed any longer.
func (s samples) with(at time.Time, outcomes map[string]uint64) samples {
	return append(slices.Clone(s.since(at)), sample{at, outcomes})
}

// since leaves out what is older than the sample to compare with.
func (s samples) since(now time.Time) samples {
	for len(s) > 1 && now.Sub(s[1].at) >= dropsMatter {
		s = s[1:]
	}
	return s
}

// sample notes what is counted now. Nothing is as of now if it cannot be read.
func (d *daemon) sample() {
	counters, err := d.plane.Counters()
	if err != nil {
		d.log.Error("the counters cannot be read", "reason", err)
		return
	}
	d.samples = d.samples.with(time.Now(), counters.Outcomes)
}

// dropAdvice is what to do about drops in few words; the README has more. A
// drop without an advice is still warned of.
var dropAdvice = map[string]string{
	"DROP_BAD_CHECKSUM": "packets are damaged on their way, so look for errors of links and NICs",
	"DROP_LOOP":         "an l2 backend sends packets back, so it lacks the VIP",
	"DROP_NO_BACKEND":   "'pointsman backends' says why none is up",
	"DROP_NAT_FAMILY":   "the other family has no such packet, so give the service backends of its VIP's",
	"DROP_NAT_FULL":     "the table of nat's connections is full, so enlarge it",
	"DROP_NAT_PORTS":    "all source ports towards a nat backend are in use, so give more addresses to connect from, or more backends",
	"DROP_TOO_BIG":      "with the outer header they do not fit the way to a backend, and their senders could not be told, so enlarge its MTU",
	"DROP_NO_HEADROOM":  "the driver has no room for the outer header, so try another one, or forward = \"l2\"",
	"DROP_NO_EGRESS":    "the daemon mends that by itself, and if it stays, its log says why",
}

// strangersDrops are counted and not warned of: anybody can send such packets, and
// nothing here is the worse for it.
var strangersDrops = map[string]bool{
	"DROP_UNREADABLE": true,
	"DROP_BAD_LENGTH": true,
	"DROP_BAD_FLAGS":  true,
	"DROP_FRAGMENT":   true,
	"DROP_ICMP_QUOTE": true,
	"DROP_TTL":        true,

	"DROP_NO_CONNECTION": true,
}

// drops are warnings of packets that were for a VIP and went nowhere.
func (s samples) drops(now time.Time, outcomes map[string]uint64) []string {
	s = s.since(now)
	if len(s) == 0 {
		return nil
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(outcomes)) {
		before, count := s[0].outcomes[name], outcomes[name]
		if !strings.HasPrefix(name, "DROP_") || strangersDrops[name] || count <= before {
			continue
		}
		text := fmt.Sprintf("%s: %s for VIPs dropped in the last %s", name, packets(count-before), now.Sub(s[0].at).Round(time.Second))
		if advice := dropAdvice[name]; advice != "" {
			text += "; " + advice
		}
		all = append(all, text+` (see the README, "What became of a packet")`)
	}
	return all
}

func packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}
