package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// route is something that can be asked for, or wished.
type route struct {
	method string   // GET, as which HEAD counts, or POST
	path   string   // exactly, so that no other spelling of it leads there
	query  []string // the parameters that it knows; anyQuery is all
	polled bool     // it can be waited for, by ?wait=30s&generation=N
	handle http.HandlerFunc
}

var anyQuery = []string{"*"}

// router answers requests by a table of routes. Whatever is not in there is
// refused by a problem document.
type router map[string]map[string]route

func newRouter(routes ...[]route) router {
	r := router{}
	for _, one := range slices.Concat(routes...) {
		if r[one.path] == nil {
			r[one.path] = map[string]route{}
		}
		r[one.path][one.method] = one
	}
	return r
}

func (router router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// A client that does not read must not hold us for ever. Where deadlines cannot be
	// set there is no connection that could be slow.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	methods, known := router[r.URL.EscapedPath()]
	if !known {
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is no %s", r.URL.EscapedPath()))
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	found, known := methods[method]
	if !known {
		w.Header().Set("Allow", allowed(methods))
		refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s", r.URL.Path, allowed(methods)))
		return
	}
	if err := found.checkQuery(r.URL.RawQuery); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	found.handle(w, r)
}

func allowed(methods map[string]route) string {
	var all []string
	for method := range methods {
		all = append(all, method)
		if method == http.MethodGet {
			all = append(all, http.MethodHead)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// checkQuery refuses parameters that would be passed over: ?servcie=web must not
// be answered with all services.
func (r route) checkQuery(raw string) error {
	given, err := url.ParseQuery(raw)
	if err != nil {
		return fmt.Errorf("the query cannot be read: %w", err)
	}
	for name, values := range given {
		switch {
		case slices.Equal(r.query, anyQuery), slices.Contains(r.query, name+"..."):
		case r.polled && (name == "wait" || name == "generation"), slices.Contains(r.query, name):
			if len(values) > 1 {
				return fmt.Errorf("parameter %q is given %d times", name, len(values))
			}
		default:
			return fmt.Errorf("there is no parameter %q of %s", name, r.path)
		}
	}
	return nil
}

// parameters are those of the query, those of a long poll among them.
func (r route) parameters() []string {
	all := slices.Clone(r.query)
	if r.polled {
		all = append(all, "generation", "wait")
	}
	return all
}
