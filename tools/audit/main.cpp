// SPDX-License-Identifier: GPL-2.0-only
//
// kpkeys-audit: which code of a kernel writes POR_EL1, with what, and for how long.

#include "audit/Audit.h"
#include "audit/DefaultPlaces.h"
#include "lib/ExitStatus.h"
#include "lib/Render.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/ToolOutputFile.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace kpkeys;
using namespace kpkeys::audit;

namespace {

cl::OptionCategory Category("Options of kpkeys-audit");

cl::list<std::string> Files(cl::Positional, cl::desc("vmlinux [module.ko ...]"), cl::cat(Category));
cl::list<std::string> PlacesFiles("places",
                                  cl::desc("Lists of named places, instead of the one built in; 'none' for no list"),
                                  cl::value_desc("file"), cl::cat(Category));
cl::opt<std::string> ExpectFile("expect", cl::desc("Each write that this list has not, or has in vain, is a finding"),
                                cl::value_desc("file"), cl::cat(Category));
cl::opt<bool> PrintSites("print-sites", cl::desc("Print the list for --expect, and nothing else"), cl::cat(Category));
cl::opt<bool> List("list", cl::desc("Print each write, with what is written"), cl::cat(Category));
cl::opt<bool> PrintPlaces("print-places", cl::desc("Print the list of named places that is built in"), cl::cat(Category));
cl::opt<bool> UnusedPlaces("unused-places", cl::desc("A named place that nothing needs is a finding"), cl::cat(Category));
cl::opt<bool> AllowNone("allow-none", cl::desc("Accept a kernel that never writes POR_EL1"), cl::cat(Category));
cl::opt<Format> OutputFormat("format", cl::desc("Form of the report:"),
                             cl::values(clEnumValN(Format::Text, "text", "for people (default)"),
                                        clEnumValN(Format::JSON, "json", "with all sites"),
                                        clEnumValN(Format::SARIF, "sarif", "SARIF 2.1.0"),
                                        clEnumValN(Format::GitHub, "github", "annotations")),
                             cl::init(Format::Text), cl::cat(Category));
cl::opt<std::string> JsonFile("json", cl::desc("Write the report as JSON here as well"), cl::value_desc("file"),
                              cl::cat(Category));
cl::opt<std::string> Output("o", cl::desc("Write the report here"), cl::value_desc("file"), cl::init("-"),
                            cl::cat(Category));

constexpr char Overview[] =
    R"(Lists every write of POR_EL1 in a kernel, finds out where the value comes from, and reports those
that could be misused: values from memory or from a caller, permissive values that are returned with,
writes without an ISB. Alternatives, static branches and modules are looked at as well.

