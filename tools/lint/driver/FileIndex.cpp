// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/FileIndex.h"

#include "lint/driver/TextScan.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"

#include <cerrno>
#include <chrono>
#include <sys/stat.h>

using namespace llvm;

namespace kpkeys::lint {

static constexpr StringLiteral Header = "kpkeys-lint files 2\n";
/// Time stamps are no finer than the kernel's tick: what changed later than this
/// before it was looked at can change again under the same stamp.
static constexpr int64_t Racy = 50'000'000;

std::string hashOf(StringRef Data) {
  XXH128_hash_t Hash = xxh3_128bits(arrayRefFromStringRef(Data));
  return utohexstr(Hash.high64, /*LowerCase=*/true, 16) + utohexstr(Hash.low64, /*LowerCase=*/true, 16);
}

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Error writeAtomically(StringRef Path, StringRef Text) {
  int FD;
  SmallString<256> Temporary;
  if (std::error_code EC = sys::fs::createUniqueFile(Path + ".%%%%%%%%.tmp", FD, Temporary, sys::fs::OF_None, 0644))
    return createStringError(EC, "cannot write " + Path + ": " + EC.message());
  raw_fd_ostream OS(FD, /*shouldClose=*/true);
  OS << Text;
  OS.close();
  std::error_code EC = OS.error();
  OS.clear_error();
  if (!EC)
    EC = sys::fs::rename(Temporary, Path);
  if (!EC)
    return Error::success();
  sys::fs::remove(Temporary);
  return createStringError(EC, "cannot write " + Path + ": " + EC.message());
}

FileIndex::FileIndex(std::string Path) : RecordPath(std::move(Path)), Started(now()) {
  if (!RecordPath.empty())
    load();
}

void FileIndex::load() {
  auto Buffer = MemoryBuffer::getFile(RecordPath);
  if (!Buffer)
    return;
  StringRef Text = (*Buffer)->getBuffer();
  if (!Text.consume_front(Header))
    return;
  while (!Text.empty()) {
    auto [Line, Rest] = Text.split('\n');
    Text = Rest;
    State S;
    auto Number = [&](auto &Into) {
      auto [Word, Tail] = Line.split(' ');
      Line = Tail;
      return !Word.getAsInteger(10, Into);
    };
    unsigned Flags = 0;
    if (!Number(S.Size) || !Number(S.Inode) || !Number(S.Modified) || !Number(S.Changed) || !Number(Flags))
      continue;
    auto [Hash, Path] = Line.split(' ');
    if (Hash.size() != 32 || Path.empty())
      continue;
    S.Hash = Hash.str();
    S.HasMarker = Flags & 1;
    S.HasCandidate = Flags & 2;
    Records[Path] = std::move(S);
  }
}

static int64_t nanoseconds(const timespec &T) { return int64_t(T.tv_sec) * 1'000'000'000 + T.tv_nsec; }

const FileIndex::State &FileIndex::get(StringRef Path) {
  auto [It, New] = Current.try_emplace(Path);
  State &S = It->second;
  if (!New)
    return S;
  struct stat Stat;
  if (::stat(It->first().data(), &Stat) || !S_ISREG(Stat.st_mode))
    return S;
  S.Size = Stat.st_size;
  S.Inode = Stat.st_ino;
  S.Modified = nanoseconds(Stat.st_mtim);
  S.Changed = nanoseconds(Stat.st_ctim);
  auto Record = Records.find(Path);
  if (Record != Records.end() && Record->second.Size == S.Size && Record->second.Inode == S.Inode &&
      Record->second.Modified == S.Modified && Record->second.Changed == S.Changed) {
    S = Record->second;
    return S;
  }
  auto Buffer = MemoryBuffer::getFile(Path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!Buffer)
    return S;
  S.Hash = hashOf((*Buffer)->getBuffer());
  S.HasMarker = (*Buffer)->getBuffer().contains("kpkeys-lint:");
  S.HasCandidate = !candidateLines((*Buffer)->getBuffer(), /*Most=*/1).empty();
  Dirty = true;
  return S;
}

Error FileIndex::save() {
  if (!Dirty || RecordPath.empty())
    return Error::success();
  // Records of files that this run did not look at stay: runs over other builds share the cache.
  for (const auto &Entry : Current)
    if (!Entry.second.Hash.empty() && Entry.second.Changed < Started - Racy && !Entry.first().contains('\n'))
      Records[Entry.first()] = Entry.second;
    else
      Records.erase(Entry.first());
  std::string Text;
  raw_string_ostream OS(Text);
  OS << Header;
  for (const auto &Entry : Records) {
    const State &S = Entry.second;
    OS << S.Size << ' ' << S.Inode << ' ' << S.Modified << ' ' << S.Changed << ' ' << unsigned(S.HasMarker + 2 * S.HasCandidate) << ' '
       << S.Hash << ' ' << Entry.first() << '\n';
  }
  return writeAtomically(RecordPath, OS.str());
}

} // namespace kpkeys::lint
