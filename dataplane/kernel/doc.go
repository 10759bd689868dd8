// Package kernel puts the data plane's tables into the kernel: it loads, pins
// and attaches the program of bpf/lb.bpf.c, and reads and writes its maps. It
// is the only package that knows byte order and map layouts.
package kernel
