// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LINT_DRIVER_CACHE_H
#define KPKEYS_LINT_DRIVER_CACHE_H

#include "lint/driver/FileIndex.h"

#include "llvm/ADT/ArrayRef.h"

#include <memory>
#include <optional>
#include <string>

namespace kpkeys::lint {

struct Config;
struct UnitCommand;

/// Facts of units from earlier runs. An entry is named by what makes the unit
/// (its command, the tool, its configuration) and holds for as long as each file
/// that was read has the same content. Any number of runs may share one.
class FactCache {
public:
  /// Open or make the cache in @p Directory; an error if it cannot be written.
  static llvm::Expected<FactCache> open(llvm::StringRef Directory, const Config &Config);
  /// A cache that keeps nothing.
  FactCache() : Files(std::make_unique<FileIndex>()) {}

  /// The text of the facts of @p Unit, if there is an entry that holds; and what
  /// it was made from.
  struct Entry {
    std::string Text;
    std::vector<std::string> Dependencies;
  };
  std::optional<Entry> find(const UnitCommand &Unit);

  /// Keep the facts @p Text of @p Unit, whose analysis began at @p Began and read
  /// @p Dependencies. Not if one of these has changed since.
  llvm::Error store(const UnitCommand &Unit, llvm::StringRef Text, llvm::ArrayRef<std::string> Dependencies,
                    int64_t Began);

  /// At the end of a run: write the records of files, drop what old versions of the tool left.
  llvm::Error finish();

  FileIndex &files() { return *Files; }

private:
  std::string pathOf(const UnitCommand &Unit) const;

  std::string Root, Directory;
  std::unique_ptr<FileIndex> Files;
};

/// Where the cache is unless told otherwise.
std::string defaultCacheDirectory();

/// What facts depend on besides sources: the tool and @p Config, without its
/// exemptions, which only linking uses.
std::string factsKey(const Config &Config, FileIndex &Files);

} // namespace kpkeys::lint

#endif
