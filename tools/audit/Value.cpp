// SPDX-License-Identifier: GPL-2.0-only

#include "audit/Value.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <cstdlib>

using namespace llvm;

namespace kpkeys::audit {

namespace {

/// Alternatives that a value which has to do with POR_EL1 keeps apart: what
/// kpkeys_set_context() returned or "nothing to restore", for two contexts.
constexpr size_t MostAlternatives = 4;
/// Origins that a value keeps where a loop takes long to settle.
constexpr size_t MostOrigins = 4;
/// Origins of one value that are told apart.
constexpr size_t MostParts = 32;
/// What is farther from sp is not in the frame, whatever it was made of.
constexpr int64_t FarthestFrame = int64_t(1) << 32;

enum MemoOp : uint8_t { OpAnd, OpOr, OpXor, OpInvert, OpAdd, OpSub, OpLeft, OpRight, OpTruncate, OpExtract, OpInsert, OpJoin, OpRead, OpRough, OpConstant, OpFrom };

constexpr uint64_t All = ~uint64_t(0);

bool less(const Bits &A, const Bits &B) {
  auto key = [](const Bits &X) {
    return std::tuple(X.Zeros, X.Ones, X.Read, X.Frame.has_value(), X.Frame.value_or(0), X.Parts.size());
  };
  if (key(A) != key(B))
    return key(A) < key(B);
  return std::lexicographical_compare(A.Parts.begin(), A.Parts.end(), B.Parts.begin(), B.Parts.end(),
                                      [](const Part &P, const Part &Q) {
                                        return std::tuple(P.Origin, P.Moved, P.Mask) <
                                               std::tuple(Q.Origin, Q.Moved, Q.Mask);
                                      });
}

size_t hash(const Value &V) {
  hash_code H = hash_value(V.size());
  for (const Bits &B : V) {
    H = hash_combine(H, B.Zeros, B.Ones, B.Read, B.Frame.value_or(0), B.Parts.size());
    for (const Part &P : B.Parts)
      H = hash_combine(H, P.Origin, P.Moved, P.Mask);
  }
  return H;
}

Bits constantBits(uint64_t C) {
  Bits B;
  B.Ones = C;
  B.Zeros = ~C;
  return B;
}

} // namespace

size_t ValueTable::KeyHash::operator()(const Key &K) const { return hash_combine(K.Op, K.A, K.B, K.Extra); }

ValueTable::ValueTable() { intern(Origin{Source::Choice, 0}); }

uint32_t ValueTable::intern(Origin O) {
  auto [It, New] = OriginIndex.try_emplace(O, Origins.size());
  if (New)
    Origins.push_back(O);
  return It->second;
}

ValueId ValueTable::intern(Value V) {
  if (V.size() > 1) {
    llvm::sort(V, less);
    V.erase(llvm::unique(V), V.end());
    // Or else widening would go round in circles with what it has covered.
    for (size_t N = 0; N < V.size();) {
      bool Covered = false;
      for (size_t M = 0; M < V.size() && !Covered; ++M)
        Covered = M != N && covers(V[M], V[N]);
      if (Covered)
        V.erase(V.begin() + N);
      else
        ++N;
    }
  }
  auto hasEntry = [&](const Bits &B) { return bitsFrom(B, Source::Entry) || B.Read; };
  bool IsRelated = llvm::any_of(V, hasEntry);
  if (V.size() > (IsRelated ? MostAlternatives : 1))
    V = Value{widen(V)};
  size_t H = hash(V);
  for (auto [It, End] = Index.equal_range(H); It != End; ++It)
    if (Values[It->second] == V)
      return It->second;
  ValueId Id = Values.size();
  Values.push_back(std::move(V));
  Related.push_back(IsRelated);
  Index.emplace(H, Id);
  return Id;
}

void ValueTable::addPart(Bits &B, uint32_t Origin, bool Moved, uint64_t Mask) {
  if (!Mask)
    return;
  for (Part &P : B.Parts) {
    if (P.Origin == Origin && P.Moved == Moved) {
      P.Mask |= Mask;
      return;
    }
  }
  B.Parts.push_back({Origin, Moved, Mask});
}

void ValueTable::addParts(Bits &To, const Bits &From, uint64_t Mask, bool Moved) {
  for (const Part &P : From.Parts)
    addPart(To, P.Origin, Moved || P.Moved, P.Mask & Mask);
}

void ValueTable::finish(Bits &B) {
  uint64_t Open = ~B.known(), Covered = 0;
  for (Part &P : B.Parts) {
    P.Mask &= Open;
    Covered |= P.Mask;
  }
  // Nothing is without an origin.
  addPart(B, 0, true, Open & ~Covered);
  llvm::erase_if(B.Parts, [](const Part &P) { return !P.Mask; });
  if (B.Parts.size() > MostParts) {
    Bits Frame;
    for (const Part &P : B.Parts)
      if (const Origin &O = Origins[P.Origin]; O.From == Source::Frame)
        Frame.Frame = std::min(static_cast<int64_t>(O.Detail), Frame.Frame.value_or(INT64_MAX));
    B.Parts.clear();
    addPart(B, intern(Origin{Source::Computed, 0}), true, Open);
    addFrame(B, Frame);
  }
  llvm::sort(B.Parts, [](const Part &P, const Part &Q) {
    return std::tuple(P.Origin, P.Moved, P.Mask) < std::tuple(Q.Origin, Q.Moved, Q.Mask);
  });
}

/// What @p To is made of, if that was an address in the frame.
void ValueTable::addFrame(Bits &To, const Bits &From) {
  if (From.Frame)
    addPart(To, intern(Origin{Source::Frame, static_cast<uint64_t>(*From.Frame)}), true, All);
}

/// Whether @p Wide says less than @p Narrow, and nothing else.
bool ValueTable::covers(const Bits &Wide, const Bits &Narrow) const {
  if (Wide.Frame || (Wide.Zeros & ~Narrow.Zeros) || (Wide.Ones & ~Narrow.Ones) || (Wide.Read & ~Narrow.Read))
    return false;
  if (Narrow.Frame)
    return llvm::any_of(Wide.Parts, [&](const Part &P) {
      const Origin &O = Origins[P.Origin];
      return P.Mask == All && O.From == Source::Frame && static_cast<int64_t>(O.Detail) <= *Narrow.Frame;
    });
  auto mask = [&](const Part &P) {
    for (const Part &Q : Wide.Parts)
      if (Q.Origin == P.Origin && Q.Moved == P.Moved)
        return Q.Mask;
    return uint64_t(0);
  };
  for (const Part &P : Narrow.Parts)
    if (P.Mask & ~mask(P))
      return false;
  return !(Narrow.known() & ~Wide.known() & ~mask(Part{0, false, 0}));
}

template <typename F> ValueId ValueTable::memo(Key K, F Make) {
  if (auto It = Memo.find(K); It != Memo.end())
    return It->second;
  ValueId Id = Make();
  Memo.emplace(K, Id);
  return Id;
}

ValueId ValueTable::constant(uint64_t C) {
  return memo({OpConstant, 0, 0, C}, [&] { return of(constantBits(C)); });
}

ValueId ValueTable::from(Source From, uint64_t Detail) {
  return memo({OpFrom, static_cast<ValueId>(From), 0, Detail}, [&] {
    Bits B;
    B.Parts.push_back({intern(Origin{From, Detail}), false, All});
    return of(B);
  });
}

ValueId ValueTable::frame(int64_t Offset) {
  Bits B;
  B.Frame = Offset;
  return of(B);
}

std::optional<int64_t> ValueTable::frameOffset(ValueId Id) const {
  const Value &V = Values[Id];
  return V.size() == 1 ? V[0].Frame : std::nullopt;
}

std::optional<int64_t> ValueTable::frameBase(ValueId Id) const {
  std::optional<int64_t> Lowest;
  auto take = [&](int64_t Offset) { Lowest = Lowest ? std::min(*Lowest, Offset) : Offset; };
  for (const Bits &B : Values[Id]) {
    if (B.Frame)
      take(*B.Frame);
    for (const Part &P : B.Parts)
      if (Origins[P.Origin].From == Source::Frame)
        take(static_cast<int64_t>(Origins[P.Origin].Detail));
  }
  return Lowest;
}

std::optional<uint64_t> ValueTable::constantOf(ValueId Id) const {
  const Value &V = Values[Id];
  if (V.size() != 1 || !V[0].isConstant())
    return std::nullopt;
  return V[0].Ones;
}

template <typename F> ValueId ValueTable::unary(uint8_t Op, ValueId A, F Change, uint64_t Extra) {
  return memo({Op, A, 0, Extra}, [&] {
    Value Out;
    for (const Bits &B : Values[A])
      Out.push_back(Change(B));
    return intern(std::move(Out));
  });
}

template <typename F> ValueId ValueTable::binary(uint8_t Op, ValueId A, ValueId B, F Combine, uint64_t Extra) {
  return memo({Op, A, B, Extra}, [&] {
    Value Out;
    for (const Bits &L : Values[A])
      for (const Bits &R : Values[B])
        Out.push_back(Combine(L, R));
    return intern(std::move(Out));
  });
}

Bits ValueTable::combine(const Bits &A, const Bits &B, bool IsAnd) {
  // Copies are made this way, of addresses in the frame as well.
  const uint64_t Neutral = IsAnd ? All : 0;
  if (B.isConstant() && B.Ones == Neutral)
    return A;
  if (A.isConstant() && A.Ones == Neutral)
    return B;
  Bits Out;
  addFrame(Out, A);
  addFrame(Out, B);
  // Bits where one operand leaves the other one as it is.
  uint64_t KeepA = IsAnd ? B.Ones : B.Zeros, KeepB = IsAnd ? A.Ones : A.Zeros;
  if (IsAnd) {
    Out.Zeros = A.Zeros | B.Zeros;
    Out.Ones = A.Ones & B.Ones;
  } else {
    Out.Ones = A.Ones | B.Ones;
    Out.Zeros = A.Zeros & B.Zeros;
  }
  Out.Read = (A.Read & KeepA) | (B.Read & KeepB);
  addParts(Out, A, KeepA, false);
  addParts(Out, B, KeepB, false);
  uint64_t Both = ~A.known() & ~B.known();
  bool Same = A.Parts == B.Parts;
  addParts(Out, A, Both, !Same);
  addParts(Out, B, Both, !Same);
  if (Same)
    Out.Read |= A.Read & B.Read & Both;
  finish(Out);
  return Out;
}

ValueId ValueTable::bitAnd(ValueId A, ValueId B) {
  return binary(OpAnd, A, B, [&](const Bits &L, const Bits &R) { return combine(L, R, true); });
}

ValueId ValueTable::bitOr(ValueId A, ValueId B) {
  return binary(OpOr, A, B, [&](const Bits &L, const Bits &R) { return combine(L, R, false); });
}

ValueId ValueTable::bitXor(ValueId A, ValueId B) {
  return binary(OpXor, A, B, [&](const Bits &L, const Bits &R) {
    Bits Out;
    Out.Ones = (L.Ones & R.Zeros) | (L.Zeros & R.Ones);
    Out.Zeros = (L.Ones & R.Ones) | (L.Zeros & R.Zeros);
    Out.Read = (L.Read & R.Zeros) | (R.Read & L.Zeros);
    addParts(Out, L, R.Zeros, false);
    addParts(Out, R, L.Zeros, false);
    addParts(Out, L, ~R.Zeros, true);
    addParts(Out, R, ~L.Zeros, true);
    addFrame(Out, L);
    addFrame(Out, R);
    finish(Out);
    return Out;
  });
}

ValueId ValueTable::invert(ValueId A) {
  return unary(OpInvert, A, [&](const Bits &B) {
    Bits Out;
    Out.Ones = B.Zeros;
    Out.Zeros = B.Ones;
    addParts(Out, B, All, true);
    addFrame(Out, B);
    finish(Out);
    return Out;
  });
}

/// A + B, or A - B. From the lowest bit up, as long as the carry is known.
Bits ValueTable::sum(const Bits &A, const Bits &B, bool Borrow) {
  Bits Out;
  std::optional<uint64_t> Frame;
  if (A.Frame && B.isConstant())
    Frame = static_cast<uint64_t>(*A.Frame) + (Borrow ? 0 - B.Ones : B.Ones);
  else if (B.Frame && A.isConstant() && !Borrow)
    Frame = static_cast<uint64_t>(*B.Frame) + A.Ones;
  if (Frame && std::abs(static_cast<int64_t>(*Frame)) < FarthestFrame) {
    Out.Frame = static_cast<int64_t>(*Frame);
    return Out;
  }
  if (A.Frame || B.Frame) {
    for (const Bits *Operand : {&A, &B}) {
      addFrame(Out, *Operand);
      for (const Part &P : Operand->Parts)
        addPart(Out, P.Origin, true, All);
    }
    finish(Out);
    return Out;
  }
  if (A.isConstant() && B.isConstant())
    return constantBits(Borrow ? A.Ones - B.Ones : A.Ones + B.Ones);
  // A - B is A + ~B + 1.
  uint64_t Zeros = Borrow ? B.Ones : B.Zeros, Ones = Borrow ? B.Zeros : B.Ones;
  bool Carry = Borrow;
  unsigned N = 0;
  for (; N < 64; ++N) {
    uint64_t Bit = uint64_t(1) << N;
    bool KnownA = A.known() & Bit, KnownB = (Zeros | Ones) & Bit;
    if (KnownA && KnownB) {
      unsigned Total = !!(A.Ones & Bit) + !!(Ones & Bit) + Carry;
      (Total & 1 ? Out.Ones : Out.Zeros) |= Bit;
      Carry = Total & 2;
      continue;
    }
    // An unknown bit goes through if it meets 0 and no carry, or 1 and a carry.
    if (KnownB && !!(Ones & Bit) == Carry) {
      addParts(Out, A, Bit, false);
      Out.Read |= A.Read & Bit;
      continue;
    }
    if (KnownA && !!(A.Ones & Bit) == Carry) {
      addParts(Out, B, Bit, Borrow);
      if (!Borrow)
        Out.Read |= B.Read & Bit;
      continue;
    }
    break;
  }
  if (N < 64) {
    uint64_t Rest = All << N;
    // A carry takes bits upwards.
    for (const Bits *Operand : {&A, &B})
      for (const Part &P : Operand->Parts)
        addPart(Out, P.Origin, true, Rest);
    if (A.Parts.empty() && B.Parts.empty())
      addPart(Out, 0, true, Rest);
  }
  finish(Out);
  return Out;
}

ValueId ValueTable::add(ValueId A, ValueId B) {
  return binary(OpAdd, A, B, [&](const Bits &L, const Bits &R) { return sum(L, R, false); });
}

ValueId ValueTable::subtract(ValueId A, ValueId B) {
  return binary(OpSub, A, B, [&](const Bits &L, const Bits &R) { return sum(L, R, true); });
}

ValueId ValueTable::shiftLeft(ValueId A, unsigned By) {
  if (!By)
    return A;
  return unary(OpLeft, A, [&](const Bits &B) {
    Bits Out;
    Out.Ones = B.Ones << By;
    Out.Zeros = B.Zeros << By | maskTrailingOnes<uint64_t>(By);
    for (const Part &P : B.Parts)
      addPart(Out, P.Origin, true, P.Mask << By);
    addFrame(Out, B);
    finish(Out);
    return Out;
  }, By);
}

ValueId ValueTable::shiftRight(ValueId A, unsigned By) {
  if (!By)
    return A;
  return unary(OpRight, A, [&](const Bits &B) {
    Bits Out;
    Out.Ones = B.Ones >> By;
    Out.Zeros = B.Zeros >> By | ~(All >> By);
    for (const Part &P : B.Parts)
      addPart(Out, P.Origin, true, P.Mask >> By);
    addFrame(Out, B);
    finish(Out);
    return Out;
  }, By);
}

ValueId ValueTable::truncate(ValueId A) { return bitAnd(A, constant(0xffffffff)); }

ValueId ValueTable::extract(ValueId A, unsigned Rotate, unsigned Top, bool Signed, bool Is32) {
  unsigned Width = Is32 ? 32 : 64;
  Rotate %= Width;
  Top %= Width;
  ValueId Source = Is32 ? truncate(A) : A;
  ValueId Out;
  unsigned Sign;
  if (Top >= Rotate) {
    Out = shiftRight(bitAnd(Source, constant(maskTrailingOnes<uint64_t>(Top + 1))), Rotate);
    Sign = Top - Rotate;
  } else {
    Out = shiftLeft(bitAnd(Source, constant(maskTrailingOnes<uint64_t>(Top + 1))), Width - Rotate);
    Sign = Top + Width - Rotate;
  }
  if (!Signed || Sign == 63)
    return Is32 ? truncate(Out) : Out;
  ValueId Extended = unary(OpExtract, Out, [&](const Bits &B) {
    Bits E = B;
    uint64_t Above = All << (Sign + 1), Bit = uint64_t(1) << Sign;
    E.Zeros &= ~Above;
    if (B.Ones & Bit)
      E.Ones |= Above;
    else if (B.Zeros & Bit)
      E.Zeros |= Above;
    else
      for (const Part &P : B.Parts)
        if (P.Mask & Bit)
          addPart(E, P.Origin, true, Above);
    finish(E);
    return E;
  }, Sign);
  return Is32 ? truncate(Extended) : Extended;
}

ValueId ValueTable::insert(ValueId Into, ValueId A, unsigned Rotate, unsigned Top, bool Is32) {
  unsigned Width = Is32 ? 32 : 64;
  Rotate %= Width;
  Top %= Width;
  ValueId Field = extract(A, Rotate, Top, false, Is32);
  unsigned Low = Top >= Rotate ? 0 : Width - Rotate;
  unsigned Length = Top >= Rotate ? Top - Rotate + 1 : Top + 1;
  uint64_t Mask = maskTrailingOnes<uint64_t>(Length) << Low;
  ValueId Kept = bitAnd(Is32 ? truncate(Into) : Into, constant(~Mask));
  return bitOr(Kept, bitAnd(Field, constant(Mask)));
}

ValueId ValueTable::mix(ArrayRef<ValueId> Operands, uint64_t At) {
  Bits Out;
  addPart(Out, intern(Origin{Source::Computed, At}), true, All);
  for (ValueId Id : Operands)
    for (const Bits &B : Values[Id]) {
      addFrame(Out, B);
      for (const Part &P : B.Parts)
        addPart(Out, P.Origin, true, All);
    }
  finish(Out);
  return of(Out);
}

Bits ValueTable::widen(const Value &V) {
  Bits Out = V[0];
  for (const Bits &B : ArrayRef<Bits>(V).drop_front()) {
    if (Out == B)
      continue;
    Bits Next;
    Next.Zeros = Out.Zeros & B.Zeros;
    Next.Ones = Out.Ones & B.Ones;
    Next.Read = Out.Read & B.Read;
    uint64_t Open = ~Next.known();
    addParts(Next, Out, Open, false);
    addParts(Next, B, Open, false);
    addFrame(Next, Out);
    addFrame(Next, B);
    // Where a constant meets another one, or something else.
    addPart(Next, 0, false, Open & (Out.known() | B.known()));
    finish(Next);
    Out = std::move(Next);
  }
  return Out;
}

ValueId ValueTable::join(ValueId A, ValueId B) {
  if (A == B)
    return A;
  if (A > B)
    std::swap(A, B);
  return memo({OpJoin, A, B, 0}, [&] {
    Value Out = Values[A];
    Out.append(Values[B].begin(), Values[B].end());
    return intern(std::move(Out));
  });
}

ValueId ValueTable::joinRoughly(ValueId A, ValueId B) {
  if (A == B)
    return A;
  return memo({OpRough, A, B, 0}, [&] {
    Bits Out, Frame;
    for (ValueId Id : {A, B}) {
      for (const Bits &Some : Values[Id])
        for (const Part &P : Some.Parts)
          if (Origins[P.Origin].From != Source::Frame)
            addPart(Out, P.Origin, true, All);
      if (std::optional<int64_t> Base = frameBase(Id))
        Frame.Frame = std::min(*Base, Frame.Frame.value_or(*Base));
    }
    uint32_t Anything = intern(Origin{Source::Computed, 0});
    if (Out.Parts.size() > MostOrigins || llvm::any_of(Out.Parts, [&](const Part &P) { return P.Origin == Anything; })) {
      Out.Parts.clear();
      addPart(Out, Anything, true, All);
    }
    addFrame(Out, Frame);
    finish(Out);
    return of(Out);
  });
}

ValueId ValueTable::read(ValueId A) {
  return unary(OpRead, A, [](const Bits &B) {
    Bits Out = B;
    Out.Read = All;
    return Out;
  });
}

ValueId ValueTable::unlearn(Bits B, uint64_t Mask) {
  B.Zeros &= ~Mask;
  B.Ones &= ~Mask;
  addPart(B, intern(Origin{Source::Entry, 0}), false, Mask);
  finish(B);
  return of(B);
}

uint64_t ValueTable::bitsFrom(const Bits &B, Source From) const {
  uint64_t Mask = 0;
  for (const Part &P : B.Parts)
    if (Origins[P.Origin].From == From)
      Mask |= P.Mask;
  return Mask;
}

std::optional<Origin> ValueTable::originFrom(const Bits &B, Source From) const {
  for (const Part &P : B.Parts)
    if (Origins[P.Origin].From == From)
      return Origins[P.Origin];
  return std::nullopt;
}

uint64_t ValueTable::entryBits(const Bits &B) const {
  uint64_t Mask = 0, Others = 0;
  for (const Part &P : B.Parts) {
    if (Origins[P.Origin].From == Source::Entry && !P.Moved)
      Mask |= P.Mask;
    else
      Others |= P.Mask;
  }
  return Mask & ~Others;
}

bool ValueTable::isFixed(const Part &P) const {
  Source From = Origins[P.Origin].From;
  return !P.Moved && (From == Source::Entry || From == Source::Argument || From == Source::Register);
}

Truth ValueTable::equal(const Bits &A, const Bits &B, const EntryFacts &Facts) const {
  if (A.Frame || B.Frame)
    return A.Frame && B.Frame ? (*A.Frame == *B.Frame ? Truth::Yes : Truth::No) : Truth::Maybe;
  auto resolve = [&](const Bits &X) {
    uint64_t Entry = entryBits(X);
    return std::pair(X.Zeros | (Entry & Facts.Zeros), X.Ones | (Entry & Facts.Ones));
  };
  auto [ZeroA, OneA] = resolve(A);
  auto [ZeroB, OneB] = resolve(B);
  if ((ZeroA & OneB) | (OneA & ZeroB))
    return Truth::No;
  uint64_t Same = (ZeroA & ZeroB) | (OneA & OneB);
  for (const Part &P : A.Parts) {
    if (!isFixed(P))
      continue;
    uint64_t Alone = P.Mask;
    for (const Part &Q : A.Parts)
      if (!(Q == P))
        Alone &= ~Q.Mask;
    for (const Part &Q : B.Parts)
      if (Q.Origin != P.Origin || Q.Moved)
        Alone &= ~Q.Mask;
    for (const Part &Q : B.Parts)
      if (Q.Origin == P.Origin && !Q.Moved)
        Same |= Alone & Q.Mask;
  }
  return Same == All ? Truth::Yes : Truth::Maybe;
}

Truth ValueTable::equal(ValueId A, ValueId B, const EntryFacts &Facts) const {
  bool Yes = false, No = false;
  for (const Bits &L : Values[A])
    for (const Bits &R : Values[B])
      switch (equal(L, R, Facts)) {
      case Truth::Yes:
        Yes = true;
        break;
      case Truth::No:
        No = true;
        break;
      case Truth::Maybe:
        return Truth::Maybe;
      }
  return Yes && No ? Truth::Maybe : Yes ? Truth::Yes : Truth::No;
}

ValueId ValueTable::refine(ValueId A, ValueId B, bool Equal, const EntryFacts &Facts) {
  const Value Left = Values[A], Right = Values[B];
  if (Left.size() == 1)
    return A;
  Value Out;
  for (const Bits &L : Left) {
    bool Possible = llvm::any_of(Right, [&](const Bits &R) {
      Truth T = equal(L, R, Facts);
      return T != (Equal ? Truth::No : Truth::Yes);
    });
    if (Possible)
      Out.push_back(L);
  }
  return Out.empty() ? A : intern(std::move(Out));
}

bool ValueTable::learn(ValueId A, ValueId B, EntryFacts &Facts) const {
  const Value &Left = Values[A], &Right = Values[B];
  if (Left.size() != 1 || Right.size() != 1)
    return true;
  auto take = [&](const Bits &X, const Bits &Y) {
    uint64_t Entry = entryBits(X);
    Facts.Zeros |= Entry & Y.Zeros;
    Facts.Ones |= Entry & Y.Ones;
  };
  take(Left[0], Right[0]);
  take(Right[0], Left[0]);
  return !(Facts.Zeros & Facts.Ones);
}

} // namespace kpkeys::audit
