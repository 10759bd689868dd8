// Package stories proves on the whole program, in a lab of network namespaces
// with real clients, what an operator is promised. There is one story to a file,
// and what it needs of a stage is in stage_test.go.
package stories
