package kernel

// As for the balancer in generate.go: relative paths, so that any checkout
// gives the same bytes.
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type decap_outcome -type decap_vip -type decap_prefix -type decap_port -type decap_vip_ports decap ../../bpf/decap.bpf.c -- -I../../bpf -idirafter /usr/include/x86_64-linux-gnu -O2 -Wall -Wextra -Werror -fno-strict-aliasing
