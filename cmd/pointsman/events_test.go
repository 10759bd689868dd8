package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pointsman/pointsman/controlplane/api"
)

func TestFollowingEventsGoesOnOverARestartOfTheDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var asked []uint64
		answers := []func() (api.Events, error){
			func() (api.Events, error) { return api.Events{Generation: 4, Events: happened[1:2]}, nil },
			func() (api.Events, error) { return api.Events{}, &api.UnreachableError{Err: errors.New("refused")} },
			func() (api.Events, error) { return api.Events{}, errors.New("reading the answer: EOF") },
			func() (api.Events, error) { return api.Events{Generation: 4}, nil }, // the wait was over
			func() (api.Events, error) {
				return api.Events{Generation: 5000, Missed: true, Events: happened[2:3]}, nil
			},
		}
		ask := func(ctx context.Context, q api.EventsQuery) (api.Events, error) {
			asked = append(asked, q.Generation)
			if q.Wait != followWait || q.Service != "web" {
				t.Errorf("asked %+v", q)
			}
			if len(asked) > len(answers) {
				cancel()
				return api.Events{}, ctx.Err()
			}
			return answers[len(asked)-1]()
		}
		var out, messages bytes.Buffer
		f := eventFollower{ask: ask, service: "web", out: &out, messages: &messages}
		if err := f.follow(ctx, api.Events{Generation: 3, Events: happened[:1]}); err != nil {
			t.Error(err)
		}
		golden(t, "events-follow.txt", out.String())
		if want := "the daemon does not answer, waiting for it\nsome events are forgotten already\n"; messages.String() != want {
			t.Errorf("said %q, want %q", messages.String(), want)
		}
		if want := []uint64{3, 4, 4, 4, 4, 5000}; len(asked) != len(want) || asked[0] != 3 || asked[5] != 5000 {
			t.Errorf("asked for what is after %v, want %v", asked, want)
		}
	})
}

func TestFollowingEventsEndsWithWhatTheDaemonObjectsTo(t *testing.T) {
	f := eventFollower{out: &bytes.Buffer{}, json: true, ask: func(context.Context, api.EventsQuery) (api.Events, error) {
		return api.Events{}, api.NewProblem(400, "generation is no number")
	}}
	if err := f.follow(t.Context(), api.Events{}); err == nil || !strings.Contains(err.Error(), "is no number") {
		t.Errorf("got %v", err)
	}
}

func TestEventsAsJSONAreALineEach(t *testing.T) {
	var out bytes.Buffer
	f := eventFollower{out: &out, json: true}
	if err := f.print(api.Events{Events: happened[2:4]}); err != nil {
		t.Fatal(err)
	}
	golden(t, "events-follow.json", out.String())
}
