package desired

import (
	"fmt"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// Recall says who stands behind a service as long as its source says nothing:
// what an earlier daemon noted of the source's last word, held against the
// backends that the kernel had when this daemon began. The kernel followed every
// word at once and the notes a moment later, if the disk let them; so where the
// two differ, the kernel knew more.
//
//   - A backend that the kernel had and the notes do not vouch for came after
//     them. How much it weighs is not known, so the notes are not used, for why.
//   - A backend that the notes vouch for and the kernel did not have may have died
//     after them. Only a probe can say that it lives.
//
// Found is nil where the kernel knew nothing of the service: then the notes stand.
func Recall(noted []Instance, probed bool, found *Found) (recalled []Instance, why string) {
	if found == nil {
		return noted, ""
	}
	for _, id := range found.Backends {
		vouched := slices.ContainsFunc(noted, func(i Instance) bool { return i.vouchedFor() && i.is(id) })
		if !vouched {
			return nil, fmt.Sprintf("what was noted of it lacks %s, which the kernel has", id)
		}
	}
	for _, i := range noted {
		known := slices.ContainsFunc(found.Backends, i.is)
		if i.vouchedFor() && !known && !probed {
			i.Rejected = "it did not serve when the daemon began, and nobody has said since that it is well"
		}
		recalled = append(recalled, i)
	}
	return recalled, ""
}

// Found is what the kernel had of a service that VIPs led to.
type Found struct{ Backends []dataplane.ID }

// vouchedFor tells whether the source lets the instance have flows, be it only
// those that it has.
func (i Instance) vouchedFor() bool { return i.Rejected == "" && i.Status != Critical }

func (i Instance) is(id dataplane.ID) bool {
	return i.Addr.IsValid() && i.Addr.Unmap() == id.Addr.Unmap() && (id.Port == 0 || i.Port == 0 || id.Port == i.Port)
}
