// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/Database.h"

#include "lint/driver/Command.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Allocator.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/StringSaver.h"

#include <map>

using namespace llvm;

namespace kpkeys::lint {

static constexpr StringLiteral FileName = "compile_commands.json";
static constexpr StringLiteral MakeOne =
    "make it with 'make compile_commands.json' in a built arm64 kernel (ARCH=arm64), or scripts/clang-tools/gen_compile_commands.py";

static Error bad(const Twine &What, StringRef Remedy = MakeOne) {
  return createStringError(inconvertibleErrorCode(), What + "; " + Remedy);
}

StringRef resourceDirectory() {
  static const bool Exists = sys::fs::is_directory(KPKEYS_RESOURCE_DIR);
  return Exists ? StringRef(KPKEYS_RESOURCE_DIR) : StringRef();
}

static std::string absolute(StringRef Path, StringRef Directory) {
  SmallString<256> Out(Path);
  if (!sys::path::is_absolute(Out))
    Out = (Directory + "/" + Path).str();
  sys::path::remove_dots(Out, /*remove_dot_dot=*/true);
  return std::string(Out);
}

std::string Database::nameOf(const UnitCommand &Unit) const {
  std::string Path = absolute(Unit.File, Unit.Directory);
  StringRef Name = Path;
  if (Name.consume_front(SourceRoot) && Name.consume_front("/"))
    return Name.str();
  return Path;
}

std::vector<size_t> Database::find(StringRef Name) const {
  SmallString<256> Here;
  sys::fs::current_path(Here);
  std::string FromHere = absolute(Name, Here), FromRoot = absolute(Name, SourceRoot);
  std::vector<size_t> Found;
  for (size_t I = 0; I < Units.size(); ++I) {
    std::string Path = absolute(Units[I].File, Units[I].Directory);
    if (Units[I].File == Name || Path == FromHere || Path == FromRoot)
      Found.push_back(I);
  }
  return Found;
}

/// One entry as it stands in the file.
static Expected<UnitCommand> parseEntry(const json::Value &Value, StringRef Path, size_t Index) {
  auto Wrong = [&](const Twine &Why) { return bad(Path + ": entry " + Twine(Index + 1) + " " + Why); };
  const json::Object *Entry = Value.getAsObject();
  if (!Entry)
    return Wrong("is not an object");
  std::optional<StringRef> Directory = Entry->getString("directory"), File = Entry->getString("file");
  if (!Directory || !File)
    return Wrong("has no \"directory\" or no \"file\"");
  UnitCommand Unit;
  Unit.Directory = Directory->str();
  Unit.File = File->str();
  if (const json::Array *Arguments = Entry->getArray("arguments")) {
    for (const json::Value &Argument : *Arguments)
      Unit.Arguments.push_back(Argument.getAsString().value_or("").str());
  } else if (std::optional<StringRef> Command = Entry->getString("command")) {
    BumpPtrAllocator Memory;
    StringSaver Saver(Memory);
    SmallVector<const char *, 128> Words;
    cl::TokenizeGNUCommandLine(*Command, Saver, Words);
    Unit.Arguments.assign(Words.begin(), Words.end());
  }
  if (Unit.Arguments.empty())
    return Wrong("has no \"command\" and no \"arguments\"");
  return Unit;
}

namespace {

/// Sorts entries into those to analyse and those to leave out.
class Sorter {
public:
  explicit Sorter(Database &DB) : DB(DB) {}

  void add(UnitCommand Unit) {
    if (!isKernelCommand(Unit.Arguments)) {
      ++DB.HostUnits;
      return;
    }
    if (sys::path::extension(Unit.File) != ".c") {
      ++DB.OtherUnits;
      return;
    }
    std::optional<std::string> Name = kernelArchitecture(Unit.Arguments);
    if (Name && *Name != "arm64") {
      ++Foreign[*Name];
      return;
    }
    if (!isAArch64(Unit.Arguments)) {
      ++DB.OtherUnits;
      return;
    }
    if (DB.SourceRoot.empty())
      if (std::optional<std::string> Root = sourceRoot(Unit.Arguments))
        DB.SourceRoot = absolute(*Root, Unit.Directory);
    DB.Units.push_back(std::move(Unit));
  }

  Error verdict() const {
    if (!Foreign.empty())
      return bad(DB.Path + ": a database of another architecture: " + Foreign.begin()->first);
    if (!DB.Units.empty())
      return Error::success();
    return bad(DB.Path + ": no C unit of an arm64 kernel in it (" + Twine(DB.HostUnits) +
               " of the host, " + Twine(DB.OtherUnits) + " others)");
  }

private:
  Database &DB;
  std::map<std::string, unsigned> Foreign;
};

} // namespace

Expected<Database> parseDatabase(StringRef Text, StringRef Path) {
  Expected<json::Value> Value = json::parse(Text);
  if (!Value)
    return bad(Path + ": not JSON: " + toString(Value.takeError()));
  const json::Array *Entries = Value->getAsArray();
  if (!Entries)
    return bad(Path + ": not a compilation database: not a list");
  if (Entries->empty())
    return bad(Path + ": the database is empty");
  Database DB;
  DB.Path = Path.str();
  Sorter Sort(DB);
  for (size_t I = 0; I < Entries->size(); ++I) {
    Expected<UnitCommand> Unit = parseEntry((*Entries)[I], Path, I);
    if (!Unit)
      return Unit.takeError();
    Sort.add(std::move(*Unit));
  }
  if (Error E = Sort.verdict())
    return std::move(E);
  if (DB.SourceRoot.empty())
    DB.SourceRoot = absolute(".", DB.Units.front().Directory);
  for (UnitCommand &Unit : DB.Units) {
    Unit.Arguments = adjustArguments(Unit.Arguments, resourceDirectory());
    Unit.SourceRoot = DB.SourceRoot;
  }
  return DB;
}

Expected<Database> loadDatabase(StringRef BuildDir) {
  SmallString<256> Path(BuildDir);
  if (sys::fs::is_directory(Path))
    sys::path::append(Path, FileName);
  sys::fs::make_absolute(Path);
  auto Buffer = MemoryBuffer::getFile(Path);
  if (!Buffer && Buffer.getError() == std::errc::no_such_file_or_directory)
    return bad("no compilation database: " + Path + " does not exist");
  if (!Buffer)
    return bad("compilation database " + Path + ": " + Buffer.getError().message(), "check the path");
  Expected<Database> DB = parseDatabase((*Buffer)->getBuffer(), Path);
  if (!DB)
    return DB.takeError();
  // Before 600 units fail one by one.
  std::string Configuration = absolute("include/generated/autoconf.h", DB->Units.front().Directory);
  bool Kernel = sys::fs::exists(DB->SourceRoot + "/Kbuild");
  if (Kernel && !sys::fs::exists(Configuration))
    return bad("a generated header is missing: " + Configuration, "run 'make ARCH=arm64 prepare' in the build directory");
  return DB;
}

} // namespace kpkeys::lint
