# One target for each intention. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: help build demo lab test test-kernels smoke-kernels bench bench-live bench-converge bench-control bench-compare lint generate check-generated consul packages test-packages clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/pointsman, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/pointsman ./cmd/pointsman

demo: build host ## see it work: a lab, clients, a failing backend (CONSUL=1: with a real Consul)
	$(GO) run ./test/demo $(if $(CONSUL),--consul)

lab: build host ## leave the demo's lab up and say what to type next
	$(GO) run ./test/demo --stay $(if $(CONSUL),--consul)

test: host ## all tests, those that need root included
	$(GO) test -json -timeout 20m ./... | $(GO) run ./test/report -strict

KERNELS ?= 6.1 6.12
PACKETS := ^TestPrivileged(EveryKind|PacketsFor|PacketsThat|Traffic|TheProgramDoes|Headers|Fragments|Wide|ThePacketGoes|AQUICPacket|ICMP|EchoRequests|AConnection|AnErrorAbout|AChecksum|Refusals|ACapture|ADrop|AFloodOfDrops|TheKernelHolds|ARestart|Attach|DetachLeaves|Decap)

test-kernels: build ## packets, restarts, the kernel's own tunnels, VLANs and bonds, the unit under systemd inside Debian's kernels, emulated (KERNELS="6.1 6.12")
	@for tool in qemu-system-x86_64 iperf3 ping systemctl; do command -v $$tool >/dev/null || \
	  { echo "$$tool is missing: apt-get install qemu-system-x86 iperf3 iputils-ping systemd"; exit 1; }; done
	$(GO) build -o bin/vm ./test/vm
	bin/vm fetch $(KERNELS)
	@for kernel in $(KERNELS); do echo "== Linux $$kernel"; \
	  CGO_ENABLED=0 POINTSMAN_BINARY="$$PWD/bin/pointsman" $(GO) test -count=1 -short -timeout 15m -run '$(PACKETS)' \
	    -exec "$$PWD/bin/vm run -kernel $$kernel" ./dataplane/kernel; \
	  CGO_ENABLED=0 POINTSMAN_BINARY="$$PWD/bin/pointsman" $(GO) test -count=1 -tags kernels -timeout 15m \
	    -exec "$$PWD/bin/vm run -kernel $$kernel -with $$PWD/README.md -with $$PWD/bin/pointsman -with $$(command -v ip) -with $$(command -v sysctl) -with $$(command -v sh) -with $$(command -v iperf3) -with $$(command -v ping)" ./test/devices; \
	  CGO_ENABLED=0 POINTSMAN_BINARY="$$PWD/bin/pointsman" $(GO) test -count=1 -tags kernels -timeout 15m -run SystemdRunsTheUnit \
	    -exec "$$PWD/bin/vm run -systemd -kernel $$kernel -with $$PWD/packaging/pointsman.service -with $$PWD/bin/pointsman" ./test/unit; done

# Every program is loaded and sees packets: balancer (all modes and families, nat,
# fragments that are held), capture, decap on both ways; a restart; drops that are told.
SMOKE := ^TestPrivileged(EveryKind|ADatagramKeeps|AFragmentBefore|ACaptureSeesPackets|ADropIsTold|ARestartAdopts|DecapAttaches|DecapsulatesEvery|DecapMapsAnswers)

smoke-kernels: ## load and run every program inside Debian's kernels, in a minute (KERNELS="6.1 6.12")
	@command -v qemu-system-x86_64 >/dev/null || { echo "qemu-system-x86_64 is missing: apt-get install qemu-system-x86"; exit 1; }
	$(GO) build -o bin/vm ./test/vm
	bin/vm fetch $(KERNELS)
	CGO_ENABLED=0 $(GO) test -c -o bin/kernel.test ./dataplane/kernel
	@cd dataplane/kernel; running=; for kernel in $(KERNELS); do \
	  { ../../bin/vm run -kernel $$kernel ../../bin/kernel.test -test.short -test.v -test.timeout 10m -test.run '$(SMOKE)' \
	    | $(GO) tool test2json -p "Linux $$kernel" | $(GO) run ../../test/report -strict; } & running+=" $$!"; done; \
	failed=0; for pid in $$running; do wait $$pid || failed=1; done; exit $$failed

