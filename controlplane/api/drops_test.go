package api

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
)

func TestDropsAreHeardOfAsTheyHappen(t *testing.T) {
	client := NewClient(serve(t))
	ctx, leave := context.WithCancel(t.Context())
	var heard []Drop
	err := client.Drops(ctx, DropsQuery{Reasons: []string{"DROP_LOOP"}, VIP: "192.0.2.10:80", Client: "198.51.100.7"}, func(d Drop) error {
		if heard = append(heard, d); len(heard) == 2 {
			leave() // the stream goes on
		}
		return nil
	})
	want := []Drop{{SchemaVersion: 1}, {SchemaVersion: 1, Reason: "DROP_LOOP", Destination: "to 192.0.2.10/32 port 80 from 198.51.100.7/32", NotShown: 3}}
	if !errors.Is(err, context.Canceled) || !reflect.DeepEqual(heard, want) {
		t.Errorf("heard %+v, then %v; want %+v", heard, err, want)
	}
}

func TestListeningToDropsIsRefusedInWords(t *testing.T) {
	never := func(d Drop) error { t.Errorf("heard %+v", d); return nil }
	client := NewClient(serve(t))
	for _, row := range []struct {
		query  DropsQuery
		status int
	}{
		{DropsQuery{Reasons: []string{"DROP_LOOP", "DROP_IT"}}, 404},
		{DropsQuery{VIP: "web"}, 400},
	} {
		var problem *Problem
		if err := client.Drops(t.Context(), row.query, never); !errors.As(err, &problem) || problem.Status != row.status {
			t.Errorf("%+v is answered by %v", row.query, err)
		}
	}
	var unreachable *UnreachableError
	err := NewClient(filepath.Join(t.TempDir(), "nobody.sock")).Drops(t.Context(), DropsQuery{}, never)
	if !errors.As(err, &unreachable) {
		t.Errorf("nobody answers by %v", err)
	}
}

func TestAListenerHearsThatTheDaemonHasGone(t *testing.T) {
	socket, end := served(t)
	var unreachable *UnreachableError
	err := NewClient(socket).Drops(t.Context(), DropsQuery{Reasons: []string{"DROP_LOOP"}}, func(d Drop) error {
		if d.Reason != "" {
			end()
		}
		return nil
	})
	if !errors.As(err, &unreachable) {
		t.Errorf("it hears %v", err)
	}
}
