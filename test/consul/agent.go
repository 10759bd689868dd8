package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// Options say what kind of agent to start. The zero value is a plain HTTP agent
// on loopback without access rules.
type Options struct {
	Binary  string // as Find returned it
	Log     Log    // nil is silent
	Address string // where it listens; empty is 127.0.0.1
	Node    string // its node name; empty is "lab"
	Parent  string // where Agent.Directory is made; empty is os.TempDir()

	// Start starts the prepared command and reaps it; the channel is closed once
	// the process has ended. A lab's starts it in a network namespace.
	Start func(*exec.Cmd) (ended <-chan struct{}, err error)
	// Dial connects to the agent for Client; a lab's dials in the namespace.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Limit is how many connections a client's address may have; 0 is Consul's 200.
	Limit int

	ACL bool // deny by default; Client uses the management token
	TLS bool // serve HTTPS, and so HTTP/2, beside HTTP
	// VerifyIncoming makes HTTPS clients show a certificate.
	VerifyIncoming bool
}

// Agent is a running agent: server, leader and client in one, in memory, or a
// member of a Cluster.
type Agent struct {
	HTTP      string // http://address:port
	HTTPS     string // https://address:port; empty without TLS
	Token     string // the management token; empty without ACL
	CAFile    string // signed the agent's certificate and the client's
	CertFile  string // a client certificate
	KeyFile   string
	LogFile   string
	Directory string // holds all of the above and is removed by Stop

	options   Options
	member    *member // of a cluster; nil is alone
	ports     ports
	authority authority
	api       *api.Client
	cmd       *exec.Cmd
	ended     <-chan struct{} // closed once cmd is over
}

// managementToken is the same for every agent: they live for a test and listen
// where only the test is.
const managementToken = "c0ffee00-0000-4000-8000-000000000001"

// startLimit is how long an agent may take to lead; about one second is usual.
const startLimit = 60 * time.Second

// Start starts an agent and returns when it leads and knows its own node.
func Start(ctx context.Context, options Options) (*Agent, error) {
	options = options.withDefaults()
	options.Node = or(options.Node, "lab")
	for attempt := 1; ; attempt++ {
		a, err := startOnce(ctx, options)
		if err == nil || attempt == 3 || !portTaken(err) {
			return a, err
		}
	}
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	o.Address = or(o.Address, "127.0.0.1")
	if o.Start == nil {
		o.Start = start
	}
	return o
}

// portTaken tells whether another agent may be luckier: the ports were free when
// they were chosen, and may not be when they are used.
func portTaken(err error) bool { return strings.Contains(err.Error(), "address already in use") }

func startOnce(ctx context.Context, options Options) (*Agent, error) {
	a, err := newAgent(options)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(a.choosePorts(), a.prepare()); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	if err := a.Restart(ctx); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	return a, nil
}

func newAgent(options Options) (*Agent, error) {
	directory, err := os.MkdirTemp(options.Parent, "consul-")
	return &Agent{Directory: directory, LogFile: filepath.Join(directory, "agent.log"), options: options}, err
}

func or(first, second string) string {
	if first != "" {
		return first
	}
	return second
}

// Client asks the agent over HTTP, with the management token where there is one.
func (a *Agent) Client() *api.Client { return a.api }

// Pid is the agent's process id.
func (a *Agent) Pid() int { return a.cmd.Process.Pid }

// Restart starts the agent again on the same ports, after Kill, and waits until
// it has a leader. One in memory has kept nothing; a member has its data.
func (a *Agent) Restart(ctx context.Context) error {
	if err := a.launch(); err != nil {
		return err
	}
	return a.awaitReady(ctx)
}

// RestartAlone is Restart for an agent whose servers are gone: it waits only until
// the agent takes connections.
func (a *Agent) RestartAlone(ctx context.Context) error {
	if err := a.launch(); err != nil {
		return err
	}
	return a.await(ctx, "to listen", func(ctx context.Context) error {
		conn, err := a.dial(ctx)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (a *Agent) launch() error {
	log, err := os.OpenFile(a.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	a.cmd = exec.Command(a.options.Binary, a.arguments()...)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	a.cmd.Env = append(withoutConsul(os.Environ()), "GOMAXPROCS=2")
	a.cmd.Dir = a.Directory
	a.ended = nil
	ended, err := a.options.Start(a.cmd)
	if err != nil {
		return fmt.Errorf("starting %s: %w", a.options.Binary, err)
	}
	a.ended = ended
	return nil
}

func (a *Agent) awaitReady(ctx context.Context) error {
	err := a.await(ctx, "to lead or be led", a.ready)
	if err == nil {
		a.options.Log("consul %d, %s, serves at %s", a.Pid(), a.options.Node, or(a.HTTPS, a.HTTP))
	}
	return err
}

// await polls, since an agent tells nobody when it is ready.
func (a *Agent) await(ctx context.Context, what string, problem func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := problem(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-a.ended:
			err = errors.New("it ended")
		case <-ctx.Done():
			err = errors.Join(ctx.Err(), err)
		case <-tick.C:
			continue
		}
		return fmt.Errorf("waiting for consul %s: %w; the end of its log:\n%s", what, err, a.tail())
	}
}

// ready asks for a consistent list of nodes, which needs a leader that has caught
// up. The agent's own must be in it.
func (a *Agent) ready(ctx context.Context) error {
	options := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	nodes, _, err := a.api.Catalog().Nodes(options)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(nodes, func(n *api.Node) bool { return n.Node == a.options.Node }) {
		return errors.New("the agent's own node is not in the catalog yet")
	}
	return nil
}

func (a *Agent) tail() string {
	text, err := os.ReadFile(a.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// answerLimit is more than any answer takes that is not waited for: servers give up a
// question after a minute.
const answerLimit = 2 * time.Minute

// connect makes the client for Client, without a look at the environment.
func (a *Agent) connect() error {
	transport := &http.Transport{DialContext: a.options.Dial, MaxIdleConnsPerHost: 16}
	client, err := api.NewClient(&api.Config{
		Address:    a.HTTP,
		Token:      or(a.Token, "anonymous"),
		HttpClient: &http.Client{Transport: transport, Timeout: answerLimit},
	})
	a.api = client
	return err
}
