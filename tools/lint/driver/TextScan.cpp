// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/TextScan.h"

#include "lint/analysis/Facts.h"
#include "lint/driver/FileIndex.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <cstring>

using namespace llvm;

namespace kpkeys::lint {

static bool isWord(char C) { return isAlnum(C) || C == '_'; }

/// Whether @p S names a page table entry: pte, pmdp, swapper_pg_dir, ...
static bool namesEntry(StringRef S) {
  for (StringRef Name : {"pte", "pmd", "pud", "p4d", "pgd", "pg_dir"})
    for (size_t At = S.find(Name); At != StringRef::npos; At = S.find(Name, At + 1)) {
      char Before = At ? S[At - 1] : ' ';
      if (!isWord(Before) || Before == '_' || Name == "pg_dir")
        return true;
    }
  return false;
}

/// Whether @p Line stores through a pointer with such a name: "*ptep = ".
static bool isStore(StringRef Line) {
  for (size_t At = Line.find('*'); At != StringRef::npos; At = Line.find('*', At + 1)) {
    // A declaration or a product has something before the asterisk.
    StringRef Before = Line.take_front(At).rtrim();
    if (!Before.empty() && !StringRef("({;,)").contains(Before.back()))
      continue;
    StringRef Rest = Line.drop_front(At + 1);
    if (Rest.empty() || Rest.front() == ' ')
      continue;
    size_t Equal = Rest.find('=');
    if (Equal == StringRef::npos || Equal == 0 || Rest.substr(Equal, 2) == "==" ||
        StringRef("!<>=").contains(Rest[Equal - 1]))
      continue;
    StringRef Target = Rest.take_front(Equal);
    if (!Target.contains(';') && !Target.contains('"') && namesEntry(Target))
      return true;
  }
  return false;
}

/// The arguments of the call of a function whose name ends in @p Name, as far as
/// they are on @p Line.
static StringRef argumentsOf(StringRef Line, StringRef Name) {
  for (size_t At = Line.find(Name); At != StringRef::npos; At = Line.find(Name, At + 1)) {
    StringRef Rest = Line.drop_front(At + Name.size()).ltrim();
    if (Rest.consume_front("("))
      return Rest;
  }
  return "";
}

/// Whether @p Line calls what writes to memory with the address of an entry.
static bool isCall(StringRef Line) {
  StringRef Once = argumentsOf(Line, "WRITE_ONCE").ltrim();
  if (Once.starts_with("*") && namesEntry(Once.take_until([](char C) { return C == ','; })))
    return true;
  for (StringRef Value : {"&pte_val(", "&pmd_val(", "&pud_val(", "&p4d_val(", "&pgd_val("})
    if (Line.contains(Value) && !Line.contains("READ_ONCE"))
      return true;
  for (StringRef Name : {"memset", "memcpy", "memmove", "clear_page", "copy_page", "memzero_explicit"}) {
    StringRef First = argumentsOf(Line, Name).take_until([](char C) { return C == ','; });
    if (namesEntry(First) && !First.contains("sizeof") && !First.starts_with("&"))
      return true;
  }
  return false;
}

static bool isContextSwitch(StringRef Line) {
  if (!argumentsOf(Line, "kpkeys_set_context").empty() || !argumentsOf(Line, "kpkeys_restore_pkey_reg").empty())
    return true;
  return Line.contains("POR_EL1") && (Line.contains("write_sysreg") || Line.contains("msr\t") || Line.contains("msr "));
}

/// Whether it is worth looking at @p Text closely: nearly no line is.
static bool mayMatter(StringRef Text) {
  const char *At = Text.begin(), *End = Text.end();
  while ((At = static_cast<const char *>(std::memchr(At, 'p', End - At)))) {
    if (End - At < 3)
      break;
    char B = At[1], C = At[2];
    if ((B == 't' && C == 'e') || ((B == 'm' || B == 'u' || B == '4' || B == 'g') && C == 'd') || (B == 'g' && C == '_') ||
        (B == 'k' && C == 'e'))
      return true;
    ++At;
  }
  return Text.contains("POR_EL1");
}

std::vector<Candidate> candidateLines(StringRef Text, unsigned Most) {
  std::vector<Candidate> Found;
  if (!mayMatter(Text))
    return Found;
  unsigned Number = 0;
  bool Directive = false, Continued = false;
  while (!Text.empty() && Found.size() < Most) {
    auto [Line, Rest] = Text.split('\n');
    Text = Rest;
    ++Number;
    StringRef Trimmed = Line.trim();
    Directive = Continued ? Directive : Trimmed.starts_with("#");
    Continued = Trimmed.ends_with("\\");
    // The lines of a comment begin with an asterisk and a space.
    if (Trimmed.empty() || Trimmed.starts_with("//") || Trimmed.starts_with("/*") || Trimmed.starts_with("* ") ||
        !mayMatter(Trimmed))
      continue;
    // A call in the first column is a declaration, or the head of a definition.
    bool Head = Trimmed.begin() == Line.begin() && !Directive;
    if (isStore(Trimmed) || isCall(Trimmed) || (!Head && isContextSwitch(Trimmed)))
      Found.push_back({Number, unsigned(Trimmed.begin() - Line.begin() + 1), Trimmed, Directive});
  }
  return Found;
}

namespace {

/// Lines of files that some function of some unit holds.
class Coverage {
public:
  explicit Coverage(ArrayRef<Facts> Units) {
    for (const Facts &Unit : Units)
      for (const FunctionFacts &F : Unit.Functions)
        Extents[F.File].push_back(&F);
    // Header functions are in each unit that includes the header.
    for (auto &Entry : Extents) {
      auto &List = Entry.second;
      llvm::sort(List, Less);
      List.erase(std::unique(List.begin(), List.end(), [](auto *A, auto *B) { return !Less(A, B) && !Less(B, A); }), List.end());
    }
  }

