// Package devices proves that the kernel's own tunnel devices serve as backends,
// by the very commands of README.md. Kernels without these devices cannot run it,
// so it is built with the tag "kernels" only, for make test-kernels.
package devices
