package desired

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

func TestRecall(t *testing.T) {
	for _, row := range []struct {
		promise string
		noted   string // address and status
		found   string // "-": the kernel knows nothing of the service
		probed  bool
		want    string // "" is: the notes are not used
	}{
		{"where the kernel knows nothing, the notes stand", "1 passing, 2 warning, 3 critical", "-", false, "1 2 3!"},
		{"where both name the same, the notes stand", "1 passing, 2 maintenance", "1 2", false, "1 2"},
		{"who was critical stays so", "1 passing, 2 critical", "1", false, "1 2!"},
		{"a backend that came after the notes keeps them from being used", "1 passing", "1 2", false, ""},
		{"one that recovered after them, too", "1 passing, 2 critical", "1 2", false, ""},
		{"and with probes", "1 passing", "1 2", true, ""},
		{"a backend that left after the notes does not come back", "1 passing, 2 passing", "1", false, "1 2x"},
		{"unless a probe says that it lives", "1 passing, 2 passing", "1", true, "1 2"},
		{"all of them may have left", "1 passing", "", false, "1x"},
		{"notes of nobody say nothing against backends that serve", "", "1", false, ""},
	} {
		var found *Found
		if row.found != "-" {
			found = &Found{}
			for _, n := range strings.Fields(row.found) {
				found.Backends = append(found.Backends, dataplane.ID{Addr: recallAddr(n)})
			}
		}
		recalled, why := Recall(noted(row.noted), row.probed, found)
		if got := told(recalled); got != row.want || (why != "") != (row.want == "") {
			t.Errorf("%s: got %q (%s), want %q", row.promise, got, why, row.want)
		}
	}
}

func recallAddr(n string) netip.Addr { return netip.MustParseAddr("10.20.0." + n) }

func noted(text string) (all []Instance) {
	statuses := map[string]Status{"passing": Passing, "warning": Warned, "maintenance": Maintenance, "critical": Critical}
	for _, entry := range strings.Split(text, ", ") {
		if number, status, given := strings.Cut(entry, " "); given {
			all = append(all, Instance{Addr: recallAddr(number), Port: 443, Status: statuses[status]})
		}
	}
	return all
}

func told(all []Instance) string {
	var words []string
	for _, i := range all {
		text := fmt.Sprint(i.Addr.As4()[3])
		switch {
		case i.Rejected != "":
			text += "x"
		case i.Status == Critical:
			text += "!"
		}
		words = append(words, text)
	}
	return strings.Join(words, " ")
}
