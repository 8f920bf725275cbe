# SPDX-License-Identifier: GPL-2.0-only
kpkeys_unit_test(driver-tests kpkeys-lint-driver
  driver_cache.cpp
  driver_checks.cpp
  driver_command.cpp
  driver_database.cpp
  driver_files.cpp
  driver_textscan.cpp
  driver_workers.cpp)
