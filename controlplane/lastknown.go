package controlplane

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

// lastKnown is what Consul said last, for a daemon that starts while Consul says
// nothing. Nobody changes one that was handed on.
type lastKnown struct {
	secret string              // of the flow hash, in hexadecimal; "" where the file gives it
	sets   map[question]answer // by what was asked
	drains map[desired.Drained]time.Time
}

// question is a query in the one way to write it down. A set belongs to the
// question, not to the service: what the operator asks anew is not answered by
// what was asked before. Where Consul is reached plays no part in it.
type question string

type answer struct {
	confirmed time.Time
	instances []consul.Instance
}

// The file: the body is summed up, so that no damage passes for an address.
type lastKnownFile struct {
	SchemaVersion int             `json:"schema_version"` // 1
	SHA256        string          `json:"sha256"`         // of the body, without white space
	Body          json.RawMessage `json:"body"`
}

type keptBody struct {
	HashSecret string      `json:"hash_secret,omitempty"`
	Sets       []keptSet   `json:"sets"`
	Drains     []keptDrain `json:"drains,omitempty"`
}

// keptDrain is when a drain began, whoever asked for it.
type keptDrain struct {
	Service string    `json:"service"`
	Backend string    `json:"backend"`
	Since   time.Time `json:"since"`
}

type keptSet struct {
	Query     json.RawMessage `json:"query"`
	Confirmed time.Time       `json:"confirmed"`
	Instances []keptInstance  `json:"instances"`
}

type keptInstance struct {
	Node          string     `json:"node"`
	ID            string     `json:"id"`
	Addr          netip.Addr `json:"address"`
	Port          uint16     `json:"port"`
	Status        string     `json:"status"`
	WeightPassing int        `json:"weight_passing"`
	WeightWarning int        `json:"weight_warning"`
	Rejected      string     `json:"rejected,omitempty"`
}

// keptQuery has the fields of a query that decide who answers to it.
type keptQuery struct {
	Service       string   `json:"service"`
	Tags          []string `json:"tags,omitempty"`
	Filter        string   `json:"filter,omitempty"`
	Datacenter    string   `json:"datacenter,omitempty"`
	Namespace     string   `json:"namespace,omitempty"`
	Partition     string   `json:"partition,omitempty"`
	Peer          string   `json:"peer,omitempty"`
	TaggedAddress string   `json:"tagged_address,omitempty"`
	PortName      string   `json:"port_name,omitempty"`
	Resolve       bool     `json:"resolve,omitempty"`
	IgnoreChecks  []string `json:"ignore_checks,omitempty"`
}

// asked is the question that a service puts to Consul.
func asked(c *config.Consul, s config.ConsulSource) question {
	text, err := json.Marshal(keptQuery{
		Service: s.Service, Tags: s.Tags, Filter: s.Filter,
		Datacenter: cmp.Or(s.Datacenter, c.Datacenter),
		Namespace:  cmp.Or(s.Namespace, c.Namespace),
		Partition:  cmp.Or(s.Partition, c.Partition),
		Peer:       s.Peer, TaggedAddress: s.TaggedAddress, PortName: s.PortName,
		Resolve: s.Resolve, IgnoreChecks: s.IgnoreChecks,
	})
	if err != nil {
		panic(fmt.Sprintf("marshalling a query: %v", err)) // plain values always marshal
	}
	return question(text)
}

// encode writes the file.
func (l lastKnown) encode() []byte {
	body := keptBody{HashSecret: l.secret, Sets: []keptSet{}}
	for q, a := range l.sets {
		set := keptSet{Query: json.RawMessage(q), Confirmed: a.confirmed, Instances: []keptInstance{}}
		for _, i := range a.instances {
			set.Instances = append(set.Instances, keptInstance{
				Node: i.Node, ID: i.ID, Addr: i.Addr, Port: i.Port, Status: i.Status.String(),
				WeightPassing: i.WeightPassing, WeightWarning: i.WeightWarning, Rejected: i.Rejected,
			})
		}
		body.Sets = append(body.Sets, set)
	}
	slices.SortFunc(body.Sets, func(a, b keptSet) int { return bytes.Compare(a.Query, b.Query) })
	for of, since := range l.drains {
		body.Drains = append(body.Drains, keptDrain{of.Service, of.Backend.String(), since})
	}
	slices.SortFunc(body.Drains, func(a, b keptDrain) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Backend, b.Backend))
	})
	compact, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("marshalling what is known: %v", err)) // plain values always marshal
	}
	text, err := json.MarshalIndent(lastKnownFile{1, sumOf(compact), compact}, "", " ")
	if err != nil {
		panic(fmt.Sprintf("marshalling what is known: %v", err))
	}
	return append(text, '\n')
}

func sumOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

var (
	errDamaged = errors.New("it is damaged")
	errForeign = errors.New("it is of another version of pointsman")
)

// decodeLastKnown reads the file. An error is errDamaged or errForeign.
func decodeLastKnown(text []byte) (lastKnown, error) {
	var file lastKnownFile
	if err := json.Unmarshal(text, &file); err != nil {
		return lastKnown{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if file.SchemaVersion != 1 {
		return lastKnown{}, fmt.Errorf("%w, with schema version %d", errForeign, file.SchemaVersion)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, file.Body); err != nil {
		return lastKnown{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if sumOf(compact.Bytes()) != file.SHA256 {
		return lastKnown{}, fmt.Errorf("%w: its checksum is wrong", errDamaged)
	}
	var body keptBody
	if err := json.Unmarshal(compact.Bytes(), &body); err != nil {
		return lastKnown{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	known := lastKnown{secret: body.HashSecret, sets: map[question]answer{}, drains: map[desired.Drained]time.Time{}}
	for _, set := range body.Sets {
		a := answer{confirmed: set.Confirmed}
		for _, i := range set.Instances {
			a.instances = append(a.instances, consul.Instance{
				Node: i.Node, ID: i.ID, Addr: i.Addr, Port: i.Port, Status: statusNamed(i.Status),
				WeightPassing: i.WeightPassing, WeightWarning: i.WeightWarning, Rejected: i.Rejected,
			})
		}
		known.sets[question(set.Query)] = a
	}
	for _, k := range body.Drains {
		id, err := parseID(k.Backend)
		if err != nil {
			return lastKnown{}, fmt.Errorf("%w: %w", errDamaged, err)
		}
		known.drains[desired.Drained{Service: k.Service, Backend: id}] = k.Since
	}
	return known, nil
}

// statusNamed reads what consul.Status prints. What is none of its words is
// critical: what nobody vouches for does not serve.
func statusNamed(word string) consul.Status {
	for _, s := range []consul.Status{consul.Passing, consul.Warning, consul.Maintenance} {
		if s.String() == word {
			return s
		}
	}
	return consul.Critical
}