  bool holds(StringRef File, unsigned Line) const {
    auto It = Extents.find(File);
    return It != Extents.end() && any_of(It->second, [&](const FunctionFacts *F) {
             return F->Line <= Line && Line <= F->EndLine &&
                    none_of(F->Skipped, [&](auto Range) { return Range.first <= Line && Line <= Range.second; });
           });
  }

private:
  static bool Less(const FunctionFacts *A, const FunctionFacts *B) {
    return std::tie(A->Line, A->EndLine, A->Skipped) < std::tie(B->Line, B->EndLine, B->Skipped);
  }

  StringMap<std::vector<const FunctionFacts *>> Extents;
};

} // namespace

/// What is not code of an arm64 kernel.
static bool leaveOut(StringRef Relative) {
  static constexpr StringLiteral Top[] = {"Documentation", "tools", "scripts", "samples", "usr", "rust", "certs", "LICENSES"};
  StringRef First = Relative.split('/').first;
  if (is_contained(Top, First) || First.starts_with("."))
    return true;
  return Relative.starts_with("arch/") && Relative != "arch/arm64" && !Relative.starts_with("arch/arm64/");
}

static bool isSource(StringRef Path) {
  StringRef Extension = sys::path::extension(Path);
  return Extension == ".c" || Extension == ".h" || Extension == ".S";
}

static std::vector<std::string> sourceFiles(StringRef Root) {
  std::vector<std::string> Files;
  std::error_code EC;
  for (sys::fs::recursive_directory_iterator It(Root, EC, /*follow_symlinks=*/false), End; It != End && !EC; It.increment(EC)) {
    StringRef Relative = StringRef(It->path()).drop_front(Root.size()).ltrim('/');
    sys::fs::file_type Type = It->type();
    if (Type == sys::fs::file_type::directory_file && leaveOut(Relative))
      It.no_push();
    else if (Type == sys::fs::file_type::regular_file && isSource(Relative) && !leaveOut(Relative))
      Files.push_back(Relative.str());
  }
  return Files;
}

std::vector<Finding> scanUnanalysed(StringRef Root, ArrayRef<Facts> Units, const StringSet<> &Read, FileIndex &Files) {
  std::vector<Finding> Found;
  Coverage Covered(Units);
  for (const std::string &File : sourceFiles(Root)) {
    std::string Path = (Root + "/" + File).str();
    if (!Files.get(Path).HasCandidate)
      continue;
    auto Buffer = MemoryBuffer::getFile(Path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
    if (!Buffer)
      continue;
    bool Known = Read.contains(File);
    for (const Candidate &C : candidateLines((*Buffer)->getBuffer())) {
      if (Known && (C.Directive || Covered.holds(File, C.Line)))
        continue;
      Finding F;
      F.Check = "unanalysed";
      F.Loc = {File, C.Line, C.Column};
      F.Message = isContextSwitch(C.Text) ? "context switch in code that no analysed unit holds"
                                          : "what looks like a page table write, in code that no analysed unit holds";
      F.Key = C.Text.str();
      Found.push_back(std::move(F));
    }
  }
  return Found;
}

} // namespace kpkeys::lint
