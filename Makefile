# SPDX-License-Identifier: GPL-2.0-only
#
# The front door. Every target is one command of scripts/kpkeys, which can be run by itself and
# then also gives its exit status (make turns each failure into 2).

KPKEYS := scripts/kpkeys
.DEFAULT_GOAL := help
# A kernel build is parallel by itself (J=); steps here are in order.
.NOTPARALLEL:

# What GNU make exports from its command line reaches the scripts as environment variables.

.PHONY: help
help:
	@awk -f scripts/help.awk $(MAKEFILE_LIST)

##@ Main job
.PHONY: verify guests matrix
verify: ## Linux + series, built and booted in QEMU with FEAT_S1POE: KUnit verdict
	@$(KPKEYS) verify
guests: ## the same in every guest that CI runs (GUESTS="el1 vhe" for some)
	@$(KPKEYS) guests $(GUESTS)
matrix: ## the same in every guest of kunit/guests.ini; takes an hour
	@$(KPKEYS) guests --matrix

##@ Series
.PHONY: load save refresh rebase lint-series series-check cover send-dry-run reroll trailers diff-versions tarball
load: ## the stored series as branch b4/kpkeys in the work tree work/linux
	@$(KPKEYS) load $(SERIES)
save: ## that branch back into patches/
	@$(KPKEYS) save $(SERIES)
refresh: ## apply the stored series again and write it back: what drifted shows as a diff
	@$(KPKEYS) refresh $(SERIES)
rebase: ## move the branch to BASE=rev; after a conflict the same command goes on
	@$(KPKEYS) rebase
lint-series: ## form of the stored series; needs no tree
	@$(KPKEYS) lint-series
series-check: ## each patch builds (clang, gcc), boots, is clean: checkpatch, sparse, lint, ... (FROM= TO=)
	@$(KPKEYS) series-check
cover: ## generated parts of the cover letter: test table, tool versions, ...
	@$(KPKEYS) cover $(SERIES)
send-dry-run: ## the mails as they would be sent, in out/send; says what is missing
	@$(KPKEYS) send-dry-run
reroll: ## the next version, once this one was sent (by b4, or as MSGID=)
	@$(KPKEYS) reroll
trailers: ## Reviewed-by and the like from MBOX=file into the patches
	@$(KPKEYS) trailers
diff-versions: ## what differs between versions A=v1 and B=v2, patch by patch
	@$(KPKEYS) diff-versions
tarball: ## a release in out/release: mbox, quilt series, diff, checksums, SBOM
	@$(KPKEYS) tarball

##@ Test
.PHONY: test test-scripts test-tools test-checks test-guests test-selftests test-userland test-qemu test-zero-cost test-bench test-mutants mutants-kernel
test: ## everything CI needs
	@$(KPKEYS) test
test-scripts: ## the scripts' own tests, bad input included
	@$(KPKEYS) test scripts
test-tools: ## kpkeys-lint and kpkeys-audit: unit tests, corpus, bad input (SANITIZE=1: with ASan and UBSan)
	@$(KPKEYS) test tools
test-checks: ## 'make lint' and 'make audit': no findings; some of mutants-lint
	@$(KPKEYS) test checks
test-guests: ## KUnit in every guest
	@$(KPKEYS) test guests
test-selftests: ## the kernel's selftests for user pkeys, and save/restore of a running guest
	@$(KPKEYS) test selftests
test-userland: ## Debian and selftests/mm, hardened and not
	@$(KPKEYS) userland
test-qemu: ## bare-metal conformance of FEAT_S1POE
	@$(KPKEYS) test qemu
test-zero-cost: ## hardened page tables cost nothing where they are off: objects, disassembly
	@$(KPKEYS) zero-cost
test-bench: ## 'make bench' in short, which must meet its bars, and 'make bench-mock' (not in CI, for its time)
	@$(KPKEYS) test bench
test-mutants: ## some of the mutants below, always the same (SAMPLE=8)
	@$(KPKEYS) test mutants
