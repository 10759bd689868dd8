package kernel

// Clang 19 and libbpf-dev's helpers; paths in debug information are relative to
// this folder, so that any checkout gives the same bytes.
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type outcome -type drop -type captured -type forward -type vip_key -type vip -type vip_line -type vip_place -type vip_entry -type slot_line -type backend -type backend_count -type service -type address -type phase -type vip_flag -type vip_address -type switch_words -type fragment_key -type fragment_way -type held_fragment -type condition -type flow_bucket -type flow_event -type wide_prefix -type wide_prefix_key -type wide_vip_key -type quic_key -type layout -type layout_version -type map_types -type connection -type tag_line -type connection_state -type reply_line -type nat_settings lb ../../bpf/lb.bpf.c -- -I../../bpf -idirafter /usr/include/x86_64-linux-gnu -O2 -mcpu=v3 -Wall -Wextra -Werror -fno-strict-aliasing