BENCH ?=
QUICK ?=
bench: host ## a packet, timed in all scenarios, in 5 minutes (QUICK=1: 1 minute; BENCH=regexp: some; BENCH_JSON=FILE: for machines)
	BENCH='$(BENCH)' BENCH_QUICK='$(QUICK)' BENCH_JSON='$(if $(BENCH_JSON),$(abspath $(BENCH_JSON)))' BENCH_SVG='$(if $(BENCH_SVG),$(abspath $(BENCH_SVG)))' \
	  $(GO) test -count=1 -timeout 15m -run '^$$' -bench PrivilegedPackets -benchtime 1x ./dataplane/kernel

LIVE_KERNEL ?= 6.12
LIVE_MODULES := ip_vs ip_vs_mh nf_tables nft_chain_nat nft_nat nft_masq nft_ct nft_hash nft_fwd_netdev nf_flow_table_inet nft_flow_offload
bench-live: build host ## packets and connections through balancers side by side: nftables, HAProxy, and in an emulated Debian IPVS, in 3 minutes (LIVE_KERNEL=: without; BENCH_JSON=FILE)
	$(GO) run ./test/live $(if $(BENCH_JSON),-json $(abspath $(BENCH_JSON)))
	@echo "== and while six commands and top look on"
	$(GO) run ./test/live -only 'pointsman-(ipip|watched)'
	@[ -n '$(LIVE_KERNEL)' ] || exit 0; \
	for tool in qemu-system-x86_64 ipvsadm; do command -v $$tool >/dev/null || \
	  { echo "without IPVS: $$tool is missing: apt-get install qemu-system-x86 ipvsadm"; exit 0; }; done; \
	$(GO) build -o bin/vm ./test/vm; \
	bin/vm fetch $(LIVE_KERNEL) || { echo "without IPVS: there is no Linux $(LIVE_KERNEL)"; exit 0; }; \
	CGO_ENABLED=0 $(GO) build -o bin/live ./test/live; \
	echo "== the same inside Linux $(LIVE_KERNEL), emulated: compare with nothing but this"; \
	bin/vm run -kernel $(LIVE_KERNEL) $(addprefix -module ,$(LIVE_MODULES)) -with "$$PWD/bin/pointsman" \
	  $$(for tool in nft haproxy ipvsadm; do ! path=$$(command -v $$tool) || echo "-with $$path"; done) "$$PWD/bin/live" -binary "$$PWD/bin/pointsman" -emulated

bench-converge: build host ## how long packets go on to a backend that turns critical in Consul, 200 times, in 3 minutes
	$(GO) run ./test/converge

bench-control: ## what the control plane takes for tables and changes
	$(GO) test -run '^$$' -bench . ./dataplane ./dataplane/maglev ./controlplane/...

BASE ?= main
bench-compare: bin/benchstat ## bench-control of the revision BASE and of this one, in turns, by benchstat (BENCH=regexp: some)
	@base=$$(mktemp -d); trap 'git worktree remove --force $$base/tree; rm -r $$base' EXIT; \
	git worktree add -q --detach $$base/tree $(BASE); \
	for turn in 1 2 3 4 5 6; do for side in before after; do \
	  [ $$side = before ] && dir=$$base/tree || dir=$$PWD; \
	  $(GO) test -C $$dir -run '^$$' -bench '$(or $(BENCH),.)' -benchtime 200ms ./dataplane ./dataplane/maglev ./controlplane/... >>$$base/$$side; \
	done; done; \
	bin/benchstat $$base/before $$base/after

bin/benchstat: test/tools/go.mod
	$(GO) build -C test/tools -o ../../bin/benchstat golang.org/x/perf/cmd/benchstat

lint: bin/staticcheck ## gofmt, go vet, staticcheck, the import rule
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags kernels,packages ./test/...
	bin/staticcheck ./...
	$(GO) test -count=1 -run Import ./test

