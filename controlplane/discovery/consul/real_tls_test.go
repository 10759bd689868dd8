package consul

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	agents "github.com/pointsman/pointsman/test/consul"
)

func TestConsulOverHTTP2ManyWatchesShareAConnection(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, agents.Options{TLS: true, VerifyIncoming: true})
	queries := map[string]Query{"web": {Service: "web"}}
	for i := range 199 {
		service := fmt.Sprintf("service-%d", i)
		queries[service] = Query{Service: service}
	}
	settings := Settings{Address: agent.HTTPS, CAFile: agent.CAFile, CertFile: agent.CertFile, KeyFile: agent.KeyFile}
	r := watchReal(t, agent, settings, queries)
	seen := map[string]bool{}
	r.until("all services", func(v View) bool { seen[v.Service] = seen[v.Service] || v.Known(); return len(seen) == 200 })
	r.register("a")
	r.until("a change among them", is("a:passing "))
	t.Logf("200 watches took %d connections", r.dials.Load())
	if n := r.dials.Load(); n > 2 {
		t.Errorf("200 watches took %d connections, want one", n)
	}
	if warning, err := r.client.CheckWatches(200); warning != "" || err != nil {
		t.Errorf("over HTTPS 200 watches are warned of: %s %v", warning, err)
	}
}

func TestConsulClientCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, agents.Options{TLS: true, VerifyIncoming: true})
	settings := Settings{Address: agent.HTTPS, CAFile: agent.CAFile, CertFile: agent.CertFile, KeyFile: agent.KeyFile}
	r := watchReal(t, agent, settings, web)
	r.until("an empty catalog", is(""))
	r.must(os.WriteFile(agent.CertFile, []byte("half a certificate"), 0o600))
	r.must(agent.Kill())
	r.must(agent.Restart(t.Context()))
	v := r.until("the broken certificate to be read", because(BadCert))
	if !strings.Contains(v.Err.Error(), "reading the client certificate") {
		t.Errorf("the error is %v", v.Err)
	}
	r.must(agent.RenewClientCertificate())
	r.until("the renewed one to be used", is(""))
}

func TestConsulOfAnotherAuthorityIsNotTrusted(t *testing.T) {
	t.Parallel()
	agent, other := startAgent(t, agents.Options{TLS: true}), startAgent(t, agents.Options{TLS: true})
	r := watchReal(t, agent, Settings{Address: agent.HTTPS, CAFile: other.CAFile}, web)
	if v := r.until("the certificate to be refused", because(BadCert)); v.Known() {
		t.Errorf("a view from an agent that is not trusted: %+v", v)
	}
}

func TestConsulOverPlainHTTPAWatchTakesAConnectionAndKeepsIt(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, agents.Options{})
	queries := map[string]Query{}
	for i := range 20 {
		service := fmt.Sprintf("service-%d", i)
		queries[service] = Query{Service: service}
	}
	r := watchReal(t, agent, Settings{}, queries)
	r.never("three rounds of questions", 5*time.Second, func(v View) bool { return v.Err != nil })
	t.Logf("20 watches dialled %d times", r.dials.Load())
	// A connection that comes free while another is being dialled makes one too many.
	if n := r.dials.Load(); n > 30 {
		t.Errorf("20 watches dialled %d times in three rounds", n)
	}
}