mutants-kernel: ## each guard and keying call left out in turn: do the tests notice? (not in CI)
	@$(KPKEYS) mutants

##@ Source checks
.PHONY: lint audit lint-writes mutants-lint bench-lint
lint: ## kpkeys-lint on the patched kernel; findings in out/lint/
	@$(KPKEYS) lint
audit: ## kpkeys-audit on the same kernel once built: each write of POR_EL1, its value, its end
	@$(KPKEYS) audit
lint-writes: ## does kpkeys-lint list the page table writes that reading found, and no others?
	@$(KPKEYS) lint-writes
mutants-lint: ## hundreds of changes of the series that kpkeys-lint has to notice (a sample is part of test-checks)
	@$(KPKEYS) mutants-lint
bench-lint: ## what kpkeys-lint costs, as ratios to clang -w -fsyntax-only
	@$(KPKEYS) bench-lint

##@ Cost
.PHONY: bench bench-mock
bench: ## what hardened page tables cost: counts per operation and kernel, estimates, plots (QUICK=1)
	@$(KPKEYS) bench
bench-mock: ## the mock of POR_EL1 for other CPUs: nothing but enforcement changes
	@$(KPKEYS) bench --mock

##@ Pieces
.PHONY: tools package qemu bench-qemu clean distclean tools-build
tools: ## make the tool root
	@$(KPKEYS) tools
package: ## the C++ tools as a Debian package, tried in a clean Debian
	@$(KPKEYS) package --install
tools-build: ## build kpkeys-lint and kpkeys-audit
	@$(KPKEYS) tools-build
qemu: ## build QEMU with FEAT_S1POE
	@$(KPKEYS) qemu
bench-qemu: ## what FEAT_S1POE costs in QEMU, as ratios
	@$(KPKEYS) bench-qemu
clean: ## remove out/ (kernel tree, builds, results); work/ and the cache stay
	@$(KPKEYS) clean
distclean: ## remove out/ and .cache/; work/ stays
	@$(KPKEYS) clean --cache

##@ Variables
#? KERNEL=dir    your own kernel git tree, with BASE=rev (default HEAD, clean); 'make load' adds a branch
#?               and a linked work tree to it, nothing else writes there
#? TREE=dir      build this work tree just as it stands, e.g. TREE=work/linux
#? WORKTREE=dir  where 'make load' puts the series (work/linux); SERIES=qemu for the other one
#? FROM=n TO=m   patches of 'make series-check'
#? BASE=tag      another base of the series, or where 'make rebase' moves it to
#? MSGID= MBOX= A= B=  of reroll, trailers, diff-versions; MAIL_LIMIT=bytes of a mail (100000)
#? MUTANTS=...   names, patterns or numbers of mutants (all); SAMPLE=n for only n of them
#? QEMU=program  your own qemu-system-aarch64
#? QUICK=1       'make bench' with 64 MB and without programs: three minutes
#? SANITIZE=1    build the C++ tools with ASan and UBSan, in a build of their own
#? GUEST=name    guest of 'make verify' and kernel of 'make lint' (default el1; scripts/kpkeys guests --list)
#? CONFIG=file   one more configuration fragment
#? LLVM=-22      compiler, as in kbuild; LLVM= (empty) is aarch64-linux-gnu-gcc
#? O=dir J=n V=1 output directory (out), jobs (all CPUs), show commands and their output
#? TIMEOUT=s     a guest that runs longer has hung (120)
#? TOOLS=host    the machine's tools instead of the tool root
#? CACHE=dir     tool root, sources and QEMU (.cache)
#? DEBIAN_MIRROR=uri          mirror for the first set-up (that of this machine's apt)
#? LINUX_VERSION= QEMU_VERSION=  Debian version of the source package, if the pinned one is gone
#? LINUX_TARBALL= QEMU_TARBALL=  upstream's tarball instead, with its checksum file beside it