generate: ## compile bpf/ anew; needs clang-19 llvm-19 libbpf-dev
	@for tool in clang-19 llvm-strip-19; do command -v $$tool >/dev/null || \
	  { echo "$$tool is missing: apt-get install clang-19 llvm-19 libbpf-dev"; exit 1; }; done
	$(GO) generate ./dataplane/kernel

check-generated: generate ## fail unless the committed objects are what bpf/ compiles to
	git diff --exit-code --stat -- dataplane/kernel

# Each commit has packages with a version of its own, and a commit's are always the same bytes.
PACKAGES ?= bin/packages
PACKAGE_VERSION ?= $(shell git log -1 --date=format:%Y%m%d.%H%M%S --format=0.%cd.g%h)

packages: build bin/nfpm ## deb and rpm, in bin/packages
	packaging/stage.sh bin/pointsman bin/packaging/root
	mkdir -p $(PACKAGES) && rm -f $(PACKAGES)/*.deb $(PACKAGES)/*.rpm
	@for kind in deb rpm; do GOARCH=$$($(GO) env GOARCH) PACKAGE_VERSION='$(PACKAGE_VERSION)' SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
	  bin/nfpm package --config packaging/nfpm.yaml --packager $$kind --target $(PACKAGES); done

test-packages: ## install, upgrade under traffic, remove and purge the deb on a clean Debian 12; read the rpm
	@for tool in qemu-system-x86_64 rpm debootstrap; do command -v $$tool >/dev/null || \
	  { echo "$$tool is missing: apt-get install qemu-system-x86 rpm debootstrap"; exit 1; }; done
	$(MAKE) -s bin/debian
	$(MAKE) -s packages VERSION=next PACKAGE_VERSION=9999 PACKAGES=bin/packages/next
	$(MAKE) -s packages
	$(GO) build -o bin/vm ./test/vm
	bin/vm fetch 6.1
	@old=$$(ls $$PWD/bin/packages/*.deb) new=$$(ls $$PWD/bin/packages/next/*.deb); \
	{ POINTSMAN_PACKAGES="$$PWD/bin/packages" $(GO) test -json -count=1 -tags packages ./test/packages && \
	CGO_ENABLED=0 POINTSMAN_BINARY="$$PWD/bin/pointsman" POINTSMAN_OLD_DEB=$$old POINTSMAN_NEW_DEB=$$new \
	  $(GO) test -json -count=1 -tags kernels -timeout 15m -run TheDeb \
	    -exec "$$PWD/bin/vm run -systemd -memory 2048 -kernel 6.1 -root $$PWD/bin/debian -with $$PWD/bin/pointsman -with $$old -with $$new" ./test/unit; } \
	  | $(GO) run ./test/report -strict

# Where bin/debian comes from; empty is what debootstrap takes by itself.
DEBIAN_MIRROR ?=

bin/debian:
	mkdir -p $(@D) && rm -rf $@.part
	debootstrap --variant=minbase --include=systemd,iproute2,procps bookworm $@.part $(DEBIAN_MIRROR) >/dev/null
	rm -rf $@.part/var/cache/apt/* $@.part/var/lib/apt/lists/* && mv $@.part $@

bin/nfpm: packaging/tools/go.mod
	$(GO) build -C packaging/tools -o ../../bin/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm

consul: bin/consul ## build a Consul for the tests, unless one is on the PATH (minutes, once)

bin/consul:
	@command -v consul || { echo "building Consul from test/tools: this takes minutes, once"; \
	  $(GO) build -C test/tools -o ../../bin/consul github.com/hashicorp/consul; }

bin/staticcheck: test/tools/go.mod
	$(GO) build -C test/tools -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck

.PHONY: host
host:
	@[ "$$(id -u)" = 0 ] || { echo "this needs root: it makes network namespaces and loads BPF programs. Try: sudo -E make $(MAKECMDGOALS)"; exit 1; }
	@[ -f /sys/kernel/btf/vmlinux ] || { echo "this kernel has no BTF (/sys/kernel/btf/vmlinux); Debian's and Ubuntu's kernels have it"; exit 1; }
	@mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf || { echo "cannot mount a BPF file system on /sys/fs/bpf"; exit 1; }

clean: ## remove what was built
	rm -rf bin
