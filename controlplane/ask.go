package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

// validateTimeout bounds the questions to Consul before a start or a reload.
const validateTimeout = 5 * time.Second

// objection is what came of asking Consul for the backends of a service, where
// that was not all well.
type objection struct {
	service config.Service
	fault   *consul.Fault
	times   int // how many services it came for
}

// askConsul validates each query by asking it once, as long as Consul answers
// soon. What only time can mend is a warning; the rest are mistakes at their
// places in the file.
func askConsul(ctx context.Context, file *config.File, strict bool) (warnings []string, mistakes config.Errors) {
	if file.Consul == nil {
		return nil, nil
	}
	client, err := consul.Open(settings(*file.Consul))
	if err != nil {
		return nil, config.Errors{file.Mistake(file.Consul.At(""), "Consul cannot be asked with these settings", err.Error())}
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, validateTimeout)
	defer cancel()

	asked, objections := validate(ctx, client, file)
	catalog := catalog{list: client.Names, names: map[string][]string{}}
	for _, o := range once(objections) {
		mistake := o.mistake(file)
		switch {
		case ofTheAgent(o.fault.Reason):
			mistake = agentMistake(file, client.Address(), o, asked)
		case o.fault.Reason == consul.Nobody:
			mistake.Detail = catalog.advice(ctx, query(*o.service.Consul))
		}
		if o.isMistake(strict) {
			mistakes = append(mistakes, mistake)
		} else {
			warnings = append(warnings, inOneLine(mistake))
		}
	}
	warning, err := client.CheckWatches(asked)
	if warning != "" {
		warnings = append(warnings, warning)
	}
	if err != nil {
		mistakes = append(mistakes, file.Mistake(file.Consul.At("max_watches"), "there are too many watches", err.Error()))
	}
	return warnings, mistakes
}

// validate asks for every service, some at a time. The objections are in the
// order of the services.
func validate(ctx context.Context, client *consul.Client, file *config.File) (asked int, objections []objection) {
	faults := make([]error, len(file.Services))
	var asking sync.WaitGroup
	turns := make(chan struct{}, 8)
	for i, s := range file.Services {
		if s.Consul == nil {
			continue
		}
		asked++
		asking.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			faults[i] = client.Validate(ctx, query(*s.Consul))
		})
	}
	asking.Wait()
	for i, err := range faults {
		var fault *consul.Fault
		if errors.As(err, &fault) {
			objections = append(objections, objection{file.Services[i], fault, 1})
		}
	}
	return asked, objections
}

// mistake is an objection at its place in the file.
func (o objection) mistake(file *config.File) config.Error {
	at := o.service.Consul.At("")
	summary := strings.TrimSuffix(fmt.Sprintf("service %q: %v", o.service.Name, o.fault.Err), ".")
	switch o.fault.Reason {
	case consul.BadQuery:
		at = o.service.Consul.At("filter")
	case consul.NoToken:
		at = file.Consul.At("token_file")
	case consul.Nobody:
		at, summary = o.service.Consul.At("service"), o.fault.Err.Error()
	}
	advice := o.fault.Advice
	if o.fault.Reason == consul.NoLeader {
		advice = "this is for Consul's servers to mend: consul operator raft list-peers shows how they are"
	}
	return file.Mistake(at, summary, advice)
}

// isMistake tells what is wrong with the file from what is wrong with Consul. A
// right that is missing may come back, and what runs must outlive its loss, so
// only a strict check calls it a mistake. Who is not there may come at any time.
func (o objection) isMistake(strict bool) bool {
	switch o.fault.Reason {
	case consul.Nobody:
		return false
	case consul.BadQuery, consul.NoToken:
		return true
	}
	return strict
}

// ofTheAgent tells what is wrong with the agent, whoever is asked for.
func ofTheAgent(reason consul.Reason) bool {
	return reason == consul.Unreachable || reason == consul.BadCert || reason == consul.TooMany
}

// once leaves one of the objections that are the agent's, for each reason.
func once(objections []objection) []objection {
	var left []objection
	for _, o := range objections {
		i := slices.IndexFunc(left, func(other objection) bool { return other.fault.Reason == o.fault.Reason })
		if i >= 0 && ofTheAgent(o.fault.Reason) {
			left[i].times++
		} else {
			left = append(left, o)
		}
	}
	return left
}

// agentMistake says what is wrong with the agent, where its address was given.
// One that the environment gives has no place in the file.
func agentMistake(file *config.File, address consul.Origin, o objection, asked int) config.Error {
	at := file.Consul.At("address")
	if address.InEnvironment() {
		at = config.Position{File: at.File}
	}
	switch {
	case o.fault.Reason == consul.BadCert:
		return file.Mistake(file.Consul.At("ca_file"), fmt.Sprintf("asking Consul at %s: %v", address.Value, cause(o.fault)),
			"look at ca_file, cert_file, key_file and tls_server_name, and at their CONSUL_ variables")
	case o.fault.Reason == consul.TooMany:
		return file.Mistake(at, fmt.Sprintf("asking Consul at %s: %v", address.Value, cause(o.fault)), o.fault.Advice)
	case o.times < asked:
		return file.Mistake(at, fmt.Sprintf("Consul at %s left %d of %d questions unanswered: %v", address.Value, o.times, asked, cause(o.fault)),
			"is the agent well? Its log may tell")
	}
	from := "Its address is from " + address.From
	if file.Consul.Address == "" && !address.InEnvironment() {
		from = "Neither the file nor CONSUL_HTTP_ADDR gives another address"
	}
	return file.Mistake(at, fmt.Sprintf("no Consul agent answers at %s: %v", address.Value, cause(o.fault)), "is the agent running? "+from)
}

// cause is what a fault comes from, without what was being asked.
func cause(fault *consul.Fault) error {
	var dialling *net.OpError
	switch inner := errors.Unwrap(fault.Err); {
	case errors.Is(fault.Err, context.DeadlineExceeded):
		return fmt.Errorf("nothing came within %s", validateTimeout)
	case errors.As(fault.Err, &dialling) && dialling.Op == "dial":
		return dialling.Err
	case inner != nil:
		return inner
	}
	return fault.Err
}

// inOneLine is a mistake as a warning, for the log as well.
func inOneLine(m config.Error) string {
	text := fmt.Sprintf("%s: %s", m.Position, m.Summary)
	if m.Detail != "" {
		text += "; " + m.Detail
	}
	return text
}
