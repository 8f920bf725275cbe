// SPDX-License-Identifier: GPL-2.0-only
//
// Clang's SarifDocumentWriter wants a SourceManager for each location and has
// neither fingerprints nor related locations. Findings here come from fact files
// and binaries, long after any SourceManager, so the document is made directly.

#include "lib/Render.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"

using namespace llvm;

namespace kpkeys {

static json::Value text(StringRef S) { return json::isUTF8(S) ? S.str() : json::fixUTF8(S); }

static json::Object message(StringRef S) { return json::Object{{"text", text(S)}}; }

/// @p Path with what a URI reserves or does not allow percent-encoded.
static std::string encodePath(StringRef Path) {
  std::string Out;
  for (char C : Path) {
    if (isAlnum(C) || StringRef("/-._~").contains(C))
      Out += C;
    else
      Out += "%" + toHex(StringRef(&C, 1));
  }
  return Out;
}

static constexpr StringLiteral RootName = "SRCROOT";

static json::Object physicalLocation(const Location &Loc) {
  json::Object Artifact;
  if (sys::path::is_absolute(Loc.File)) {
    Artifact["uri"] = "file://" + encodePath(Loc.File);
  } else {
    Artifact["uri"] = encodePath(Loc.File);
    Artifact["uriBaseId"] = RootName.str();
  }
  json::Object Physical{{"artifactLocation", std::move(Artifact)}};
  if (Loc.Line) {
    json::Object Region{{"startLine", Loc.Line}};
    if (Loc.Column)
      Region["startColumn"] = Loc.Column;
    Physical["region"] = std::move(Region);
  }
  return Physical;
}

/// The level of results; SARIF's names are those of the severities.
static std::string level(Severity S) { return severityName(S).str(); }

static json::Array rules(const ToolInfo &Tool) {
  json::Array Rules;
  for (const CheckInfo &Check : Tool.Checks)
    Rules.push_back(json::Object{
        {"id", Check.Name.str()},
        {"shortDescription", message(Check.Summary)},
        {"defaultConfiguration", json::Object{{"level", level(Check.Level)}}},
        {"properties", json::Object{{"noise", Check.Noise}}},
    });
  return Rules;
}

static json::Object result(const ToolInfo &Tool, const Finding &F) {
  const CheckInfo *Check = findCheck(Tool.Checks, F.Check);
  json::Object Result{
      {"ruleId", text(F.Check)},
      {"level", level(Check ? Check->Level : Severity::Warning)},
      {"message", message(F.Message)},
      {"partialFingerprints", json::Object{{"kpkeys/v1", F.Fingerprint}}},
      {"baselineState", F.Known ? "unchanged" : "new"},
  };
  if (Check)
    Result["ruleIndex"] = Check - Tool.Checks.begin();
  json::Object Where;
  if (!F.Loc.File.empty())
    Where["physicalLocation"] = physicalLocation(F.Loc);
  if (!F.Function.empty())
    Where["logicalLocations"] = json::Array{json::Object{{"name", text(F.Function)}, {"kind", "function"}}};
  if (!Where.empty())
    Result["locations"] = json::Array{std::move(Where)};
  json::Array Related;
  for (const Note &N : F.Notes) {
    json::Object Step{{"message", message(N.Message)}};
    if (!N.Loc.File.empty())
      Step["physicalLocation"] = physicalLocation(N.Loc);
    Related.push_back(std::move(Step));
  }
  if (!Related.empty())
    Result["relatedLocations"] = std::move(Related);
  return Result;
}

json::Value toSARIF(const ToolInfo &Tool, const RunInfo &Run, ArrayRef<Finding> Findings) {
  json::Array Results;
  for (const Finding &F : Findings)
    Results.push_back(result(Tool, F));
  json::Array Notifications;
  for (const std::string &Line : Run.Problems)
    Notifications.push_back(json::Object{{"level", "error"}, {"message", message(Line)}});
  json::Object Invocation{{"executionSuccessful", Run.Complete},
                          {"toolExecutionNotifications", std::move(Notifications)}};
  json::Object Driver{{"name", Tool.Name.str()}, {"version", Tool.Version.str()}, {"rules", rules(Tool)}};
  json::Object Document{
      {"tool", json::Object{{"driver", std::move(Driver)}}},
      {"invocations", json::Array{std::move(Invocation)}},
      {"columnKind", "utf16CodeUnits"},
      {"results", std::move(Results)},
  };
  if (!Run.SourceRoot.empty()) {
    // A base must end in a slash, or its last part is replaced.
    std::string Base = "file://" + encodePath(StringRef(Run.SourceRoot).rtrim('/')) + "/";
    Document["originalUriBaseIds"] = json::Object{{RootName, json::Object{{"uri", std::move(Base)}}}};
  }
  return json::Object{
      {"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
      {"version", "2.1.0"},
      {"runs", json::Array{std::move(Document)}},
  };
}

} // namespace kpkeys
