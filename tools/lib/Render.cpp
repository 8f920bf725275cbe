// SPDX-License-Identifier: GPL-2.0-only
#include "lib/Render.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdlib>

using namespace llvm;

namespace kpkeys {

static Severity severityOf(const ToolInfo &Tool, const Finding &F) {
  const CheckInfo *Check = findCheck(Tool.Checks, F.Check);
  return Check ? Check->Level : Severity::Warning;
}

bool wantsColour(int FD) {
  const char *Term = std::getenv("TERM");
  return sys::Process::FileDescriptorIsDisplayed(FD) && !std::getenv("NO_COLOR") &&
         StringRef(Term ? Term : "") != "dumb";
}

namespace {

/// Lines of source files, each file read once.
class SourceLines {
public:
  explicit SourceLines(StringRef Root) : Root(Root) {}

  /// The line at @p Loc, or an empty string if it cannot be had.
  StringRef get(const Location &Loc) {
    if (Loc.File.empty() || !Loc.Line)
      return "";
    auto [It, New] = Files.try_emplace(Loc.File);
    if (New)
      read(Loc.File, It->second);
    const Lines &Text = It->second;
    return Loc.Line <= Text.Split.size() ? Text.Split[Loc.Line - 1].rtrim("\r") : "";
  }

private:
  struct Lines {
    std::unique_ptr<MemoryBuffer> Buffer;
    SmallVector<StringRef, 0> Split;
  };

  void read(StringRef File, Lines &Into) const {
    SmallString<128> Path(File);
    if (!sys::path::is_absolute(Path))
      Path = (Twine(Root) + "/" + File).str();
    auto Buffer = MemoryBuffer::getFile(Path);
    if (!Buffer)
      return;
    Into.Buffer = std::move(*Buffer);
    Into.Buffer->getBuffer().split(Into.Split, '\n');
  }

  std::string Root;
  StringMap<Lines> Files;
};

/// Prints one finding after the other in clang's form.
class TextRenderer {
public:
  TextRenderer(raw_ostream &OS, const ToolInfo &Tool, StringRef Root, bool Colour)
      : OS(OS), Tool(Tool), Lines(Root), Colour(Colour) {}

  void finding(const Finding &F) {
    Severity S = severityOf(Tool, F);
    head(F.Loc, severityName(S), S == Severity::Error ? raw_ostream::RED : raw_ostream::MAGENTA);
    bold();
    OS << F.Message << " [" << F.Check << "]";
    plain();
    OS << (F.Known ? " (in the baseline)\n" : "\n");
    snippet(F.Loc);
    for (const Note &N : F.Notes) {
      head(N.Loc, "note", raw_ostream::CYAN);
      OS << N.Message << "\n";
      snippet(N.Loc);
    }
  }

private:
  void bold() {
    if (Colour)
      OS.changeColor(raw_ostream::SAVEDCOLOR, /*Bold=*/true);
  }
  void plain() {
    if (Colour)
      OS.resetColor();
  }

  void head(const Location &Loc, StringRef Kind, raw_ostream::Colors Paint) {
    bold();
    OS << (Loc.File.empty() ? Tool.Name : StringRef(Loc.File)) << ":";
    if (Loc.Line)
      OS << Loc.Line << ":";
    if (Loc.Line && Loc.Column)
      OS << Loc.Column << ":";
    OS << " ";
    if (Colour)
      OS.changeColor(Paint, /*Bold=*/true);
    OS << Kind << ": ";
    plain();
  }

  void snippet(const Location &Loc) {
    StringRef Text = Lines.get(Loc);
    if (Text.trim().empty())
      return;
    OS << formatNumber(Loc.Line) << " | " << Text << "\n";
    if (!Loc.Column || Loc.Column > Text.size() + 1)
      return;
    // Tabs stay tabs, so that the caret stands below its column at any width.
    OS << "      | ";
    for (char C : Text.take_front(Loc.Column - 1))
      OS << (C == '\t' ? '\t' : ' ');
    if (Colour)
      OS.changeColor(raw_ostream::GREEN, /*Bold=*/true);
    OS << "^";
    plain();
    OS << "\n";
  }

  static std::string formatNumber(unsigned Line) {
    std::string Number = utostr(Line);
    return std::string(Number.size() < 5 ? 5 - Number.size() : 0, ' ') + Number;
  }

