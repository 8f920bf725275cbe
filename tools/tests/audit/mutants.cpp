// SPDX-License-Identifier: GPL-2.0-only
//
// audit-mutants FILE: change each write of POR_EL1 in a real binary, and each
// ISB after one, as a mistake in the source would, and see kpkeys-audit notice.
//
//   isb      the ISB that follows a write becomes a NOP
//   restore  a write that restores becomes a NOP
//   memory   the instruction that makes the value becomes a load
//   argument the value that is written becomes one of an argument register
//
// Prints what was not noticed. Exits with 1 if anything was not that the list
// of known survivors, a second file with lines "KIND FUNCTION REASON", does not
// have, or if a line of that list is of no use.

#include "audit/Audit.h"
#include "audit/DefaultPlaces.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace kpkeys;
using namespace kpkeys::audit;

namespace {

constexpr uint32_t Nop = 0xd503201f, Isb = 0xd5033fdf, LoadX19 = 0xf9400260;

struct Tally {
  unsigned Made = 0, Noticed = 0;
};

class Mutator {
public:
  Mutator(Image &I, Decoder &D, const Places &P) : I(I), D(D), P(P) {}

  /// Make all mutants of @p S.
  void mutate(const Site &S);
  std::map<std::string, Tally> Tallies;
  std::vector<std::pair<std::string, std::string>> Survivors; ///< Name, place.

private:
  void attempt(StringRef Kind, const Site &S, const Function &F, uint64_t At, uint32_t Word);
  AuditResult judge(const Function &F) { return audit::audit(I, D, P, &F); }

  Image &I;
  Decoder &D;
  const Places &P;
};

void Mutator::attempt(StringRef Kind, const Site &S, const Function &F, uint64_t At, uint32_t Word) {
  uint32_t Old = *I.code(At);
  if (Word == Old)
    return;
  I.patch(At, Word);
  bool Noticed = !judge(F).Findings.empty();
  I.patch(At, Old);
  Tally &T = Tallies[Kind.str()];
  ++T.Made;
  T.Noticed += Noticed;
  if (!Noticed)
    Survivors.emplace_back(formatv("{0} {1}", Kind, S.Function).str(), formatv("{0}+{1:x}", F.Name, At - F.Start).str());
}

void Mutator::mutate(const Site &S) {
  ArrayRef<uint64_t> Homes = I.homes(S.Address);
  const Function *F = I.functionAt(Homes.empty() ? S.Address : Homes.front());
  // Whatever is said about F already, would hide what a change adds.
  if (!F || !judge(*F).Findings.empty())
    return;
  if (S.Kind == "restore")
    attempt("restore", S, *F, S.Address, Nop);
  if (I.code(S.Address + 4) == Isb)
    attempt("isb", S, *F, S.Address + 4, Nop);
  unsigned Reg = *I.code(S.Address) & 31;
  // The last one: the first ones often hold a constant result.
  attempt("argument", S, *F, S.Address, (*I.code(S.Address) & ~31u) | 7);
  // The nearest instruction before that makes the value.
  for (uint64_t At = S.Address - 4; At >= F->Start && At + 64 > S.Address; At -= 4) {
    std::optional<uint32_t> Word = I.code(At);
    if (!Word)
      break;
    Instruction Ins = D.decode(*Word, At);
    // What stands before one of these need not come before.
    if (Ins.Kind == Op::Call || Ins.Kind == Op::IndirectCall || Ins.Kind == Op::Return || Ins.Kind == Op::Branch)
      break;
    if (!is_contained(Ins.Defs, Reg))
      continue;
    // ldr xREG, [x19]
    attempt("memory", S, *F, At, LoadX19 | Reg);
    break;
  }
}

int fail(const Twine &Message) {
  errs() << "audit-mutants: error: " << Message << "\n";
  return 2;
}

} // namespace

int main(int Argc, char **Argv) {
  if (Argc < 2)
    return fail("give a kernel or a module, and a list of survivors that are known");
  auto Buffer = MemoryBuffer::getFile(Argv[1], /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!Buffer)
    return fail(Twine("cannot read '") + Argv[1] + "': " + Buffer.getError().message());
  Expected<Image> I = Image::load(std::move(*Buffer));
  if (!I)
    return fail(toString(I.takeError()));
  Expected<std::unique_ptr<Decoder>> D = Decoder::create();
  if (!D)
    return fail(toString(D.takeError()));
  Expected<Places> P = Places::parse(DefaultPlaces, "built-in list of places");
  if (!P)
    return fail(toString(P.takeError()));
  std::map<std::string, bool> Known; // Whether it was of use.
  if (Argc > 2) {
    auto List = MemoryBuffer::getFile(Argv[2]);
    if (!List)
      return fail(Twine("cannot read '") + Argv[2] + "': " + List.getError().message());
    SmallVector<StringRef> Lines;
    (*List)->getBuffer().split(Lines, '\n', -1, /*KeepEmpty=*/false);
    for (StringRef Line : Lines) {
      SmallVector<StringRef> Words;
      Line.split(Words, ' ', 2, /*KeepEmpty=*/false);
      if (Line.starts_with("#"))
        continue;
      if (Words.size() < 3)
        return fail(Twine(Argv[2]) + ": '" + Line + "' is not 'KIND FUNCTION REASON'");
      Known[(Words[0] + " " + Words[1]).str()] = false;
    }
  }
  Mutator M(*I, **D, *P);
  for (const Site &S : audit::audit(*I, **D, *P).Sites)
    if (S.Reg == PorEl1 && S.Kind != "load" && S.Kind != "unreached")
      M.mutate(S);
  bool Wrong = false;
  for (const auto &[Name, Place] : M.Survivors) {
    if (auto It = Known.find(Name); It != Known.end()) {
      It->second = true;
      continue;
    }
    outs() << "not noticed: " << Name << " (at " << Place << ")\n";
    Wrong = true;
  }
  for (const auto &[Name, Used] : Known) {
    if (Used)
      continue;
    outs() << "noticed, so this line is of no use: " << Name << "\n";
    Wrong = true;
  }
  unsigned Made = 0;
  for (const auto &[Kind, T] : M.Tallies) {
    outs() << formatv("{0}: {1} of {2} noticed\n", Kind, T.Noticed, T.Made);
    Made += T.Made;
  }
  if (!Made)
    return fail("there is nothing to change in it");
  return Wrong;
}
