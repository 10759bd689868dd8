package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
)

// reloader reads the configuration anew at each signal and request, one at a
// time, beside the loop, because Consul may take its time.
type reloader struct {
	load     load
	inbox    *inbox
	log      *slog.Logger
	began    func() // to read
	ended    func() // the loop has taken what was read, or refused it
	requests chan chan<- loaded
}

// load reads a configuration; tests put another in its place.
type load func(context.Context) (*config.File, []string, error)

func newReloader(load load, inbox *inbox, log *slog.Logger) *reloader {
	return &reloader{load: load, inbox: inbox, log: log, began: func() {}, ended: func() {}, requests: make(chan chan<- loaded)}
}

// Run reloads until the context is over.
func (r *reloader) Run(ctx context.Context, signals <-chan os.Signal) error {
	for {
		var answer chan<- loaded
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
		case answer = <-r.requests:
		}
		r.log.Info("reading the configuration again")
		r.began()
		file, warnings, err := r.load(ctx)
		if ctx.Err() != nil {
			return nil
		}
		outcome := loaded{file: file, warnings: warnings, err: err, at: time.Now(), taken: make(chan struct{})}
		r.inbox.reloaded(outcome)
		select {
		case <-ctx.Done():
			return nil
		case <-outcome.taken:
		}
		r.ended()
		if answer != nil {
			answer <- outcome
		}
	}
}

// request reloads, and returns when the loop has taken what was read.
func (r *reloader) request(ctx context.Context) (loaded, error) {
	answer := make(chan loaded, 1)
	select {
	case <-ctx.Done():
		return loaded{}, ctx.Err()
	case r.requests <- answer:
	}
	select {
	case <-ctx.Done():
		return loaded{}, ctx.Err()
	case outcome := <-answer:
		return outcome, nil
	}
}

// Reload reads the configuration again, for the API, and says what came of it.
func (d *daemon) Reload(ctx context.Context, by string) (api.Reload, error) {
	d.log.Info("asked to read the configuration again", "by", by)
	outcome, err := d.reloader.request(ctx)
	var mistakes config.Errors
	switch {
	case err != nil:
		return api.Reload{}, fmt.Errorf("waiting for the configuration to be read: %w", err)
	case errors.As(outcome.err, &mistakes):
		return api.Reload{}, mistaken(d.path, mistakes, outcome.warnings)
	case outcome.err != nil:
		return api.Reload{}, outcome.err
	}
	p := d.published.Load()
	done := api.Reload{
		SchemaVersion: api.SchemaVersion, Path: d.path, Loaded: outcome.at, Services: len(outcome.file.Services),
		Warnings: slices.Concat([]string{}, outcome.warnings, p.loaded.pending),
	}
	if p.lastApply != nil && p.lastApply.err != nil {
		done.Warnings = append(done.Warnings, "the tables could not be written yet: "+p.lastApply.err.Error())
	}
	return done, nil
}

// mistaken is the answer to who asked for a file with mistakes.
func mistaken(path string, mistakes config.Errors, warnings []string) *api.Problem {
	problem := api.NewProblem(http.StatusUnprocessableEntity, fmt.Sprintf("%s has mistakes; the configuration before goes on", path))
	problem.Path, problem.Warnings = path, warnings
	for _, m := range mistakes {
		problem.Mistakes = append(problem.Mistakes, api.Mistake{
			File: m.File, Line: m.Line, Column: m.Column, Source: m.Source, Summary: m.Summary, Detail: m.Detail,
		})
	}
	return problem
}
