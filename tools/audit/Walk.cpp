// SPDX-License-Identifier: GPL-2.0-only

#include "audit/Walk.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <array>
#include <memory>

using namespace llvm;

namespace kpkeys::audit {

namespace {

/// More sets of values than this at one place are merged, then given up.
constexpr size_t ManyStates = 24, MostStates = 96;
/// Instructions in one walk, and entries of one jump table.
constexpr unsigned MostInstructions = 200000, MostTableEntries = 1024;
/// Steps in one walk, a few seconds: no compiler makes so many, malice does.
constexpr uint64_t MostSteps = 4000000;
/// Places where execution may be when it comes to one.
constexpr size_t MostPlaces = 64;
/// Rounds through one place: loops settle in a few.
constexpr unsigned MostRounds = 2000;
/// Rounds after which values are joined roughly, those of POR_EL1 last.
constexpr unsigned ManyRounds = 6, TooManyRounds = 200;

/// Of each pkey but the default one, the bit that gives write access.
constexpr uint64_t WriteBits = 0x4444444444444440;
/// The reserved encodings of the default pkey, which is always accessible.
constexpr uint64_t ReservedBit = 0x8;

/// EFAULT, which a fixup leaves.
constexpr int64_t BadAddress = 14;

enum : uint8_t { CondEqual = 0, CondNotEqual = 1 };

struct Flags {
  enum Kind : uint8_t { Unknown, Compared, Decided } Is = Unknown;
  bool Zero = false;
  uint8_t LeftReg = RegNone;
  ValueId Left = 0, Right = 0;

  bool operator==(const Flags &) const = default;
};

/// What keeps sets of values apart.
struct StateKey {
  ValueId Por = 0;
  EntryFacts Facts;
  uint64_t Writer = 0;
  bool WriterBatch = false, Checked = false;
  uint64_t Pending = 0;
  bool PendingGrant = false, PendingBatch = false;
  uint8_t Decision = 0;

  bool operator==(const StateKey &) const = default;
};

/// A value that was stored in the frame.
struct Slot {
  int64_t Offset = 0;
  uint8_t Size = 0;
  ValueId V = 0;

  auto operator<=>(const Slot &) const = default;
  int64_t end() const { return Offset + Size; }
};

struct State {
  StateKey Key;
  std::array<ValueId, 32> Regs{}; ///< x0 to x30, sp.
  SmallVector<Slot, 8> Slots;
  int64_t Escaped = INT64_MAX; ///< The lowest address of the frame that others may write to.
  Flags Flag;
  bool Dirty = true;
  unsigned Round = 0; ///< How often it has changed.
};

/// An instruction and its surroundings.
struct Node {
  Instruction Ins;
  SmallVector<uint64_t, 2> Next; ///< What follows in F, or in an alternative of it.
  SmallVector<uint64_t, 1> Over; ///< What follows in other functions.
  ArrayRef<Fixup> Fixups;
  ArrayRef<uint64_t> Static;
  SmallVector<Node *, 2> After; ///< All of F that may come next.
  bool Leader = false;
  bool Rewritten = false; ///< At boot, or when it is loaded, to what is not known here.
  /// Registers whose values matter from here on, and LiveFlags.
  uint64_t Live = 0;
};

constexpr uint64_t LiveFlags = uint64_t(1) << 32, CallReads = 0x1ff | uint64_t(1) << RegSP,
                   CallWrites = 0x4007ffff;

/// A jump table that an indirect branch may use.
struct Table {
  uint64_t Address = 0;
  unsigned Size = 0;
};

bool isWrite(const Instruction &Ins) {
  return Ins.Kind == Op::WriteSystem && (Ins.System == PorEl1 || Ins.System == PorEl2 || Ins.System == PorEl12);
}

class Walker {
public:
  Walker(const Image &I, Decoder &D, const Function &F, uint64_t Start, CalleeFunction Callee)
      : I(I), D(D), F(F), Start(Start), Callee(Callee) {}

  WalkResult run();

private:
  using Targets = SmallVector<uint64_t, 4>;

  // The graph
  Node *at(uint64_t Address);
  bool leaves(uint64_t Target) const;
  void expand(uint64_t Address, bool Sequential, Targets &To);
  Targets next(uint64_t Address);
  Targets jump(uint64_t Target);
  void explore();
  void findLive();
  std::optional<Targets> resolve(ValueId Target);
  std::optional<uint64_t> knownTarget(const Instruction &Ins, const State &S) const;

  // The values
  void runBlock(uint64_t Leader, const State &From);
  /// Carry out the instruction at @p Address. Returns where S goes on; other
  /// ways, with states of their own, go to Moving.
  std::optional<uint64_t> step(uint64_t Address, const Node &N, State &S);
  void flow(const State &S, ArrayRef<uint64_t> To);
  void goOn(const State &S, uint64_t Address);
  void fallOver(const State &S, uint64_t Address, const Node &N);
  bool merge(State &Into, const State &From, unsigned Round);
  void arrive(uint64_t Address, const State &S);
  void forget(State &S, uint64_t Live);

  ValueId reg(const State &S, uint8_t N, bool Is32 = false);
  void set(State &S, uint8_t N, ValueId V);
  void arithmetic(const Instruction &Ins, State &S);
  void other(const Instruction &Ins, State &S, uint64_t Address);
  void load(const Instruction &Ins, State &S, uint64_t Address);
  void store(const Instruction &Ins, State &S, uint64_t Address);
  std::optional<int64_t> effectiveFrame(const Instruction &Ins, const State &S);
  void writeBack(const Instruction &Ins, State &S);
  void storeElsewhere(State &S, uint64_t Address);
  static void settle(State &S) {
    S.Key.Pending = 0;
    S.Key.PendingGrant = S.Key.PendingBatch = false;
  }
  void dropSlots(State &S, int64_t From, int64_t To);
  void dropBelow(State &S);
  void escape(State &S, ValueId V);
  void select(const Instruction &Ins, State &S, uint64_t Address);
  void write(const Instruction &Ins, const State &S, uint64_t Address);
  void call(State &S, uint64_t Address, uint64_t Target, CalleeKind Kind);
  bool take(State &S, ValueId Left, ValueId Right, uint8_t LeftReg, bool Equal);
  bool learn(State &S, ValueId Left, ValueId Right);
  void nameEntry(StateKey &K);
  bool takeBit(State &S, uint8_t Reg, unsigned Bit, bool One);
  void finish(const State &S, uint64_t Address, uint64_t Callee);
  uint64_t granted(const StateKey &K) const;
  void report(EventKind Kind, uint64_t Write, uint64_t At, uint64_t Callee = 0, bool Batch = false) {
    Result.Events.insert({Kind, Write, At, Callee, Batch});
  }

