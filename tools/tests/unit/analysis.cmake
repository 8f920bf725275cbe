# SPDX-License-Identifier: GPL-2.0-only
kpkeys_unit_test(analysis-link-tests kpkeys-lint-link
  analysis_config.cpp
  analysis_facts.cpp
  analysis_link.cpp)
kpkeys_unit_test(analysis-unit-tests kpkeys-lint-analysis
  analysis_unit.cpp)
