// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Cache.h"

#include "lint/analysis/Analysis.h"

#include "llvm/ADT/Twine.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <cstdlib>

using namespace llvm;

namespace kpkeys::lint {

static constexpr StringLiteral Magic = "kpkeys-lint facts 1\n";

std::string defaultCacheDirectory() {
  SmallString<128> Path;
  if (const char *XDG = std::getenv("XDG_CACHE_HOME"); XDG && *XDG)
    Path = XDG;
  else if (!sys::path::cache_directory(Path))
    sys::path::system_temp_directory(/*ErasedOnReboot=*/false, Path);
  sys::path::append(Path, "kpkeys-lint");
  return std::string(Path);
}

std::string factsKey(const Config &Config, FileIndex &Files) {
  lint::Config Bare = Config;
  Bare.Exemptions.clear();
  // The program itself: another analysis finds other facts. By content, so that
  // a rebuild that changes nothing keeps the cache.
  static int Anchor;
  std::string Program = sys::fs::getMainExecutable("kpkeys-lint", &Anchor);
  return hashOf(formatv("{0}|{1}|{2}", Files.get(Program).Hash, LLVM_VERSION_STRING, Bare.toJSON()).str());
}

static Error cannotUse(StringRef Directory, std::error_code EC) {
  return createStringError(EC, "cache " + Directory + " cannot be written: " + EC.message() +
                                   "; choose another with --cache-dir, or do without one: --no-cache");
}

Expected<FactCache> FactCache::open(StringRef Directory, const Config &Config) {
  FactCache Cache;
  SmallString<256> Root(Directory);
  sys::fs::make_absolute(Root);
  if (std::error_code EC = sys::fs::create_directories(Root))
    return cannotUse(Directory, EC);
  Cache.Root = std::string(Root);
  Cache.Files = std::make_unique<FileIndex>(Cache.Root + "/files");
  Cache.Directory = Cache.Root + "/" + factsKey(Config, *Cache.Files);
  if (std::error_code EC = sys::fs::create_directories(Cache.Directory))
    return cannotUse(Directory, EC);
  // Renewed in each run: tells which versions of the tool are still in use, and
  // finds out now, not after minutes of analysis, whether writing works.
  if (Error E = writeAtomically(Cache.Directory + "/used", "")) {
    std::error_code EC = errorToErrorCode(std::move(E));
    return cannotUse(Directory, EC);
  }
  return Cache;
}

std::string FactCache::pathOf(const UnitCommand &Unit) const {
  std::string Text = Unit.Directory + '\0' + Unit.File + '\0' + Unit.SourceRoot;
  for (StringRef Argument : Unit.Arguments)
    (Text += '\0') += Argument;
  return Directory + "/" + hashOf(Text);
}

std::optional<FactCache::Entry> FactCache::find(const UnitCommand &Unit) {
  if (Directory.empty())
    return std::nullopt;
  auto Buffer = MemoryBuffer::getFile(pathOf(Unit), /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!Buffer)
    return std::nullopt;
  StringRef Text = (*Buffer)->getBuffer();
  if (!Text.consume_front(Magic))
    return std::nullopt;
  Entry Found;
  while (!Text.consume_front("\n")) {
    auto [Line, Rest] = Text.split('\n');
    auto [Hash, Path] = Line.split(' ');
    // An empty hash would match a file that is gone.
    if (Hash.size() != 32 || Rest.empty() || Files->get(Path).Hash != Hash)
      return std::nullopt;
    Found.Dependencies.push_back(Path.str());
    Text = Rest;
  }
  Found.Text = Text.str();
  return Found;
}

Error FactCache::store(const UnitCommand &Unit, StringRef Text, ArrayRef<std::string> Dependencies, int64_t Began) {
  if (Directory.empty())
    return Error::success();
  std::string Out = Magic.str();
  for (const std::string &Path : Dependencies) {
    const FileIndex::State &State = Files->get(Path);
    // The analysis may have seen what was there before.
    if (State.Hash.empty() || State.Changed >= Began - 50'000'000 || StringRef(Path).contains('\n'))
      return Error::success();
    Out += State.Hash + " " + Path + "\n";
  }
  Out += "\n";
  Out += Text;
  return writeAtomically(pathOf(Unit), Out);
}

/// Remove entries of versions of the tool that nobody has run for a month.
static void dropOldVersions(StringRef Root) {
  std::error_code EC;
  auto Limit = std::chrono::system_clock::now() - std::chrono::hours(24 * 30);
  for (sys::fs::directory_iterator It(Root, EC), End; It != End && !EC; It.increment(EC)) {
    sys::fs::file_status Status;
    if (sys::path::filename(It->path()).size() != 32 || sys::fs::status(It->path() + "/used", Status))
      continue;
    if (Status.getLastModificationTime() < Limit)
      sys::fs::remove_directories(It->path());
  }
}

Error FactCache::finish() {
  if (Directory.empty())
    return Error::success();
  dropOldVersions(Root);
  return Files->save();
}

} // namespace kpkeys::lint