  kpkeys-audit vmlinux                                  report what is wrong
  kpkeys-audit vmlinux drivers/*/*.ko                   with modules
  kpkeys-audit --list vmlinux                           each write
  kpkeys-audit --print-sites vmlinux > sites.txt        pin the writes, and
  kpkeys-audit --expect sites.txt vmlinux               show each new one

Exit status: 0 clean, 1 findings, 2 usage or set-up.)";

int fail(const Twine &Message) {
  errs() << "kpkeys-audit: error: " << Message << "\n";
  return ExitUsage;
}

Expected<std::unique_ptr<MemoryBuffer>> open(StringRef Path) {
  auto Buffer = MemoryBuffer::getFile(Path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!Buffer)
    return createStringError(Buffer.getError(), "cannot read '" + Path + "': " + Buffer.getError().message());
  return std::move(*Buffer);
}

Expected<Places> loadPlaces() {
  if (PlacesFiles.empty())
    return Places::parse(DefaultPlaces, "built-in list of places");
  Places All;
  for (const std::string &Path : PlacesFiles) {
    if (Path == "none")
      continue;
    auto Text = open(Path);
    if (!Text)
      return Text.takeError();
    Expected<Places> Some = Places::parse((*Text)->getBuffer(), Path);
    if (!Some)
      return Some.takeError();
    All.append(std::move(*Some));
  }
  return All;
}

std::string describe(const Site &S) {
  std::string Where = S.Image.empty() ? S.Function : S.Image + "/" + S.Function;
  std::string Line = S.Loc.Line ? formatv(" {0}:{1}", S.Loc.File, S.Loc.Line).str() : "";
  return formatv("{0:x-}  {1,-8}  {2,-9}  {3,-24}  {4}+{5:x}{6}{7}", S.Address, registerName(S.Reg), S.Kind, S.Origin,
                 Where, S.Offset, S.Alternative ? " (alternative)" : "", Line)
      .str();
}

void printSites(raw_ostream &OS, ArrayRef<Site> Sites) {
  for (bool Apart : {false, true}) {
    bool First = true;
    for (const Site &S : Sites) {
      if ((S.Reg != PorEl1) != Apart)
        continue;
      if (Apart && First)
        OS << "\nNot the kernel's own register:\n";
      First = false;
      OS << describe(S) << "\n";
    }
  }
}

void printSummary(raw_ostream &OS, ArrayRef<Site> Sites, const AuditResult &Totals, size_t Findings) {
  std::map<std::string, unsigned> Kinds, Registers;
  for (const Site &S : Sites) {
    ++Registers[registerName(S.Reg).str()];
    if (S.Reg == PorEl1)
      ++Kinds[S.Kind];
  }
  SmallVector<std::string> Parts;
  for (const auto &[Kind, Count] : Kinds)
    Parts.push_back(formatv("{0} {1}", Count, Kind).str());
  OS << formatv("{0} writes of POR_EL1 in {1} functions", Registers["POR_EL1"], Totals.Functions);
  if (!Parts.empty())
    OS << " (" << join(Parts, ", ") << ")";
  OS << formatv(", {0} of POR_EL2, {1} of POR_EL12: {2} finding{3}\n", Registers["POR_EL2"], Registers["POR_EL12"],
                Findings, Findings == 1 ? "" : "s");
}

json::Array sitesJSON(ArrayRef<Site> Sites) {
  json::Array All;
  for (const Site &S : Sites)
    All.push_back(json::Object{{"image", json::fixUTF8(S.Image)},
                               {"function", json::fixUTF8(S.Function)},
                               {"address", formatv("{0:x}", S.Address).str()},
                               {"offset", S.Offset},
                               {"register", registerName(S.Reg)},
                               {"kind", S.Kind},
                               {"origin", S.Origin},
                               {"alternative", S.Alternative},
                               {"file", json::fixUTF8(S.Loc.File)},
                               {"line", S.Loc.Line}});
  return All;
}

json::Value reportJSON(const ToolInfo &Tool, const RunInfo &Run, const AuditResult &All) {
  json::Value Report = toJSON(Tool, Run, All.Findings);
  if (json::Object *Object = Report.getAsObject())
    (*Object)["sites"] = sitesJSON(All.Sites);
  return Report;
}

/// Write to the file @p Path by @p Write. A file that cannot be written whole is removed.
bool writeFile(StringRef Path, function_ref<void(raw_ostream &)> Write) {
  std::error_code Problem;
  ToolOutputFile File(Path, Problem, sys::fs::OF_Text);
  if (!Problem) {
    Write(File.os());
    File.os().flush();
    Problem = File.os().error();
    File.os().clear_error();
  }
  if (Problem) {
    fail("cannot write '" + Path + "': " + Problem.message());
    return false;
  }
  File.keep();
  return true;
}

int run() {
  if (PrintPlaces) {
    outs() << DefaultPlaces;
    return ExitClean;
  }
  if (Files.empty())
    return fail("no kernel given: kpkeys-audit vmlinux [module.ko ...], see --help");
  Expected<Places> Named = loadPlaces();
  if (!Named)
    return fail(toString(Named.takeError()));
  Inventory Wanted;
  if (!ExpectFile.empty()) {
    auto Text = open(ExpectFile);
    if (!Text)
      return fail(toString(Text.takeError()) + ": make it with --print-sites");
    Expected<Inventory> Parsed = parseInventory((*Text)->getBuffer(), ExpectFile);
    if (!Parsed)
      return fail(toString(Parsed.takeError()));
    Wanted = std::move(*Parsed);
  }
  Expected<std::unique_ptr<Decoder>> D = Decoder::create();
  if (!D)
    return fail(toString(D.takeError()));

  AuditResult All;
  for (const std::string &Path : Files) {
    auto Buffer = open(Path);
    if (!Buffer)
      return fail(toString(Buffer.takeError()));
    Expected<Image> Loaded = Image::load(std::move(*Buffer));
    if (!Loaded)
      return fail(toString(Loaded.takeError()));
    AuditResult One = audit::audit(*Loaded, **D, *Named);
    bool Any = llvm::any_of(One.Sites, [](const Site &S) { return S.Reg == PorEl1; });
    if (!Any && !Loaded->isModule() && !AllowNone)
      return fail("'" + Path + "' never writes POR_EL1, so nothing was shown: build it with CONFIG_ARCH_HAS_KPKEYS, "
                               "or give --allow-none");
    llvm::append_range(All.Sites, One.Sites);
    llvm::append_range(All.Findings, One.Findings);
    All.Functions += One.Functions;
    All.Instructions += One.Instructions;
    All.States += One.States;
  }

  Inventory Is = inventory(All.Sites);
  if (!ExpectFile.empty())
    llvm::append_range(All.Findings, compare(Wanted, Is, All.Sites, ExpectFile));
  if (UnusedPlaces)
    for (const Places::Line *L : Named->unused()) {
      Finding F;
      F.Check = "por-unused-place";
      F.Loc = {L->File, L->Number, 0};
      F.Message = "nothing needs this place: " + L->Pattern;
      F.Key = L->Pattern;
      All.Findings.push_back(std::move(F));
    }
  sortAndDedupe(All.Findings);

  ToolInfo Tool{"kpkeys-audit", KPKEYS_VERSION, checks()};
  RunInfo Run;
  Run.Analysed = Files.size();
  bool Written = writeFile(Output, [&](raw_ostream &OS) {
    if (PrintSites)
      return writeInventory(OS, Is);
    if (OutputFormat == Format::JSON) {
      OS << formatv("{0:2}", reportJSON(Tool, Run, All)) << "\n";
      return;
    }
    if (List)
      printSites(OS, All.Sites);
    render(OutputFormat, OS, Tool, Run, All.Findings, Output == "-" && wantsColour(1));
    if (OutputFormat == Format::Text)
      printSummary(OS, All.Sites, All, All.Findings.size());
  });
  if (Written && !JsonFile.empty())
    Written = writeFile(JsonFile, [&](raw_ostream &OS) { OS << formatv("{0:2}", reportJSON(Tool, Run, All)) << "\n"; });
  if (!Written)
    return ExitUsage;
  if (PrintSites)
    return ExitClean;
  return All.Findings.empty() ? ExitClean : ExitFindings;
}

} // namespace

int main(int Argc, char **Argv) {
  InitLLVM Init(Argc, Argv);
  cl::HideUnrelatedOptions(Category);
  cl::SetVersionPrinter([](raw_ostream &OS) { OS << "kpkeys-audit " KPKEYS_VERSION "\n"; });
  std::string Errors;
  raw_string_ostream Stream(Errors);
  if (!cl::ParseCommandLineOptions(Argc, Argv, Overview, &Stream)) {
    errs() << Errors;
    return ExitUsage;
  }
  return run();
}
