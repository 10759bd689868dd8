package stories

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/test/consul"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/script"
)

func TestPrivilegedTheWalkThroughTheDocumentGoesAsWritten(t *testing.T) {
	s := open(t, lab.Options{Backends: 2})
	s.must(s.StartConsul(t.Context(), t.Logf))
	w := newWalker(t, s.Lab)
	consulBinary, err := consul.Find(t.Context(), t.Logf)
	s.must(err)
	w.environment[0] += ":" + filepath.Dir(consulBinary)
	w.environment = append(w.environment, "CONSUL_HTTP_ADDR="+s.Consul.HTTP)
	for _, host := range []*lab.Host{s.Lab.Client, s.Lab.Router, s.Lab.Balancer, s.backend(1), s.backend(2)} {
		h := w.settle(host)
		w.installs(h)
		w.boot(h)
	}
	w.aside = func(step script.Step) (string, bool) { return "", w.nginx(step) }
	w.follows("docs/walk.md", 30)
}

// installs puts the program and its unit into a host as the README says.
func (w *walker) installs(h *home) {
	w.t.Helper()
	unit, err := filepath.Abs("../../packaging/pointsman.service")
	w.must(err)
	w.runs(h, `install "$1" /usr/local/bin/pointsman; install -m 644 "$2" /etc/systemd/system/pointsman.service
		mkdir -p /etc/pointsman /etc/consul.d; mkdir -m 700 /var/lib/pointsman`, program, unit)
}

// nginx has the lab's own servers stand for the one of the document.
func (w *walker) nginx(step script.Step) bool {
	w.t.Helper()
	verb, is := strings.CutSuffix(strings.TrimPrefix(step.Command, "systemctl "), " nginx")
	switch h := w.homes[step.Host]; {
	case !is:
		return false
	case verb == "stop":
		h.Kill()
	default:
		w.must(h.Revive())
	}
	return true
}
