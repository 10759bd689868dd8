// Package devices proves what needs devices that not every kernel has: that the
// kernel's own tunnel devices serve as backends, by the very commands of README.md,
// and that backends are reached over VLANs and bonds. Kernels without these devices
// cannot run it, so it is built with the tag "kernels" only, for make test-kernels.
package devices