  const Image &I;
  Decoder &D;
  const Function &F;
  const uint64_t Start;
  CalleeFunction Callee;
  ValueTable Values;
  WalkResult Result;
  DenseMap<uint64_t, std::unique_ptr<Node>> Code;
  std::vector<Node *> Order; ///< As found: what follows comes later, mostly.
  std::map<uint64_t, std::vector<State>> In;
  std::set<uint64_t> Todo;
  std::set<uint64_t> Bases; ///< Addresses in F that the code computes.
  std::map<uint64_t, Table> Loads; ///< Instructions that may read a jump table.
  std::map<uint64_t, Targets> Resolved; ///< By tables.
  std::map<uint64_t, Targets> Known;    ///< By an address in the register.
  /// States on their way within the current block.
  std::vector<std::pair<uint64_t, State>> Moving;
  bool Restart = false, Crowded = false;
  uint64_t Steps = 0; ///< Over all restarts.
};

// The graph

Node *Walker::at(uint64_t Address) {
  if (Address % 4)
    return nullptr;
  auto It = Code.find(Address);
  if (It != Code.end())
    return It->second.get();
  std::optional<uint32_t> Word = I.word(Address);
  if (!Word)
    return nullptr;
  bool Rewritten = I.isFilledIn(Address);
  for (const Alternative &A : I.alternativesAt(Address)) {
    if (A.ReadsPor)
      Word = readOf(PorEl1) | (*Word & 31);
    else if (!A.Replacement)
      Rewritten = true;
  }
  auto N = std::make_unique<Node>();
  N->Ins = D.decode(*Word, Address);
  N->Fixups = I.fixups(Address);
  N->Static = I.staticBranches(Address);
  N->Rewritten = Rewritten;
  // What is executed is code, whatever it is called. Behind a call that does
  // not come back there may be data, and it is not.
  const bool MayEnd = is_contained({Op::Call, Op::IndirectCall, Op::Break}, N->Ins.Kind);
  for (uint64_t Place : next(Address)) {
    if (MayEnd && !I.code(Place) && I.word(Place))
      continue;
    if (leaves(Place))
      N->Over.push_back(Place);
    else
      N->Next.push_back(Place);
  }
  return (Code[Address] = std::move(N)).get();
}

bool Walker::leaves(uint64_t Target) const {
  if (!I.word(Target))
    return true;
  const Function *There = I.functionFrom(Target);
  return There && !F.hasPart(*There);
}

/// The places where execution may be when it comes to @p Address: there, and
/// in the alternatives of what stands there.
void Walker::expand(uint64_t Address, bool Sequential, Targets &To) {
  SmallVector<uint64_t, 4> Work{Address};
  while (!Work.empty()) {
    uint64_t Place = Work.pop_back_val();
    if (is_contained(To, Place))
      continue;
    if (To.size() >= MostPlaces) {
      Crowded = true;
      return;
    }
    To.push_back(Place);
    for (const Alternative &A : I.alternativesAt(Place)) {
      uint64_t Offset = Place - A.Start;
      if ((Sequential && Offset) || A.ReadsPor)
        continue;
      if (!A.Replacement || Offset >= A.Replaced)
        Work.push_back(A.Start + A.Length);
      else if (!is_contained(To, A.Replacement + Offset))
        To.push_back(A.Replacement + Offset);
    }
    // What comes behind an alternative is reached from it, and not by a jump.
    Sequential = true;
  }
}

Walker::Targets Walker::next(uint64_t Address) {
  Targets To;
  uint64_t Following = Address + 4;
  ArrayRef<uint64_t> Ends = I.afterReplacement(Following);
  if (Ends.empty())
    expand(Following, true, To);
  for (uint64_t End : Ends)
    expand(End, true, To);
  return To;
}

Walker::Targets Walker::jump(uint64_t Target) {
  Targets To;
  expand(Target, false, To);
  return To;
}

/// Find where blocks begin.
void Walker::explore() {
  std::set<uint64_t> Seen;
  std::vector<uint64_t> Stack;
  auto target = [&](uint64_t T, Node *From) {
    for (uint64_t Place : jump(T)) {
      Node *N = at(Place);
      if (!N)
        continue;
      N->Leader = true;
      if (From)
        From->After.push_back(N);
      Stack.push_back(Place);
    }
  };
  Order.clear();
  target(Start, nullptr);
  while (!Stack.empty() && Seen.size() <= MostInstructions) {
    uint64_t Address = Stack.back();
    Stack.pop_back();
    if (!Seen.insert(Address).second)
      continue;
    Node &N = *at(Address);
    N.After.clear();
    Order.push_back(&N);
    if (isWrite(N.Ins)) {
      Write &W = Result.Writes[Address];
      W.Address = Address;
      W.Reg = static_cast<SystemRegister>(N.Ins.System);
    }
    auto branch = [&](uint64_t T) {
      if (!leaves(T))
        target(T, &N);
    };
    auto following = [&] {
      bool Plain = N.Next.size() == 1 && N.Next[0] == Address + 4;
      for (uint64_t Place : N.Next) {
        Node *There = at(Place);
        if (!There)
          continue;
        There->Leader |= !Plain;
        N.After.push_back(There);
        Stack.push_back(Place);
      }
    };
    for (const Fixup &X : N.Fixups)
      branch(X.To);
    llvm::for_each(N.Static, branch);
    if (!N.Static.empty())
      following();
    switch (N.Ins.Kind) {
    case Op::Branch:
      branch(N.Ins.Target);
      break;
    case Op::CondBranch:
    case Op::CompareBranch:
    case Op::TestBranch:
    case Op::OtherBranch:
      branch(N.Ins.Target);
      following();
      break;
    case Op::IndirectBranch:
    case Op::Return:
      for (const auto *Jumps : {&Resolved, &Known})
        if (auto It = Jumps->find(Address); It != Jumps->end())
          llvm::for_each(It->second, branch);
      break;
    case Op::ExceptionReturn:
      break;
    case Op::Break:
      if (!I.isBug(Address))
        following();
      break;
    default:
      following();
      break;
    }
  }
}

/// Values that nothing reads any more only keep loops from settling.
void Walker::findLive() {
  auto before = [](const Node &N, uint64_t Live) {
    const Instruction &Ins = N.Ins;
    if (Ins.SetsFlags)
      Live &= ~LiveFlags;
    for (uint8_t Def : Ins.Defs)
      Live &= ~(uint64_t(1) << Def);
    if (Ins.Kind == Op::Call || Ins.Kind == Op::IndirectCall)
      Live = (Live & ~CallWrites & ~LiveFlags) | CallReads;
    for (uint8_t Use : Ins.Uses)
      Live |= uint64_t(1) << Use;
    if (Ins.ReadsFlags)
      Live |= LiveFlags;
    return Live | uint64_t(1) << RegSP;
  };
  for (Node *N : Order)
    N->Live = 0;
  for (bool Changed = true; Changed;) {
    Changed = false;
    for (Node *N : reverse(Order)) {
      uint64_t Live = 0;
      for (const Node *Next : N->After)
        Live |= Next->Live;
      // What a fault leaves of an instruction, its fixup may read.
      uint64_t Now = before(*N, Live) | (N->Fixups.empty() ? 0 : Live);
      Changed |= Now != N->Live;
      N->Live = Now;
    }
  }
}

// The values

uint64_t Walker::granted(const StateKey &K) const {
  const Bits &B = Values.get(K.Por)[0];
  // One of several constants may be the worst one.
  uint64_t Given = B.Ones | Values.bitsFrom(B, Source::Choice);
  return Given & WriteBits & ~K.Facts.Ones & ~Values.entryBits(B);
}

ValueId Walker::reg(const State &S, uint8_t N, bool Is32) {
  if (N >= RegZero)
    return Values.constant(0);
  return Is32 ? Values.truncate(S.Regs[N]) : S.Regs[N];
}

void Walker::set(State &S, uint8_t N, ValueId V) {
  if (N >= RegZero)
    return;
  S.Regs[N] = V;
  if (N == RegSP)
    dropBelow(S);
  if (S.Flag.LeftReg == N)
    S.Flag.LeftReg = RegNone;
}

void Walker::dropSlots(State &S, int64_t From, int64_t To) {
  llvm::erase_if(S.Slots, [&](const Slot &Old) { return Old.end() > From && Old.Offset < To; });
}

/// Interrupts use the stack as well, and leave nothing below sp alone.
void Walker::dropBelow(State &S) {
  if (auto Top = Values.frameOffset(S.Regs[RegSP]))
    dropSlots(S, INT64_MIN, *Top);
}

void Walker::escape(State &S, ValueId V) {
  if (auto Offset = Values.frameBase(V))
    S.Escaped = std::min(S.Escaped, *Offset);
}

/// Find out about both ways after a comparison. False if it cannot be so.
bool Walker::take(State &S, ValueId Left, ValueId Right, uint8_t LeftReg, bool Equal) {
  Truth T = Values.equal(Left, Right, S.Key.Facts);
  if (T == (Equal ? Truth::No : Truth::Yes))
    return false;
  ValueId Refined = Values.refine(Left, Right, Equal, S.Key.Facts);
  if (LeftReg < RegSP && S.Regs[LeftReg] == Left)
    S.Regs[LeftReg] = Refined;
  if (!Equal)
    return true;
  if (Values.isRelated(Left) || Values.isRelated(Right))
    S.Key.Checked = true;
  return learn(S, Refined, Right);
}

/// Take in that two values are equal. False if they cannot be.
bool Walker::learn(State &S, ValueId Left, ValueId Right) {
  EntryFacts Old = S.Key.Facts;
  if (!Values.learn(Left, Right, S.Key.Facts))
    return false;
  if (!(Old == S.Key.Facts))
    nameEntry(S.Key);
  return true;
}

/// Bits of POR_EL1 that are the same as at the entry are best called that: it
/// makes states equal that are.
void Walker::nameEntry(StateKey &K) {
  const Bits Held = Values.get(K.Por)[0];
  uint64_t Back = ((Held.Zeros & K.Facts.Zeros) | (Held.Ones & K.Facts.Ones)) & ~ReservedBit;
  if (!Back)
    return;
  K.Por = Values.unlearn(Held, Back);
  if (granted(K))
    return;
  K.Writer = 0;
  K.WriterBatch = false;
}

bool Walker::takeBit(State &S, uint8_t Reg, unsigned Bit, bool One) {
  if (Reg >= RegSP)
    return Reg != RegZero || !One;
  ValueId Picked = Values.bitAnd(S.Regs[Reg], Values.constant(uint64_t(1) << Bit));
  ValueId Wanted = Values.constant(One ? uint64_t(1) << Bit : 0);
  if (Values.equal(Picked, Wanted, S.Key.Facts) == Truth::No)
    return false;
  return learn(S, Picked, Wanted);
}

void Walker::arithmetic(const Instruction &Ins, State &S) {
  ValueId A = reg(S, Ins.A, Ins.Is32), B;
  if (Ins.HasImm) {
    B = Values.constant(static_cast<uint64_t>(Ins.Imm));
  } else {
    B = reg(S, Ins.B, Ins.Is32);
    switch (Ins.ShiftKind) {
    case 0:
      B = Values.shiftLeft(B, Ins.Shift);
      break;
    case 1:
      B = Values.shiftRight(B, Ins.Shift);
      break;
    default:
      if (Ins.Shift)
        B = Values.mix({B}, 0);
      break;
    }
    if (Ins.InvertB)
      B = Values.invert(B);
    if (Ins.Is32)
      B = Values.truncate(B);
  }
  ValueId Out;
  switch (Ins.Kind) {
  case Op::And:
    Out = Values.bitAnd(A, B);
    break;
  case Op::Or:
    Out = Values.bitOr(A, B);
    break;
  case Op::Xor:
    Out = Values.bitXor(A, B);
    break;
  case Op::Add:
    Out = Values.add(A, B);
    break;
  default:
    Out = Values.subtract(A, B);
    break;
  }
  if (Ins.Is32)
    Out = Values.truncate(Out);
  if (Ins.SetsFlags) {
    Flags New;
    New.Is = Flags::Compared;
    auto Constant = Values.constantOf(B);
    if (Ins.Kind == Op::Sub) {
      New.Left = A;
      New.Right = B;
      New.LeftReg = Ins.Is32 ? static_cast<uint8_t>(RegNone) : Ins.A;
    } else if (Ins.Kind == Op::Add && Constant) {
      New.Left = A;
      New.Right = Values.constant((0 - *Constant) & (Ins.Is32 ? 0xffffffff : ~uint64_t(0)));
      New.LeftReg = Ins.Is32 ? static_cast<uint8_t>(RegNone) : Ins.A;
    } else {
      New.Left = Out;
      New.Right = Values.constant(0);
    }
    S.Flag = New;
    S.Key.Decision = 0;
  }
  // The stack pointer is an operand of the immediate forms only; 31 is xzr else.
  set(S, Ins.Dest, Out);
}

void Walker::other(const Instruction &Ins, State &S, uint64_t Address) {
  SmallVector<ValueId, 4> Operands;
  bool FrameStore = false;
  for (uint8_t Use : Ins.Uses) {
    Operands.push_back(S.Regs[Use]);
    FrameStore |= Ins.MayStore && Values.frameBase(S.Regs[Use]);
    // An address that goes into an atomic or a pair may be kept there.
    if (Ins.MayStore && !Ins.Uses.empty() && Use != Ins.Uses.back())
      escape(S, S.Regs[Use]);
  }
  if (FrameStore)
    S.Slots.clear();
  if (Ins.MayStore && !Ins.Uses.empty() && !Values.frameOffset(S.Regs[Ins.Uses.back()]))
    storeElsewhere(S, Address);
  ValueId Out = Ins.MayLoad ? Values.from(Source::Memory, Address) : Values.mix(Operands, Address);
  for (uint8_t Def : Ins.Defs)
    set(S, Def, Out);
  if (Ins.SetsFlags) {
    S.Flag = Flags();
    S.Key.Decision = 0;
  }
}

std::optional<int64_t> Walker::effectiveFrame(const Instruction &Ins, const State &S) {
  if (Ins.A >= RegZero || Ins.Mode == Addressing::Register)
    return std::nullopt;
  std::optional<int64_t> Base = Values.frameOffset(S.Regs[Ins.A]);
  if (!Base)
    return std::nullopt;
  return Ins.Mode == Addressing::Post ? *Base : *Base + Ins.Imm;
}

void Walker::writeBack(const Instruction &Ins, State &S) {
  if (Ins.Mode == Addressing::Pre || Ins.Mode == Addressing::Post)
    set(S, Ins.A, Values.add(reg(S, Ins.A), Values.constant(static_cast<uint64_t>(Ins.Imm))));
}

void Walker::load(const Instruction &Ins, State &S, uint64_t Address) {
  std::optional<int64_t> Place = effectiveFrame(Ins, S);
  // A table in read-only memory, for a computed jump.
  if (Ins.Mode == Addressing::Register && Ins.A < RegZero)
    if (auto Base = Values.constantOf(S.Regs[Ins.A]))
      Loads[Address] = {*Base, Ins.Size};
  ValueId Unknown = Values.from(Source::Memory, Address);
  // Half of what was stored will do for a compiler that needs no more of it.
  const bool Plain = Ins.Size == 8 || (Ins.Size == 4 && Ins.Is32);
  auto get = [&](unsigned N) {
    if (!Place || !Plain || !Ins.General)
      return Unknown;
    int64_t Where = *Place + Ins.Size * static_cast<int64_t>(N);
    for (const Slot &Old : S.Slots) {
      if (Where < Old.Offset || Where + Ins.Size > Old.end())
        continue;
      ValueId V = Values.shiftRight(Old.V, 8 * static_cast<unsigned>(Where - Old.Offset));
      return Ins.Size == 8 ? V : Values.truncate(V);
    }
    return Unknown;
  };
  ValueId First = get(0), Second = get(1);
  writeBack(Ins, S);
  if (!Ins.General)
    return;
  set(S, Ins.Dest, First);
  if (Ins.Pair)
    set(S, Ins.B, Second);
}

void Walker::store(const Instruction &Ins, State &S, uint64_t Address) {
  std::optional<int64_t> Place = effectiveFrame(Ins, S);
  ValueId First = reg(S, Ins.Dest), Second = reg(S, Ins.B);
  if (Ins.General) {
    escape(S, First);
    if (Ins.Pair)
      escape(S, Second);
  }
  if (Place) {
    dropSlots(S, *Place, *Place + Ins.Size * (Ins.Pair ? 2 : 1));
    if (Ins.General && Ins.Size >= 4) {
      auto put = [&](int64_t Where, ValueId V) {
        S.Slots.push_back({Where, Ins.Size, Ins.Size == 8 ? V : Values.truncate(V)});
      };
      put(*Place, First);
      if (Ins.Pair)
        put(*Place + Ins.Size, Second);
      llvm::sort(S.Slots);
    }
  } else if (Ins.A < RegZero && Values.frameOffset(S.Regs[Ins.A])) {
    // Somewhere in the frame.
    S.Slots.clear();
  } else {
    if (auto Base = Values.frameBase(reg(S, Ins.A)))
      dropSlots(S, *Base, INT64_MAX);
    storeElsewhere(S, Address);
  }
  writeBack(Ins, S);
  if (Place)
    dropBelow(S);
}

/// Memory outside the frame is written to.
void Walker::storeElsewhere(State &S, uint64_t Address) {
  S.Key.Checked = false;
  // Whoever has an address of the frame may write there.
  if (S.Escaped != INT64_MAX)
    dropSlots(S, S.Escaped, INT64_MAX);
  // The end of a batch may wait: its ISB serves the page tables as well.
  if (!S.Key.Pending || (S.Key.PendingBatch && !S.Key.PendingGrant))
    return;
  report(EventKind::NoBarrier, S.Key.Pending, Address, 0, S.Key.PendingBatch);
  settle(S);
}

void Walker::select(const Instruction &Ins, State &S, uint64_t Address) {
  auto choose = [&](State &T, bool First) {
    ValueId A = reg(T, Ins.A, Ins.Is32), B = reg(T, Ins.B, Ins.Is32);
    switch (Ins.Select) {
    case SelectKind::Plain:
      break;
    case SelectKind::Increment:
      B = Values.add(B, Values.constant(1));
      break;
    case SelectKind::Invert:
      B = Values.invert(B);
      break;
    case SelectKind::Negate:
      B = Values.subtract(Values.constant(0), B);
      break;
    }
    if (Ins.Is32)
      B = Values.truncate(B);
    return First ? A : B;
  };
  bool Simple = Ins.Cond == CondEqual || Ins.Cond == CondNotEqual;
  bool WhenEqual = Ins.Cond == CondEqual;
  if (Simple && S.Flag.Is == Flags::Decided) {
    set(S, Ins.Dest, choose(S, S.Flag.Zero == WhenEqual));
    return goOn(S, Address);
  }
  if (Simple && S.Flag.Is == Flags::Compared) {
    Truth T = Values.equal(S.Flag.Left, S.Flag.Right, S.Key.Facts);
    if (T != Truth::Maybe) {
      set(S, Ins.Dest, choose(S, (T == Truth::Yes) == WhenEqual));
      return goOn(S, Address);
    }
    // What is chosen goes with what POR_EL1 holds: keep the two together.
    if (Values.isRelated(S.Flag.Left) || Values.isRelated(S.Flag.Right)) {
      for (bool Equal : {true, false}) {
        State Way = S;
        if (!take(Way, S.Flag.Left, S.Flag.Right, S.Flag.LeftReg, Equal))
          continue;
        Way.Flag = Flags();
        Way.Flag.Is = Flags::Decided;
        Way.Flag.Zero = Equal;
        Way.Key.Decision = Equal ? 1 : 2;
        set(Way, Ins.Dest, choose(Way, Equal == WhenEqual));
        goOn(Way, Address);
      }
      return;
    }
  }
  set(S, Ins.Dest, Values.join(choose(S, true), choose(S, false)));
  goOn(S, Address);
}

void Walker::write(const Instruction &Ins, const State &S, uint64_t Address) {
  Write &W = Result.Writes[Address];
  W.Executed = true;
  const bool Own = W.Reg == PorEl1;
  const Bits Before = Values.get(S.Key.Por)[0];
  const Value News = Values.get(reg(S, Ins.A));
  for (const Bits &New : News) {
    uint64_t Same = (New.Zeros & Before.Zeros) | (New.Ones & Before.Ones) |
                    (Values.entryBits(New) & Values.entryBits(Before));
    uint64_t Changed = Own && ~Same ? ~Same : ~uint64_t(0);
    uint64_t Kept = New.Read | Values.entryBits(New);
    uint64_t Chosen = 0;
    for (const Part &P : New.Parts)
      if (Values.origin(P.Origin).From == Source::Choice && !P.Moved)
        Chosen |= P.Mask;
    uint64_t Immediate = Changed & (New.known() | Chosen) & ~New.Read;
    W.Immediate |= Immediate;
    W.Read |= Changed & Kept & (New.known() | Values.entryBits(New));
    for (const Part &P : New.Parts) {
      Origin O = Values.origin(P.Origin);
      if (!P.Moved && (O.From == Source::Choice || O.From == Source::Entry))
        continue;
      // Bits of POR_EL1 at another place are no bits of POR_EL1, and what was
      // computed from several constants is none of them.
      if (O.From == Source::Entry || O.From == Source::Choice || O.From == Source::Frame)
        O = {Source::Computed, Address};
      if (P.Mask & Changed)
        W.Others[O] |= P.Mask & Changed;
    }
    if (New.Frame)
      W.Others[{Source::Computed, Address}] = ~uint64_t(0);
    State Way = S;
    if (!Own) {
      goOn(Way, Address);
      continue;
    }
    Bits Held = New;
    Held.Read = 0;
    if (Held.Frame) {
      Held.Frame.reset();
      Held.Parts.push_back({0, true, ~uint64_t(0)});
    }
    Way.Key.Por = Values.of(Held);
    nameEntry(Way.Key);
    uint64_t Given = granted(Way.Key);
    bool Grants = Given & Immediate;
    W.Grants |= Grants;
    W.Batch |= Grants && S.Key.Checked;
    Result.BatchLeaves |= !Given && S.Key.Checked;
    // What was read while the register was permissive is no less so when it is put back.
    if (Grants || (Given && !Way.Key.Writer)) {
      Way.Key.Writer = Address;
      Way.Key.WriterBatch = S.Key.Checked;
    } else if (!Given) {
      Way.Key.Writer = 0;
      Way.Key.WriterBatch = false;
    }
    Way.Key.Pending = Address;
    Way.Key.PendingGrant = Grants;
    Way.Key.PendingBatch = S.Key.Checked;
    Way.Key.Checked = false;
    goOn(Way, Address);
  }
}

void Walker::call(State &S, uint64_t Address, uint64_t Target, CalleeKind Kind) {
  bool Counts = Kind != CalleeKind::Instrument;
  if (Counts && S.Key.Writer && granted(S.Key))
    report(EventKind::LeakCall, S.Key.Writer, Address, Target, S.Key.WriterBatch);
  if (Counts && S.Key.Pending) {
    report(EventKind::NoBarrier, S.Key.Pending, Address, Target, S.Key.PendingBatch);
    settle(S);
  }
  for (unsigned N = 0; N <= 8; ++N)
    escape(S, S.Regs[N]);
  if (S.Escaped != INT64_MAX)
    dropSlots(S, S.Escaped, INT64_MAX);
  // What else a call leaves in registers is of no use to anyone.
  ValueId Left = Values.from(Source::Result, 0);
  for (unsigned N = 0; N <= 18; ++N)
    S.Regs[N] = Left;
  S.Regs[0] = Values.from(Source::Result, Address);
  S.Regs[30] = Left;
  S.Flag = Flags();
  S.Key.Decision = 0;
  if (Counts)
    S.Key.Checked = false;
}

/// The function ends: it returns, or jumps to another one.
void Walker::finish(const State &S, uint64_t Address, uint64_t Callee) {
  if (S.Key.Writer && granted(S.Key))
    report(EventKind::LeakReturn, S.Key.Writer, Address, Callee, S.Key.WriterBatch);
  if (S.Key.Pending)
    report(EventKind::NoBarrier, S.Key.Pending, Address, Callee, S.Key.PendingBatch);
}

/// The address in the register of a jump or call, if it is just one.
std::optional<uint64_t> Walker::knownTarget(const Instruction &Ins, const State &S) const {
  std::optional<uint64_t> Target = Ins.A < RegSP ? Values.constantOf(S.Regs[Ins.A]) : std::nullopt;
  return Target && I.word(*Target) ? Target : std::nullopt;
}

/// Targets of a jump to @p Target: the entries of the tables that it was loaded
/// from and that lead into F. Too many do no harm, as they are ways that are
/// not taken; those of a table for something else would hide that there are others.
std::optional<Walker::Targets> Walker::resolve(ValueId Target) {
  auto isFrom = [&](uint64_t Load) {
    return llvm::any_of(Values.get(Target), [&](const Bits &B) {
      return llvm::any_of(B.Parts, [&](const Part &P) {
        return Values.origin(P.Origin) == Origin{Source::Memory, Load} ||
               Values.origin(P.Origin) == Origin{Source::Computed, 0};
      });
    });
  };
  Targets Found;
  for (const auto &[Address, T] : Loads) {
    if (!isFrom(Address))
      continue;
    for (unsigned N = 0; N < MostTableEntries; ++N) {
      std::optional<uint64_t> Entry = I.data(T.Address + uint64_t(N) * T.Size, T.Size);
      if (!Entry)
        break;
      // Compilers have words relative to the table or to some instruction,
      // in words or in bytes, and full addresses.
      bool Any = false;
      auto candidate = [&](uint64_t Target) {
        if (Target < F.Start || Target >= F.End || Target % 4)
          return;
        Any = true;
        if (!is_contained(Found, Target))
          Found.push_back(Target);
      };
      if (T.Size == 8)
        candidate(*Entry);
      int64_t Offset = SignExtend64(*Entry, 8 * T.Size);
      if (T.Size == 4)
        candidate(T.Address + static_cast<uint64_t>(Offset));
      for (uint64_t Base : Bases) {
        candidate(Base + *Entry * 4);
        candidate(Base + static_cast<uint64_t>(Offset) * 4);
      }
      if (!Any)
        break;
    }
  }
  if (Found.empty())
    return std::nullopt;
  return Found;
}

void Walker::flow(const State &S, ArrayRef<uint64_t> To) {
  for (uint64_t Address : To)
    Moving.emplace_back(Address, S);
}

void Walker::goOn(const State &S, uint64_t Address) {
  const Node &N = *at(Address);
  fallOver(S, Address, N);
  flow(S, N.Next);
}

/// Straight into another function: the same as a jump to it.
void Walker::fallOver(const State &S, uint64_t Address, const Node &N) {
  for (uint64_t Place : N.Over)
    finish(S, Address, Place);
}

std::optional<uint64_t> Walker::step(uint64_t Address, const Node &N, State &S) {
  const Instruction &Ins = N.Ins;
  ++Result.States;
  ++Steps;
  auto branch = [&](const State &Way, uint64_t Target) {
    if (leaves(Target))
      return finish(Way, Address, Target);
    flow(Way, jump(Target));
  };
  auto onwards = [&]() -> std::optional<uint64_t> {
    if (N.Next.size() == 1)
      return N.Next[0];
    flow(S, N.Next);
    return std::nullopt;
  };
  auto follow = [&](const State &Way, bool Taken) {
    if (Taken)
      branch(Way, Ins.Target);
    else
      goOn(Way, Address);
  };
  auto fault = [&] {
    for (const Fixup &X : N.Fixups) {
      State Way = S;
      if (X.Error != 31)
        set(Way, X.Error, Values.constant(static_cast<uint64_t>(-BadAddress)));
      if (X.Zero != 31)
        set(Way, X.Zero, Values.constant(0));
      branch(Way, X.To);
    }
  };
  // An instruction that faults may have been carried out in part.
  fault();
  if (!N.Static.empty()) {
    for (uint64_t Target : N.Static)
      branch(S, Target);
    // Anything but one of the two is carried out until it is patched.
    if (Ins.Kind == Op::Nop || Ins.Kind == Op::Branch) {
      fallOver(S, Address, N);
      return onwards();
    }
  }
  switch (Ins.Kind) {
  case Op::Nop:
    break;
  case Op::Barrier:
    settle(S);
    S.Key.Checked = false;
    break;
  case Op::Move:
    set(S, Ins.Dest, Values.constant(static_cast<uint64_t>(Ins.Imm)));
    if (static_cast<uint64_t>(Ins.Imm) >= F.Start && static_cast<uint64_t>(Ins.Imm) < F.End)
      Bases.insert(static_cast<uint64_t>(Ins.Imm));
    break;
  case Op::MoveKeep: {
    uint64_t Field = uint64_t(0xffff) << Ins.Shift;
    ValueId Kept = Values.bitAnd(reg(S, Ins.Dest, Ins.Is32), Values.constant(~Field));
    set(S, Ins.Dest, Values.bitOr(Kept, Values.constant(static_cast<uint64_t>(Ins.Imm) << Ins.Shift)));
    break;
  }
  case Op::And:
  case Op::Or:
  case Op::Xor:
  case Op::Add:
  case Op::Sub:
    arithmetic(Ins, S);
    break;
  case Op::BitfieldZero:
  case Op::BitfieldSigned:
    set(S, Ins.Dest,
        Values.extract(reg(S, Ins.A), Ins.Imm, Ins.Imm2, Ins.Kind == Op::BitfieldSigned, Ins.Is32));
    break;
  case Op::BitfieldInsert:
    set(S, Ins.Dest, Values.insert(reg(S, Ins.Dest), reg(S, Ins.A), Ins.Imm, Ins.Imm2, Ins.Is32));
    break;
  case Op::Select:
    select(Ins, S, Address);
    return std::nullopt;
  case Op::Compare:
    S.Flag = Flags();
    S.Key.Decision = 0;
    break;
  case Op::Load:
    load(Ins, S, Address);
    break;
  case Op::Store:
    store(Ins, S, Address);
    break;
  case Op::ReadSystem:
    if (Ins.System == PorEl1) {
      set(S, Ins.Dest, Values.read(S.Key.Por));
      S.Key.Checked = false;
    } else {
      set(S, Ins.Dest, Values.from(Source::System, Ins.System));
    }
    break;
  case Op::WriteSystem:
    if (isWrite(Ins)) {
      write(Ins, S, Address);
      return std::nullopt;
    }
    if (Ins.System == SystemFlags) {
      S.Flag = Flags();
      S.Key.Decision = 0;
    }
    break;
  case Op::Branch:
    branch(S, Ins.Target);
    return std::nullopt;
  case Op::CondBranch: {
    bool Simple = Ins.Cond == CondEqual || Ins.Cond == CondNotEqual;
    for (bool Taken : {true, false}) {
      State Way = S;
      if (Simple && S.Flag.Is != Flags::Unknown) {
        bool Equal = Taken == (Ins.Cond == CondEqual);
        if (S.Flag.Is == Flags::Decided ? S.Flag.Zero != Equal
                                        : !take(Way, S.Flag.Left, S.Flag.Right, S.Flag.LeftReg, Equal))
          continue;
      }
      // The flags are of no more use, and would keep ways apart.
      Way.Key.Decision = 0;
      if (Way.Flag.Is == Flags::Decided)
        Way.Flag = Flags();
      follow(Way, Taken);
    }
    return std::nullopt;
  }
  case Op::CompareBranch:
    for (bool Taken : {true, false}) {
      State Way = S;
      uint8_t Reg = Ins.Is32 ? static_cast<uint8_t>(RegNone) : Ins.A;
      if (!take(Way, reg(S, Ins.A, Ins.Is32), Values.constant(0), Reg, Taken != Ins.Negated))
        continue;
      follow(Way, Taken);
    }
    return std::nullopt;
  case Op::TestBranch:
    for (bool Taken : {true, false}) {
      State Way = S;
      if (!takeBit(Way, Ins.A, Ins.Imm & 63, Taken == Ins.Negated))
        continue;
      follow(Way, Taken);
    }
    return std::nullopt;
  case Op::OtherBranch:
    other(Ins, S, Address);
    branch(S, Ins.Target);
    fallOver(S, Address, N);
    return onwards();
  case Op::Call:
  case Op::IndirectCall: {
    uint64_t To = Ins.Kind == Op::Call ? Ins.Target : knownTarget(Ins, S).value_or(0);
    CalleeKind Kind = To ? Callee(To) : CalleeKind::Ordinary;
    if (Kind == CalleeKind::ReturnsNot)
      return std::nullopt;
    if (To)
      Result.Callees.insert(To);
    call(S, Address, To, Kind);
    // Behind the end of a function nothing of it follows: that call does not come back.
    return onwards();
  }
  case Op::Return:
  case Op::IndirectBranch: {
    if (std::optional<uint64_t> Target = knownTarget(Ins, S)) {
      Targets &Ways = Known[Address];
      if (leaves(*Target) || is_contained(Ways, *Target)) {
        branch(S, *Target);
      } else {
        Ways.push_back(*Target);
        Restart = true;
      }
      return std::nullopt;
    }
    if (Ins.Kind == Op::Return) {
      finish(S, Address, 0);
      return std::nullopt;
    }
    if (auto It = Resolved.find(Address); It != Resolved.end()) {
      for (uint64_t Target : It->second)
        branch(S, Target);
      return std::nullopt;
    }
    if (std::optional<Targets> Found = resolve(S.Regs[Ins.A])) {
      Resolved[Address] = *Found;
      Restart = true;
      return std::nullopt;
    }
    // With the frame gone it is a call of what a pointer says, at the end.
    if (Values.frameOffset(S.Regs[RegSP]) != std::optional<int64_t>(0))
      report(EventKind::ComputedJump, 0, Address);
    finish(S, Address, 0);
    return std::nullopt;
  }
  case Op::ExceptionReturn:
    S.Key.Pending = 0;
    finish(S, Address, 0);
    return std::nullopt;
  case Op::Break:
    if (I.isBug(Address))
      return std::nullopt;
    break;
  case Op::FirmwareCall:
    for (unsigned N = 0; N <= 17; ++N)
      set(S, N, Values.from(Source::Result, Address));
    break;
  case Op::Other:
    other(Ins, S, Address);
    break;
  }
  // Immediates are put in by a callback or by a relocation.
  if (N.Rewritten)
    for (uint8_t Def : Ins.Defs)
      set(S, Def, Values.mix({reg(S, Def)}, Address));
  fault();
  if (Ins.Kind != Op::Break)
    fallOver(S, Address, N);
  return onwards();
}

bool Walker::merge(State &Into, const State &From, unsigned Round) {
  bool Changed = false;
  auto join = [&](ValueId A, ValueId B) {
    if (Round <= ManyRounds)
      return Values.join(A, B);
    bool Related = Values.isRelated(A) || Values.isRelated(B);
    return Related && Round <= TooManyRounds ? Values.join(A, B) : Values.joinRoughly(A, B);
  };
  for (unsigned N = 0; N < Into.Regs.size(); ++N) {
    if (Into.Regs[N] == From.Regs[N])
      continue;
    ValueId Joined = join(Into.Regs[N], From.Regs[N]);
    Changed |= Joined != Into.Regs[N];
    Into.Regs[N] = Joined;
  }
  SmallVector<Slot, 8> Slots;
  for (const Slot &A : Into.Slots)
    for (const Slot &B : From.Slots)
      if (A.Offset == B.Offset && A.Size == B.Size)
        Slots.push_back({A.Offset, A.Size, join(A.V, B.V)});
  if (Slots != Into.Slots) {
    Into.Slots = std::move(Slots);
    Changed = true;
  }
  if (From.Escaped < Into.Escaped) {
    Into.Escaped = From.Escaped;
    Changed = true;
  }
  if (!(Into.Flag == From.Flag) && Into.Flag.Is != Flags::Unknown) {
    Into.Flag = Flags();
    Changed = true;
  }
  EntryFacts Both{Into.Key.Facts.Zeros & From.Key.Facts.Zeros, Into.Key.Facts.Ones & From.Key.Facts.Ones};
  if (!(Both == Into.Key.Facts)) {
    Into.Key.Facts = Both;
    Changed = true;
  }
  return Changed;
}

void Walker::forget(State &S, uint64_t Live) {
  ValueId Anything = Values.from(Source::Computed, 0);
  for (unsigned N = 0; N < RegSP; ++N)
    if (!(Live >> N & 1))
      set(S, N, Anything);
  if (!(Live & LiveFlags)) {
    S.Flag = Flags();
    S.Key.Decision = 0;
  }
}

void Walker::arrive(uint64_t Address, const State &S) {
  std::vector<State> &States = In[Address];
  State *Same = nullptr;
  for (State &Old : States)
    if (Old.Key == S.Key)
      Same = &Old;
  // Of many, let go what is known of the entry.
  if (!Same && States.size() >= ManyStates) {
    for (State &Old : States) {
      StateKey A = Old.Key, B = S.Key;
      A.Facts = B.Facts = EntryFacts();
      A.Decision = B.Decision = 0;
      if (A == B)
        Same = &Old;
    }
  }
  if (!Same) {
    if (States.size() >= MostStates) {
      report(EventKind::GaveUp, 0, F.Start);
      return;
    }
    States.push_back(S);
    States.back().Dirty = true;
    States.back().Round = 0;
    Todo.insert(Address);
    return;
  }
  if (!merge(*Same, S, Same->Round))
    return;
  if (++Same->Round > MostRounds) {
    report(EventKind::GaveUp, 0, F.Start);
    return;
  }
  Same->Dirty = true;
  Todo.insert(Address);
}

void Walker::runBlock(uint64_t Leader, const State &From) {
  Moving.clear();
  Moving.emplace_back(Leader, From);
  bool First = true;
  while (!Moving.empty() && !Restart && Steps <= MostSteps) {
    auto [Start, S] = std::move(Moving.back());
    Moving.pop_back();
    std::optional<uint64_t> Address = Start;
    while (Address) {
      const Node *N = at(*Address);
      if (!N)
        break;
      if (N->Leader && !First) {
        forget(S, N->Live);
        arrive(*Address, S);
        break;
      }
      First = false;
      Address = step(*Address, *N, S);
    }
  }
}

WalkResult Walker::run() {
  State Entry;
  Entry.Key.Facts.Zeros = ReservedBit;
  Entry.Key.Por = Values.from(Source::Entry, 0);
  for (unsigned N = 0; N <= 30; ++N)
    Entry.Regs[N] = Values.from(N <= 7 ? Source::Argument : Source::Register, N);
  Entry.Regs[RegSP] = Values.frame(0);
  do {
    Restart = false;
    Result = WalkResult();
    In.clear();
    Todo.clear();
    explore();
    findLive();
    if (Code.size() > MostInstructions || Crowded)
      report(EventKind::GaveUp, 0, F.Start);
    for (uint64_t Place : jump(Start))
      arrive(Place, Entry);
    while (!Todo.empty() && !Restart && Steps <= MostSteps) {
      uint64_t Leader = *Todo.begin();
      Todo.erase(Todo.begin());
      for (size_t N = 0; N < In[Leader].size(); ++N) {
        if (!In[Leader][N].Dirty)
          continue;
        In[Leader][N].Dirty = false;
        runBlock(Leader, State(In[Leader][N]));
      }
    }
  } while (Restart && Steps <= MostSteps);
  if (Steps > MostSteps)
    report(EventKind::GaveUp, 0, F.Start);
  Result.Instructions = Code.size();
  for (const auto &[Address, N] : Code)
    if ((Address < F.Start || Address >= F.End) && !I.functionAt(Address))
      Result.Strays.insert(Address);
  return std::move(Result);
}

} // namespace

WalkResult walk(const Image &I, Decoder &D, const Function &F, uint64_t Entry, CalleeFunction Callee) {
  return Walker(I, D, F, Entry, Callee).run();
}

} // namespace kpkeys::audit
