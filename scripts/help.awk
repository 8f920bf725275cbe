# SPDX-License-Identifier: GPL-2.0-only
# Print the Makefile's targets by group: '##@ Group', 'target: ## text', '#? text'.
BEGIN { print "kpkeys: a Linux series that hardens page tables with protection keys, and what proves it" }
/^##@ / { print "\n" substr($0, 5) ":" }
/^[a-z-]+:.*## / { split($0, part, /:.*## /); printf "  %-16s%s\n", part[1], part[2] }
/^#\? / { print "  " substr($0, 4) }
