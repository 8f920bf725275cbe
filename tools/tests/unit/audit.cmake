# SPDX-License-Identifier: GPL-2.0-only
kpkeys_unit_test(audit-tests kpkeys-audit-core
  audit_image.cpp
  audit_inventory.cpp
  audit_support.cpp
  audit_values.cpp
  audit_walk.cpp)
kpkeys_link_llvm(audit-tests AArch64AsmParser MCParser)

# Mistakes in a real binary: see ../audit.
add_executable(audit-mutants ../audit/mutants.cpp)
target_link_libraries(audit-mutants PRIVATE kpkeys-audit-core)
