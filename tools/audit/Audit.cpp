// SPDX-License-Identifier: GPL-2.0-only

#include "audit/Audit.h"

#include "lib/Lines.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"

#include <set>

using namespace llvm;

namespace kpkeys::audit {

ArrayRef<CheckInfo> checks() {
  static const CheckInfo Checks[] = {
      {"por-memory", "A value from memory is written to POR_EL1 outside the named places.", Severity::Error, 0},
      {"por-argument", "A function writes a value of its caller's choice to POR_EL1.", Severity::Error, 0},
      {"por-register", "What another register holds is written to POR_EL1 outside the named places.", Severity::Error, 0},
      {"por-computed", "A value of unknown origin is written to POR_EL1.", Severity::Error, 0},
      {"por-return", "A function ends with a permissive value in POR_EL1.", Severity::Error, 0},
      {"por-call", "A function is called with a permissive value in POR_EL1.", Severity::Error, 0},
      {"por-isb", "POR_EL1 is written without an ISB before the value is relied on.", Severity::Error, 0},
      {"por-unreached", "A write to POR_EL1 that no way from the entry of a function leads to.", Severity::Error, 0},
      {"por-jump", "A computed jump that cannot be followed, in a function that writes POR_EL1.", Severity::Error, 0},
      {"por-limit", "A function that writes POR_EL1 has too many ways to be followed.", Severity::Error, 0},
      {"por-new-site", "A write that the list of expected ones does not have.", Severity::Error, 0},
      {"por-gone-site", "A write that the list of expected ones has, and the binary has not.", Severity::Error, 0},
      {"por-unused-place", "A line of the list of named places that nothing needs.", Severity::Warning, 0},
  };
  return Checks;
}

StringRef registerName(SystemRegister Reg) {
  switch (Reg) {
  case PorEl0:
    return "POR_EL0";
  case PorEl1:
    return "POR_EL1";
  case PorEl2:
    return "POR_EL2";
  case PorEl12:
    return "POR_EL12";
  }
  return "?";
}

namespace {

constexpr SystemRegister Registers[] = {PorEl1, PorEl2, PorEl12};

std::string systemName(uint64_t Encoding) {
  for (SystemRegister Reg : {PorEl0, PorEl1, PorEl2, PorEl12})
    if (Encoding == Reg)
      return registerName(Reg).str();
  return formatv("S{0}_{1}_C{2}_C{3}_{4}", 2 + (Encoding >> 14 & 1), Encoding >> 11 & 7, Encoding >> 7 & 15,
                 Encoding >> 3 & 15, Encoding & 7)
      .str();
}

/// What an origin is called in lists.
std::string originName(const Origin &O) {
  switch (O.From) {
  case Source::Argument:
    return ("argument-x" + Twine(O.Detail)).str();
  case Source::Register:
    return ("register-x" + Twine(O.Detail)).str();
  case Source::System:
    return systemName(O.Detail);
  case Source::Memory:
    return "memory";
  case Source::Result:
    return "call";
  default:
    return "computed";
  }
}

class Auditor {
public:
  Auditor(const Image &I, Decoder &D, const Places &P) : I(I), D(D), P(P) {}

  AuditResult run(const Function *Only);

private:
  Location locate(uint64_t Address) const;
  std::string where(uint64_t Address) const;
  Finding &add(StringRef Check, const Function *F, uint64_t At, const Twine &Message, const Twine &Key);
  void note(Finding &To, uint64_t At, const Twine &Message) const;

  std::vector<const Function *> owners(uint64_t Address);
  const Function *parent(const Function &Part);
  using Chosen = std::map<uint64_t, const Function *>;
  using Entries = std::set<std::pair<uint64_t, uint64_t>>;
  bool findEntries(Chosen &Functions, Entries &Into, const std::set<uint64_t> &Strays);
  void judge(const Function &F, const WalkResult &R);
  void judgeValue(const Function &F, const Write &W);
  void judgeEvents(const Function &F, const WalkResult &R);
  void record(const Function *F, const Write &W, bool Reached);
  /// Places of @p F: the outer function's rules hold for its cold part.
  bool allows(Rule R, const Function &F) const { return P.allows(R, F); }

