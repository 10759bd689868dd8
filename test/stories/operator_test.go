package stories

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/test/lab"
)

const steered = `
service "web" {
  listen = ["192.0.2.1:80/tcp"]
  slots  = 251
  backend "{{v4 1}}" {}
  backend "{{v4 2}}" {}
}`

// operate runs a command of the program against the daemon.
func (s *stage) operate(command ...string) string {
	s.t.Helper()
	out, err := s.Run(s.t.Context(), append(command, "--socket", s.Socket())...)
	s.must(err)
	return string(out)
}

// happened are the events after one, over TCP, waiting for one where there is none.
func (s *stage) happened(since uint64, wait string) (api.Events, error) {
	status, body, err := s.get(fmt.Sprintf("/v1/events?generation=%d&wait=%s", since, wait))
	if err != nil || status != http.StatusOK {
		return api.Events{}, fmt.Errorf("answered with %d, %s: %w", status, body, err)
	}
	var list api.Events
	return list, json.Unmarshal([]byte(body), &list)
}

func TestPrivilegedOperatorsSteerFlowsOverARestartAndSeeThatTheyDo(t *testing.T) {
	const vip = "http 192.0.2.1:80"
	s := open(t, lab.Options{Backends: 2}, 1)
	s.begin(steered)
	one, two := s.fill("{{v4 1}}"), s.fill("{{v4 2}}")
	follower := s.speak("events", "web", "--follow", "-o", "json", "--socket", s.Socket())
	s.awaitSaid(follower, "service is ok")
	s.spread(vip, weights{"backend-1": 1, "backend-2": 1})

	list, err := s.happened(0, "0s")
	s.must(err)
	woken := make(chan error, 1)
	go func() {
		next, err := s.happened(list.Generation, "60s")
		if err == nil && (len(next.Events) == 0 || next.Events[0].Text != "disable begins" || next.Events[0].By != "root") {
			err = fmt.Errorf("it is told of %+v", next.Events)
		}
		woken <- err
	}()
	s.operate("disable", "web", two, "--reason", "answers oddly")
	s.must(<-woken)
	s.awaitBackends("web", "backend-1 up", "backend-2 disabled disabled by root: answers oddly")
	s.spread(vip, weights{"backend-1": 1})
	s.awaitSaid(follower, `"text":"backend is disabled"`)

	s.operate("weight", "web", one, "3")
	s.must(s.Daemon.Stop())
	s.must(s.Start())
	s.awaitBackends("web", "backend-1 up weight 3 by root", "backend-2 disabled answers oddly")
	s.spread(vip, weights{"backend-1": 1})
	s.operate("enable", "web", two)
	s.awaitBackends("web", "backend-1 up weight 3", "backend-2 up")
	s.spread(vip, weights{"backend-1": 3, "backend-2": 1})
	s.awaitSaid(follower, `"text":"disable ends"`) // by the next daemon
	if ended := s.operate("overrides", "web", "--clear"); !strings.Contains(ended, "weight 3") {
		t.Errorf("cleared is %s", ended)
	}
	s.awaitBackends("web", "backend-1 up", "backend-2 up")
	s.spread(vip, weights{"backend-1": 1, "backend-2": 1})
	s.interrupt(follower)

	for path, want := range map[string]int{"/": 200, "/service?name=web": 200, "/v1/rates?service=web": 200, "/v1/overrides": 200, "/v1/plan": 403, "/v1/../metrics": 404} {
		if status, body, err := s.get(path); err != nil || status != want {
			t.Errorf("%s is answered with %d, %v: %.200s", path, status, err, body)
		}
	}
}
