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

	ACL bool // deny by default; Client uses the management token
	TLS bool // serve HTTPS, and so HTTP/2, beside HTTP
	// VerifyIncoming makes HTTPS clients show a certificate.
	VerifyIncoming bool
}

// Agent is a running agent: server, leader and client in one, in memory.
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
	if options.Log == nil {
		options.Log = func(string, ...any) {}
	}
	options.Address = or(options.Address, "127.0.0.1")
	options.Node = or(options.Node, "lab")
	if options.Start == nil {
		options.Start = start
	}
	// The ports were free when they were chosen, and may not be when they are used.
	for attempt := 1; ; attempt++ {
		a, err := startOnce(ctx, options)
		if err == nil || attempt == 3 || !strings.Contains(err.Error(), "address already in use") {
			return a, err
		}
	}
}

func startOnce(ctx context.Context, options Options) (*Agent, error) {
	directory, err := os.MkdirTemp(options.Parent, "consul-")
	if err != nil {
		return nil, err
	}
	a := &Agent{Directory: directory, LogFile: filepath.Join(directory, "agent.log"), options: options}
	if err := a.prepare(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(directory))
	}
	if err := a.Restart(ctx); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	return a, nil
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

// Restart starts the agent again on the same ports, after Kill. It keeps
// nothing in between, as an agent in memory does.
func (a *Agent) Restart(ctx context.Context) error {
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
	if err := a.await(ctx); err != nil {
		return fmt.Errorf("waiting for consul to lead: %w; the end of its log:\n%s", err, a.tail())
	}
	a.options.Log("consul %d serves at %s", a.Pid(), or(a.HTTPS, a.HTTP))
	return nil
}

// await polls, since an agent tells nobody when it is ready.
func (a *Agent) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		problem := a.ready(ctx)
		if problem == nil {
			return nil
		}
		select {
		case <-a.ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), problem)
		case <-tick.C:
		}
	}
}

// ready asks for a consistent list of nodes, which needs a leader that has caught up.
func (a *Agent) ready(ctx context.Context) error {
	options := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	nodes, _, err := a.api.Catalog().Nodes(options)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
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

// connect makes the client for Client, without a look at the environment.
func (a *Agent) connect() error {
	transport := &http.Transport{DialContext: a.options.Dial, MaxIdleConnsPerHost: 16}
	client, err := api.NewClient(&api.Config{
		Address:    a.HTTP,
		Token:      or(a.Token, "anonymous"),
		HttpClient: &http.Client{Transport: transport},
	})
	a.api = client
	return err
}