  const Image &I;
  Decoder &D;
  const Places &P;
  AuditResult Out;
  std::multimap<std::string, const Function *> ByName;
  std::set<uint64_t> BatchEnds; ///< Functions that end batches.
};

Location Auditor::locate(uint64_t Address) const {
  Location Loc;
  // An alternative has the line that it was written in.
  if (auto Line = I.line(Address)) {
    Loc.File = Line->first;
    Loc.Line = Line->second;
  } else {
    Loc.File = I.path();
  }
  return Loc;
}

std::string Auditor::where(uint64_t Address) const {
  ArrayRef<uint64_t> Homes = I.homes(Address);
  if (!Homes.empty())
    return "an alternative of " + I.nameOf(Homes.front());
  return I.nameOf(Address);
}

Finding &Auditor::add(StringRef Check, const Function *F, uint64_t At, const Twine &Message, const Twine &Key) {
  Finding N;
  N.Check = Check.str();
  N.Loc = locate(At);
  N.Message = (Message + " (at " + where(At) + ")").str();
  N.Function = F ? F->qualifiedName() : "";
  N.Key = Key.str();
  Out.Findings.push_back(std::move(N));
  return Out.Findings.back();
}

void Auditor::note(Finding &To, uint64_t At, const Twine &Message) const {
  To.Notes.push_back({locate(At), (Message + " (at " + where(At) + ")").str()});
}

const Function *Auditor::parent(const Function &Part) {
  StringRef Name = StringRef(Part.Name).split(".cold").first;
  if (ByName.empty())
    for (const Function &F : I.functions()) {
      ByName.emplace(F.Name, &F);
      for (const std::string &Alias : F.Aliases)
        ByName.emplace(Alias, &F);
    }
  auto [First, Last] = ByName.equal_range(Name.str());
  for (auto It = First; It != Last; ++It)
    if (It->second->File == Part.File || std::next(First) == Last)
      return It->second;
  return nullptr;
}

/// The functions that the write at @p Address is executed in.
std::vector<const Function *> Auditor::owners(uint64_t Address) {
  SmallVector<uint64_t> Places(I.homes(Address).begin(), I.homes(Address).end());
  if (Places.empty())
    Places.push_back(Address);
  std::vector<const Function *> Found;
  for (uint64_t Place : Places) {
    const Function *F = I.functionAt(Place);
    if (F && StringRef(F->Name).contains(".cold"))
      if (const Function *Whole = parent(*F))
        F = Whole;
    if (F && !is_contained(Found, F))
      Found.push_back(F);
  }
  return Found;
}

void Auditor::record(const Function *F, const Write &W, bool Reached) {
  Site S;
  if (I.isModule())
    S.Image = sys::path::filename(I.path()).str();
  S.Function = F ? F->qualifiedName() : "?";
  S.Address = W.Address;
  S.Offset = F ? W.Address - F->Start : 0;
  S.Reg = W.Reg;
  S.Alternative = !I.homes(W.Address).empty();
  S.Loc = locate(W.Address);
  std::set<std::string> Origins;
  if (W.Immediate)
    Origins.insert("immediate");
  if (W.Read)
    Origins.insert("mrs");
  for (const auto &[O, Mask] : W.Others)
    Origins.insert(originName(O));
  if (!Reached)
    S.Kind = "unreached";
  else if (!W.Executed)
    S.Kind = "idle";
  else if (!W.Others.empty())
    S.Kind = "load";
  else if (W.Grants)
    S.Kind = "set";
  else if (W.Immediate)
    S.Kind = "unset";
  else
    S.Kind = "restore";
  S.Origin = Origins.empty() ? "none" : join(Origins, ",");
  Out.Sites.push_back(std::move(S));
}

void Auditor::judgeValue(const Function &F, const Write &W) {
  struct Group {
    StringRef Check;
    Rule R;
    std::string What;
    SmallVector<std::pair<Origin, uint64_t>> Origins;
  };
  Group Groups[] = {{"por-memory", Rule::Memory, "memory", {}},
                    {"por-argument", Rule::Argument, "its caller", {}},
                    {"por-register", Rule::Register, "another register", {}},
                    {"por-computed", Rule::Computed, "something that is not followed", {}}};
  for (const auto &[O, Mask] : W.Others) {
    unsigned N = O.From == Source::Memory                                   ? 0
                 : O.From == Source::Argument                               ? 1
                 : O.From == Source::System || O.From == Source::Register ? 2
                                                                            : 3;
    Groups[N].Origins.emplace_back(O, Mask);
  }
  for (const Group &G : Groups) {
    if (G.Origins.empty() || allows(G.R, F))
      continue;
    uint64_t Mask = 0;
    std::set<std::string> Names;
    for (const auto &[O, Bits] : G.Origins) {
      Mask |= Bits;
      Names.insert(originName(O));
    }
    Finding &N = add(G.Check, &F, W.Address,
                     F.Name + "() writes a value from " + G.What + " to POR_EL1: " + join(Names, ", ") +
                         formatv(", bits {0:x}", Mask).str(),
                     join(Names, ","));
    for (const auto &[O, Bits] : G.Origins) {
      if (O.From == Source::Memory)
        note(N, O.Detail, "loaded here");
      else if (O.From == Source::Result && O.Detail)
        note(N, O.Detail, "left by this call");
      else if (O.From == Source::Computed && O.Detail && O.Detail != W.Address)
        note(N, O.Detail, "made here");
    }
  }
}

void Auditor::judgeEvents(const Function &F, const WalkResult &R) {
  auto callee = [&](const Event &E) { return E.Callee ? I.nameOf(E.Callee) + "()" : std::string("a function by pointer"); };
  // A batch that is never ended here is no batch.
  bool Ends = R.BatchLeaves || llvm::any_of(R.Callees, [&](uint64_t Callee) { return BatchEnds.contains(Callee); });
  auto isBatch = [&](const Event &E) { return E.Batch && Ends && allows(Rule::Batch, F); };
  std::map<uint64_t, std::vector<Event>> Calls;
  for (const Event &E : R.Events) {
    switch (E.Kind) {
    case EventKind::LeakCall:
      if (!isBatch(E) && !P.allowsCall(F, E.Callee ? I.nameOf(E.Callee) : "?"))
        Calls[E.Write].push_back(E);
      break;
    case EventKind::LeakReturn: {
      if (isBatch(E) || allows(Rule::Return, F))
        break;
      std::string How = E.Callee ? "jumps to " + callee(E) : "returns";
      Finding &N = add("por-return", &F, E.At,
                       F.Name + "() " + How + " with the permissive value that it wrote to POR_EL1" +
                           (E.Batch ? ", as a batch would" : ""),
                       E.Callee ? callee(E) : "return");
      note(N, E.Write, "written here");
      break;
    }
    case EventKind::NoBarrier: {
      if (allows(Rule::NoIsb, F))
        break;
      std::string Until = E.Callee ? "before the call of " + callee(E) : "before it matters";
      Finding &N = add("por-isb", &F, E.Write, F.Name + "() writes POR_EL1 without an ISB " + Until, "isb");
      note(N, E.At, "reached without an ISB");
      break;
    }
    case EventKind::ComputedJump:
      if (!allows(Rule::Jump, F))
        add("por-jump", &F, E.At, F.Name + "() has a computed jump that cannot be followed", "jump");
      break;
    case EventKind::GaveUp:
      add("por-limit", &F, E.At, F.Name + "() has too many ways to be followed", "limit");
      break;
    }
  }
  for (const auto &[Write, Events] : Calls) {
    const Event &First = Events.front();
    Finding &N = add("por-call", &F, First.At,
                     F.Name + "() calls " + callee(First) + " with the permissive value that it wrote to POR_EL1",
                     callee(First));
    note(N, Write, "written here");
    for (const Event &E : ArrayRef<Event>(Events).drop_front())
      note(N, E.At, "and calls " + callee(E));
  }
}

void Auditor::judge(const Function &F, const WalkResult &R) {
  for (const auto &[Address, W] : R.Writes)
    if (W.Reg == PorEl1)
      judgeValue(F, W);
  judgeEvents(F, R);
}

/// Find the ways into the middle of @p Functions: from there on nothing is known
/// of the registers. A function that jumps there is walked itself, which knows
/// more. Returns whether anything is new. @p Strays are known to belong to one.
bool Auditor::findEntries(Chosen &Functions, Entries &Into, const std::set<uint64_t> &Strays) {
  // A cold part has no way in but from its function.
  std::map<uint64_t, std::pair<uint64_t, const Function *>> Middle;
  for (const auto &[Start, F] : Functions)
    Middle[Start + 4] = {F->End, F};
  for (const Function &Part : I.functions())
    if (StringRef(Part.Name).contains(".cold"))
      if (const Function *Whole = parent(Part); Whole && Functions.contains(Whole->Start))
        Middle[Part.Start] = {Part.End, Whole};
  std::vector<std::pair<uint64_t, uint64_t>> Ranges;
  for (const auto &[Start, End] : Middle)
    Ranges.emplace_back(Start, End.first);
  auto owner = [&](uint64_t Address) -> const Function * {
    auto It = Middle.upper_bound(Address);
    return It == Middle.begin() || Address >= std::prev(It)->second.first ? nullptr : std::prev(It)->second.second;
  };
  bool New = false;
  for (uint64_t Label : I.labels())
    if (const Function *F = owner(Label))
      New |= Into.emplace(F->Start, Label).second;
  for (const Jump &J : I.jumpsInto(Ranges)) {
    const Function *F = owner(J.To);
    ArrayRef<uint64_t> Homes = I.homes(J.From);
    const Function *From = I.functionAt(Homes.empty() ? J.From : Homes.front());
    bool Inside = From ? From == F || F->hasPart(*From) : Strays.contains(J.From);
    if (Inside && J.Is != Jump::Call)
      continue;
    if (From && J.Is == Jump::Branch && !I.functionFrom(J.To))
      New |= Functions.emplace(From->Start, From).second;
    else
      New |= Into.emplace(F->Start, J.To).second;
  }
  return New;
}

AuditResult Auditor::run(const Function *Only) {
  std::map<uint64_t, SystemRegister> All;
  Auditor::Chosen Chosen;
  if (Only) {
    Chosen[Only->Start] = Only;
  } else {
    for (SystemRegister Reg : Registers)
      for (uint64_t Address : I.find(writeOf(Reg), WriteMask))
        All[Address] = Reg;
    for (const auto &[Address, Reg] : All)
      for (const Function *F : owners(Address))
        Chosen[F->Start] = F;
    // Data is a write only if some way leads there.
    for (SystemRegister Reg : Registers)
      for (uint64_t Address : I.find(writeOf(Reg), WriteMask, /*Data=*/true))
        for (const Function *F : owners(Address))
          Chosen[F->Start] = F;
  }
  auto kindOf = [&](uint64_t Callee) {
    const Function *F = I.functionFrom(Callee);
    auto is = [&](Rule R) { return F ? P.allows(R, *F) : P.allows(R, I.nameOf(Callee)); };
    if (is(Rule::NoReturn))
      return CalleeKind::ReturnsNot;
    return is(Rule::Instrument) ? CalleeKind::Instrument : CalleeKind::Ordinary;
  };
  std::map<uint64_t, CalleeKind> Kinds;
  auto cached = [&](uint64_t Callee) {
    auto [It, New] = Kinds.try_emplace(Callee, CalleeKind::Ordinary);
    if (New)
      It->second = kindOf(Callee);
    return It->second;
  };
  std::set<uint64_t> Reached, Strays;
  std::vector<std::pair<const Function *, WalkResult>> Walked;
  Entries Into, Done;
  do {
    for (const auto &[Start, F] : Chosen)
      Into.emplace(Start, Start);
    for (const auto &[Start, Entry] : Into) {
      if (!Done.emplace(Start, Entry).second)
        continue;
      const Function *F = Chosen.at(Start);
      WalkResult R = walk(I, D, *F, Entry, cached);
      Out.Functions += Entry == Start;
      Out.Instructions += R.Instructions;
      Out.States += R.States;
      for (const auto &[Address, W] : R.Writes)
        if (Reached.insert(Address).second)
          record(F, W, true);
      if (R.BatchLeaves)
        BatchEnds.insert(Start);
      Strays.insert(R.Strays.begin(), R.Strays.end());
      Walked.emplace_back(F, std::move(R));
    }
  } while (!Only && findEntries(Chosen, Into, Strays));
  for (const auto &[F, R] : Walked)
    judge(*F, R);
  if (Only)
    return std::move(Out);
  for (const auto &[Address, Reg] : All) {
    if (Reached.contains(Address))
      continue;
    Write W;
    W.Address = Address;
    W.Reg = Reg;
    std::vector<const Function *> In = owners(Address);
    record(In.empty() ? nullptr : In.front(), W, false);
    if (Reg == PorEl1)
      add("por-unreached", In.empty() ? nullptr : In.front(), Address,
          "no way from the entry of a function leads to this write of POR_EL1", "unreached");
  }
  llvm::stable_sort(Out.Sites, [](const Site &A, const Site &B) { return A.Address < B.Address; });
  return std::move(Out);
}

} // namespace

AuditResult audit(const Image &I, Decoder &D, const Places &P, const Function *Only) {
  return Auditor(I, D, P).run(Only);
}

// The list of expected sites

static SiteClass classOf(const Site &S) {
  std::string Name = S.Image.empty() ? S.Function : S.Image + "/" + S.Function;
  return {Name, registerName(S.Reg).str(), S.Kind, S.Origin};
}

Inventory inventory(ArrayRef<Site> Sites) {
  Inventory Found;
  for (const Site &S : Sites)
    ++Found[classOf(S)];
  return Found;
}

Expected<Inventory> parseInventory(StringRef Text, StringRef Name) {
  Inventory Found;
  Error E = forEachLine(Text, Name, [&](StringRef Line, unsigned) -> Error {
    SmallVector<StringRef> Words;
    Line.split(Words, ' ', -1, /*KeepEmpty=*/false);
    unsigned Count;
    if (Words.size() != 5 || Words[4].getAsInteger(10, Count) || !Count)
      return badLine("this is not 'FUNCTION REGISTER KIND ORIGIN COUNT': make the file with --print-sites");
    SiteClass C{Words[0].str(), Words[1].str(), Words[2].str(), Words[3].str()};
    if (!Found.try_emplace(C, Count).second)
      return badLine("this stands there twice: remove one line");
    return Error::success();
  });
  if (E)
    return std::move(E);
  return Found;
}

void writeInventory(raw_ostream &OS, const Inventory &I) {
  for (const auto &[C, Count] : I)
    OS << C.Function << ' ' << C.Register << ' ' << C.Kind << ' ' << C.Origin << ' ' << Count << '\n';
}

std::vector<Finding> compare(const Inventory &Expected, const Inventory &Is, ArrayRef<Site> Sites, StringRef Name) {
  std::vector<Finding> Found;
  auto add = [&](StringRef Check, const SiteClass &C, unsigned Has, unsigned Wanted) {
    Finding F;
    F.Check = Check.str();
    F.Function = C.Function;
    F.Key = C.Register + " " + C.Kind + " " + C.Origin;
    F.Loc.File = Name.str();
    for (const Site &S : Sites)
      if (classOf(S) == C) {
        F.Loc = S.Loc;
        break;
      }
    F.Message = (C.Function + "() has " + Twine(Has) + " writes of " + C.Register + " of the kind " + C.Kind + " from " +
                 C.Origin + ", and " + Name + " has " + Twine(Wanted))
                    .str();
    Found.push_back(std::move(F));
  };
  for (const auto &[C, Has] : Is) {
    auto It = Expected.find(C);
    unsigned Wanted = It == Expected.end() ? 0 : It->second;
    if (Has > Wanted)
      add("por-new-site", C, Has, Wanted);
  }
  for (const auto &[C, Wanted] : Expected) {
    auto It = Is.find(C);
    unsigned Has = It == Is.end() ? 0 : It->second;
    if (Has < Wanted)
      add("por-gone-site", C, Has, Wanted);
  }
  return Found;
}

} // namespace kpkeys::audit
