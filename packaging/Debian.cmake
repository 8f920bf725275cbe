# SPDX-License-Identifier: GPL-2.0-only
#
# The tools as a Debian package: 'cpack' in a build directory of tools/, whose install() rules
# decide what is in it.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME kpkeys-tools)
set(CPACK_PACKAGE_VERSION "${PROJECT_VERSION}")
set(CPACK_PACKAGE_CONTACT "kpkeys <kpkeys@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "checkers for kernel code that uses protection keys")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
# No set-up of ours may be needed to run what is in it: what it links to is what it depends on.
# cpack takes the program 'file' for that; 'make package' does it without.
find_program(KPKEYS_FILE file)
if(KPKEYS_FILE)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
endif()
# Two of the programs are scripts.
set(CPACK_DEBIAN_PACKAGE_DEPENDS python3)
if(KPKEYS_TIDY)
  # Only it can load the module, and nothing else needs it.
  set(CPACK_DEBIAN_PACKAGE_SUGGESTS "clang-tidy-${LLVM_VERSION_MAJOR}")
endif()
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION TRUE)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "kpkeys-lint looks for writes to protected memory outside of their section in\nC source, kpkeys-audit for writes of the pkey register in binaries.")

# Debian's policy wants a copyright file in every package.
install(FILES "${CMAKE_CURRENT_LIST_DIR}/copyright" DESTINATION share/doc/kpkeys-tools)

include(CPack)
