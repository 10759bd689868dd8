package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// eventful is a daemon in which something happens after a while.
type eventful struct {
	fixed
	happens <-chan struct{}
}

func (e eventful) Events(_ string, since uint64) (Events, <-chan struct{}) {
	list := Events{Generation: 7, Events: []Event{}}
	select {
	case <-e.happens:
		list = Events{Generation: 8, Events: []Event{{ID: 8}}}
	default:
	}
	return list, e.happens
}

func TestEventsAreThoseThatWereAskedFor(t *testing.T) {
	client := NewClient(serve(t))
	list, err := client.Events(t.Context(), EventsQuery{Service: "web", Generation: 3, Wait: time.Minute})
	if err != nil || list.SchemaVersion != 1 || list.Generation != 7 || len(list.Events) != 1 || list.Events[0].Service != "web" {
		t.Errorf("got %+v, %v", list, err)
	}
	if list, err = client.Events(t.Context(), EventsQuery{Generation: 1, Wait: time.Minute}); err != nil || !list.Missed {
		t.Errorf("where some are forgotten: got %+v, %v", list, err)
	}
	for _, query := range []string{"generation=x", "generation=-1", "wait=soon", "wait=-1s", "wait=11m&generation=1"} {
		var problem *Problem
		err := client.get(t.Context(), "/v1/events?"+query, &list)
		if !errors.As(err, &problem) || problem.Status != http.StatusBadRequest {
			t.Errorf("%s: got %v", query, err)
		}
	}
}

func TestALongPollForEventsWaitsForOne(t *testing.T) {
	for _, row := range []struct {
		promise, query string
		happens, waits time.Duration
		header         string
	}{
		{"until it happens", "generation=7&wait=30s", 5 * time.Second, 5 * time.Second, "8"},
		{"no longer than it may", "generation=7&wait=30s", time.Hour, 30 * time.Second, "7"},
		{"not at all without a generation", "wait=30s", time.Hour, 0, "7"},
		{"not at all without a time", "generation=7", time.Hour, 0, "7"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				happens := make(chan struct{})
				defer time.AfterFunc(row.happens, func() { close(happens) }).Stop()
				began, recorder := time.Now(), httptest.NewRecorder()
				newRouter(questions(eventful{happens: happens})).ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/events?"+row.query, nil))
				if took := time.Since(began); took != row.waits || recorder.Code != http.StatusOK || recorder.Header().Get(GenerationHeader) != row.header {
					t.Errorf("answered with %d, generation %s, after %s", recorder.Code, recorder.Header().Get(GenerationHeader), took)
				}
			})
		})
	}
}