  raw_ostream &OS;
  const ToolInfo &Tool;
  SourceLines Lines;
  bool Colour;
};

/// What sources and paths hold may be any bytes; JSON is UTF-8.
json::Value text(StringRef S) { return json::isUTF8(S) ? S.str() : json::fixUTF8(S); }

json::Object locationObject(const Location &Loc) {
  return json::Object{{"file", text(Loc.File)}, {"line", Loc.Line}, {"column", Loc.Column}};
}

} // namespace

void renderText(raw_ostream &OS, const ToolInfo &Tool, const RunInfo &Run, ArrayRef<Finding> Findings,
                bool Colour) {
  if (Colour)
    OS.enable_colors(true);
  TextRenderer Renderer(OS, Tool, Run.SourceRoot, Colour);
  for (const Finding &F : Findings)
    Renderer.finding(F);
}

json::Value toJSON(const ToolInfo &Tool, const RunInfo &Run, ArrayRef<Finding> Findings) {
  json::Array List;
  for (const Finding &F : Findings) {
    json::Object Out = locationObject(F.Loc);
    json::Array Notes;
    for (const Note &N : F.Notes) {
      json::Object Step = locationObject(N.Loc);
      Step["message"] = text(N.Message);
      Notes.push_back(std::move(Step));
    }
    Out["check"] = text(F.Check);
    Out["severity"] = severityName(severityOf(Tool, F)).str();
    Out["message"] = text(F.Message);
    Out["function"] = text(F.Function);
    Out["key"] = text(F.Key);
    Out["fingerprint"] = F.Fingerprint;
    Out["known"] = F.Known;
    Out["notes"] = std::move(Notes);
    List.push_back(std::move(Out));
  }
  json::Array Problems;
  for (const std::string &Line : Run.Problems)
    Problems.push_back(text(Line));
  return json::Object{
      {"format", 1},
      {"tool", json::Object{{"name", Tool.Name.str()}, {"version", Tool.Version.str()}}},
      {"source_root", text(Run.SourceRoot)},
      {"complete", Run.Complete},
      {"problems", std::move(Problems)},
      {"summary", json::Object{{"analysed", Run.Analysed},
                               {"findings", static_cast<int64_t>(Findings.size())},
                               {"suppressed", Run.Suppressed},
                               {"baselined", Run.Baselined}}},
      {"findings", std::move(List)},
  };
}

/// GitHub's own escapes; ',' and ':' end a property.
static std::string escapeCommand(StringRef S, bool Property) {
  std::string Out;
  for (char C : S) {
    bool Escape = C == '%' || C == '\r' || C == '\n' || (Property && (C == ':' || C == ','));
    if (Escape)
      Out += "%" + toHex(StringRef(&C, 1));
    else
      Out += C;
  }
  return Out;
}

void renderGitHub(raw_ostream &OS, const ToolInfo &Tool, ArrayRef<Finding> Findings) {
  for (const Finding &F : Findings) {
    Severity S = severityOf(Tool, F);
    OS << "::" << (S == Severity::Note ? "notice" : severityName(S));
    StringRef Sep = " ";
    auto Property = [&](StringRef Name, const Twine &Value) {
      OS << Sep << Name << "=" << escapeCommand(Value.str(), /*Property=*/true);
      Sep = ",";
    };
    if (!F.Loc.File.empty())
      Property("file", F.Loc.File);
    if (F.Loc.Line)
      Property("line", Twine(F.Loc.Line));
    if (F.Loc.Column)
      Property("col", Twine(F.Loc.Column));
    Property("title", Tool.Name + " " + F.Check);
    std::string Message = F.Message;
    for (const Note &N : F.Notes)
      Message += "\n" + (N.Loc.File.empty() ? "" : N.Loc.File + ":" + utostr(N.Loc.Line) + ": ") + N.Message;
    OS << "::" << escapeCommand(Message, /*Property=*/false) << "\n";
  }
}

void render(Format F, raw_ostream &OS, const ToolInfo &Tool, const RunInfo &Run, ArrayRef<Finding> Findings,
            bool Colour) {
  switch (F) {
  case Format::Text:
    return renderText(OS, Tool, Run, Findings, Colour);
  case Format::JSON:
    OS << formatv("{0:2}", toJSON(Tool, Run, Findings)) << "\n";
    return;
  case Format::SARIF:
    OS << formatv("{0:2}", toSARIF(Tool, Run, Findings)) << "\n";
    return;
  case Format::GitHub:
    return renderGitHub(OS, Tool, Findings);
  }
}

} // namespace kpkeys
