package consul

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	agents "github.com/pointsman/pointsman/test/consul"
)

// grant makes a policy of rules and a token with it, in a file.
func (r *real) grant(name, rules string) (file, accessor string) {
	r.Helper()
	acl := r.agent.Client().ACL()
	_, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil)
	r.must(err)
	token, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: name}}}, nil)
	r.must(err)
	file = filepath.Join(r.TempDir(), "token")
	r.must(os.WriteFile(file, []byte(token.SecretID+"\n"), 0o600))
	return file, token.AccessorID
}

func TestConsulTokensThatLoseTheirRightsHoldTheView(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, agents.Options{ACL: true})
	setup := &real{T: t, agent: agent}
	for _, id := range []string{"a", "b", "c"} {
		setup.register(id)
	}
	all := is("a:passing b:passing c:passing ")
	rights := serviceRight + "\n" + nodeRight

	t.Run("the policy is stripped, and given back", func(t *testing.T) {
		file, _ := (&real{T: t, agent: agent}).grant("stripped", rights)
		r := watchReal(t, agent, Settings{TokenFile: file}, web)
		r.until("three instances", all)
		policy, _, err := agent.Client().ACL().PolicyReadByName("stripped", nil)
		r.must(err)
		policy.Rules = `key_prefix "" { policy = "read" }`
		_, _, err = agent.Client().ACL().PolicyUpdate(policy, nil)
		r.must(err)
		t.Log(r.until("the view to be held", because(Filtered)).Err)
		r.never("without rights", 3*time.Second, loses(3))
		policy.Rules = rights
		_, _, err = agent.Client().ACL().PolicyUpdate(policy, nil)
		r.must(err)
		r.until("rights to work again", all)
	})
	t.Run("the token is deleted, and the file gets another", func(t *testing.T) {
		file, accessor := (&real{T: t, agent: agent}).grant("deleted", rights)
		r := watchReal(t, agent, Settings{TokenFile: file}, web)
		r.until("three instances", all)
		_, err := agent.Client().ACL().TokenDelete(accessor, nil)
		r.must(err)
		t.Log(r.until("the view to be held", because(Forbidden)).Err)
		r.never("without a token", 3*time.Second, loses(3))
		other, _ := r.grant("another", rights)
		text, err := os.ReadFile(other)
		r.must(err)
		r.must(os.WriteFile(file, text, 0o600))
		r.until("the new token to be used", all)
	})
}
