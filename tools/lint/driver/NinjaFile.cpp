// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/NinjaFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

namespace kpkeys::lint {

/// @p Word for the shell, if it has characters that mean something there.
static std::string quote(StringRef Word) {
  if (!Word.empty() && all_of(Word, [](char C) { return isAlnum(C) || StringRef("_-+=./,:@%").contains(C); }))
    return Word.str();
  std::string Out = "'";
  for (char C : Word)
    Out += C == '\'' ? std::string("'\\''") : std::string(1, C);
  return Out + "'";
}

/// A value of a Ninja variable.
static std::string escapeValue(StringRef S) {
  std::string Out;
  for (char C : S)
    Out += C == '$' ? std::string("$$") : std::string(1, C);
  return Out;
}

/// A path in a build statement, where spaces and colons end it.
static std::string escapePath(StringRef S) {
  std::string Out;
  for (char C : S) {
    if (C == '$' || C == ' ' || C == ':')
      Out += '$';
    Out += C;
  }
  return Out;
}

static std::string joined(ArrayRef<std::string> Words) {
  std::string Out;
  for (const std::string &Word : Words)
    Out += " " + quote(Word);
  return escapeValue(Out);
}

static std::string absolutePath(const UnitCommand &Unit) {
  SmallString<256> Path(Unit.File);
  if (!sys::path::is_absolute(Path))
    Path = (Twine(Unit.Directory) + "/" + Unit.File).str();
  sys::path::remove_dots(Path, /*remove_dot_dot=*/true);
  return std::string(Path);
}

std::string ninjaFile(const Database &DB, const NinjaOptions &Options) {
  std::string Text;
  raw_string_ostream OS(Text);
  std::string Program = escapeValue(quote(Options.Program)), Path = escapeValue(quote(DB.Path));
  OS << "# Made by kpkeys-lint --ninja from " << DB.Path << "\n"
     << "ninja_required_version = 1.8\n\n"
     << "rule facts\n"
     << "  command = " << Program << " facts -p " << Path << joined(Options.FactsArguments)
     << " --command=$index --depfile=$out.d --output=$out $unit\n"
     << "  description = facts $name\n"
     << "  depfile = $out.d\n"
     << "  deps = gcc\n\n"
     // Hundreds of names are too long for some command lines.
     << "rule link\n"
     << "  command = " << Program << " link --units=$count" << joined(Options.LinkArguments) << " @$out.rsp\n"
     << "  description = link $count units\n"
     << "  rspfile = $out.rsp\n"
     << "  rspfile_content = $in_newline\n"
     << "  pool = console\n\n";
  std::string All;
  StringMap<unsigned> Seen;
  for (const UnitCommand &Unit : DB.Units) {
    std::string Name = DB.nameOf(Unit);
    unsigned Index = ++Seen[Name];
    SmallString<256> Out(Options.OutputDirectory);
    sys::path::append(Out, StringRef(Name).ltrim('/') + (Index > 1 ? "." + utostr(Index) : "") + ".facts");
    OS << "build " << escapePath(Out) << ": facts " << escapePath(absolutePath(Unit)) << " | " << escapePath(Options.Program)
       << "\n  unit = " << escapeValue(quote(absolutePath(Unit))) << "\n  name = " << escapeValue(Name)
       << "\n  index = " << Index << "\n";
    All += " " + escapePath(Out);
  }
  // Never made, so always out of date: a verdict is printed in each run.
  OS << "\nbuild verdict: link" << All << "\n  count = " << DB.Units.size() << "\ndefault verdict\n";
  return Text;
}

} // namespace kpkeys::lint
