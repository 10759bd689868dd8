package api

import (
	"errors"
	"net/http"
	"os/user"
	"strings"
	"testing"
)

func TestADrainIsOfTheUserOnTheOtherEnd(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	client := NewClient(serve(t))
	taken, err := client.Override(t.Context(), "drain", OverrideRequest{Service: "web", Address: "10.20.0.12", Reason: "new kernel"})
	if err != nil || taken.By != me.Username || taken.Reason != "new kernel" {
		t.Errorf("got %+v, %v", taken, err)
	}
	taken, err = client.Override(t.Context(), "drain", OverrideRequest{Service: "web", Address: "10.20.0.12", By: "ada"})
	if err != nil || taken.By != "ada as "+me.Username {
		t.Errorf("for another: got %+v, %v", taken, err)
	}
}

func TestAWishThatCannotBeIsAProblemDocument(t *testing.T) {
	client := NewClient(serve(t))
	drain := func(service string) error {
		_, err := client.Override(t.Context(), "drain", OverrideRequest{Service: service})
		return err
	}
	undrain := func() error {
		_, err := client.Lift(t.Context(), "undrain", LiftRequest{Address: "10.20.0.12"})
		return err
	}
	for _, row := range []struct {
		promise string
		err     error
		status  int
		detail  string
	}{
		{"what is not there", drain("wbe"), http.StatusNotFound, "there is no service wbe"},
		{"what cannot be taken back", undrain(), http.StatusConflict, "no operator drains 10.20.0.12"},
		{"what the daemon could not keep", drain("full"), http.StatusInternalServerError, "the disk is full"},
	} {
		var problem *Problem
		if !errors.As(row.err, &problem) || problem.Status != row.status || problem.Detail != row.detail {
			t.Errorf("%s: got %v", row.promise, row.err)
		}
	}
}

func TestEachVerbIsItsOverride(t *testing.T) {
	client := NewClient(serve(t))
	for verb, kind := range overrideVerbs {
		taken, err := client.Override(t.Context(), verb, OverrideRequest{Service: "web", Address: "10.20.0.12", Weight: 7})
		if err != nil || taken.Kind != kind || taken.Weight != 7 {
			t.Errorf("%s: got %+v, %v", verb, taken, err)
		}
	}
	for verb, kind := range liftVerbs {
		if _, err := client.Lift(t.Context(), verb, LiftRequest{Address: "10.20.0.12"}); err == nil || err.Error() != "no operator "+kind+"s 10.20.0.12" {
			t.Errorf("%s: got %v", verb, err)
		}
	}
	list, err := client.Overrides(t.Context(), "a service", "10.20.0.12")
	if err != nil || list.Overrides[0].Service != "a service" || list.Overrides[0].Address != "10.20.0.12" {
		t.Errorf("the list is %+v, %v", list, err)
	}
	ended, err := client.ClearOverrides(t.Context(), ClearRequest{Service: "web", By: "ada"})
	if err != nil || ended.Overrides[0].Service != "web" || ended.Overrides[0].By != "ada as "+me() {
		t.Errorf("cleared %+v, %v", ended, err)
	}
}

func TestAReloadSaysWhatCameOfIt(t *testing.T) {
	client := NewClient(serve(t))
	done, err := client.Reload(t.Context(), ReloadRequest{By: "ada"})
	if err != nil || done.Services != 2 || done.Path != "/etc/p.hcl" || len(done.Warnings) != 1 {
		t.Errorf("got %+v, %v", done, err)
	}
	var problem *Problem
	_, err = client.Reload(t.Context(), ReloadRequest{})
	if !errors.As(err, &problem) || problem.Status != http.StatusUnprocessableEntity || len(problem.Mistakes) != 1 || problem.Mistakes[0].Line != 3 {
		t.Errorf("of a file with a mistake: got %+v, %v", problem, err)
	}
	if _, err = client.Reload(t.Context(), ReloadRequest{By: "slow"}); !errors.As(err, &problem) || problem.Status != http.StatusInternalServerError {
		t.Errorf("of what could not be done: got %v", err)
	}
}

func TestFlowsAreThoseThatWereAskedFor(t *testing.T) {
	socket := serve(t)
	list, err := NewClient(socket).Flows(t.Context(), FlowsQuery{VIP: "192.0.2.10:443/tcp", Client: "198.51.100.0/24", State: "syn", Limit: 7})
	if err != nil || list.Total != 7 || list.Flows[0].State != "syn" || list.Flows[0].VIP != "to 192.0.2.10/32 port 443 tcp from 198.51.100.0/24" {
		t.Errorf("got %+v, %v", list, err)
	}
	for _, q := range []FlowsQuery{{VIP: "web"}, {Client: "web"}, {Limit: -1}} {
		var problem *Problem
		if _, err := NewClient(socket).Flows(t.Context(), q); !errors.As(err, &problem) || problem.Status != http.StatusBadRequest {
			t.Errorf("%+v: got %v", q, err)
		}
	}
}

func TestAPlanIsThatOfTheDaemon(t *testing.T) {
	plan, err := NewClient(serve(t)).Plan(t.Context())
	if err != nil || plan.Path != "/etc/p.hcl" || !plan.Changes {
		t.Errorf("got %+v, %v", plan, err)
	}
}

func TestAnExplanationIsOfAFlow(t *testing.T) {
	client := NewClient(serve(t))
	e, err := client.Explain(t.Context(), "tcp", "[::ffff:198.51.100.7]:40000", "192.0.2.10:443")
	if err != nil || e.Client != "198.51.100.7:40000" || e.VIP != "192.0.2.10:443/tcp" {
		t.Errorf("got %+v, %v", e, err)
	}
	for _, row := range []struct {
		protocol, client, to string
		status               int
		detail               string
	}{
		{"icmp", "198.51.100.7:1", "192.0.2.10:443", http.StatusBadRequest, `the protocol is "icmp": it may be tcp or udp`},
		{"tcp", "198.51.100.7", "192.0.2.10:443", http.StatusBadRequest, "is not ADDRESS:PORT"},
		{"tcp", "198.51.100.7:1", "web:443", http.StatusBadRequest, "is not ADDRESS:PORT"},
		{"udp", "198.51.100.7:1", "[fe80::1%lo]:443", http.StatusBadRequest, "is not ADDRESS:PORT"},
		{"udp", "198.51.100.7:1", "[2001:db8::10]:443", http.StatusBadRequest, "are of two families"},
		{"udp", "198.51.100.7:1", "192.0.2.10:80", http.StatusNotFound, "192.0.2.10:80/udp is no VIP"},
	} {
		var problem *Problem
		_, err := client.Explain(t.Context(), row.protocol, row.client, row.to)
		if !errors.As(err, &problem) || problem.Status != row.status || !strings.Contains(problem.Detail, row.detail) {
			t.Errorf("%+v: got %v", row, err)
		}
	}
}
