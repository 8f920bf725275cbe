// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_AUDIT_VALUE_H
#define KPKEYS_AUDIT_VALUE_H

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

namespace kpkeys::audit {

/// Where bits of a value come from.
enum class Source : uint8_t {
  Entry,      ///< POR_EL1 as the function found it.
  Argument,   ///< x0 to x7 at the entry; Detail is the number.
  Register,   ///< Another register at the entry; Detail is the number.
  System,     ///< A system register; Detail is its encoding.
  Memory,     ///< Loaded; Detail is the address of the instruction.
  Result,     ///< What a call left in a register; Detail is the address of the call.
  Computed,   ///< An instruction that is not followed; Detail is its address.
  Choice,     ///< One of several constants, or of what the other parts say.
  Frame,      ///< Made of an address in the frame; Detail is the lowest one.
};

struct Origin {
  Source From = Source::Computed;
  uint64_t Detail = 0;

  auto operator<=>(const Origin &) const = default;
};

/// Bits that have an origin.
struct Part {
  uint32_t Origin = 0;
  bool Moved = false; ///< They are not at their own place, or not as they were.
  uint64_t Mask = 0;

  bool operator==(const Part &) const = default;
};

/// What is known of the 64 bits of a value: each one is 0, 1, or has parts.
struct Bits {
  uint64_t Zeros = 0, Ones = 0;
  uint64_t Read = 0; ///< Bits, known or not, that came out of POR_EL1 by mrs.
  std::optional<int64_t> Frame; ///< An address: this far from sp at the entry. No bit is known then.
  llvm::SmallVector<Part, 2> Parts;

  bool operator==(const Bits &) const = default;
  bool isConstant() const { return (Zeros | Ones) == ~uint64_t(0); }
  uint64_t known() const { return Zeros | Ones; }
};

/// A value is one of a few Bits. It is known by number, equal for equal values.
using ValueId = uint32_t;
using Value = llvm::SmallVector<Bits, 1>;

/// What is known of Source::Entry: bits that must have been 0 and 1.
struct EntryFacts {
  uint64_t Zeros = 0, Ones = 0;

  bool operator==(const EntryFacts &) const = default;
};

enum class Truth : uint8_t { No, Yes, Maybe };

/// All values of one function, and arithmetic on them. Everything that is not
/// followed exactly keeps the origins of its operands.
class ValueTable {
public:
  ValueTable();

  const Value &get(ValueId Id) const { return Values[Id]; }
  const Origin &origin(uint32_t N) const { return Origins[N]; }

  ValueId constant(uint64_t C);
  ValueId from(Source From, uint64_t Detail);
  ValueId frame(int64_t Offset);
  ValueId of(const Bits &B) { return intern(Value{B}); }
  std::optional<int64_t> frameOffset(ValueId Id) const;
  /// The lowest address in the frame that @p Id is made of, or is.
  std::optional<int64_t> frameBase(ValueId Id) const;
  std::optional<uint64_t> constantOf(ValueId Id) const;

  ValueId bitAnd(ValueId A, ValueId B);
  ValueId bitOr(ValueId A, ValueId B);
  ValueId bitXor(ValueId A, ValueId B);
  ValueId invert(ValueId A);
  ValueId add(ValueId A, ValueId B);
  ValueId subtract(ValueId A, ValueId B);
  ValueId shiftLeft(ValueId A, unsigned By);
  ValueId shiftRight(ValueId A, unsigned By);
  ValueId truncate(ValueId A);
  /// ubfm, sbfm and bfm, as the architecture defines them.
  ValueId extract(ValueId A, unsigned Rotate, unsigned Top, bool Signed, bool Is32);
  ValueId insert(ValueId Into, ValueId A, unsigned Rotate, unsigned Top, bool Is32);
  /// Something made of @p Operands in a way that is not followed.
  ValueId mix(llvm::ArrayRef<ValueId> Operands, uint64_t At);
  /// Either of the two.
  ValueId join(ValueId A, ValueId B);
  /// The same for a place that many rounds have not settled: known bits and
  /// masks are given up, and more than a few origins.
  ValueId joinRoughly(ValueId A, ValueId B);
  size_t size() const { return Values.size(); }
  /// @p B with @p Mask of it taken back to what POR_EL1 was at the entry.
  ValueId unlearn(Bits B, uint64_t Mask);
  /// The same, marked as read from POR_EL1.
  ValueId read(ValueId A);

  /// Whether any bit may come from POR_EL1.
  bool isRelated(ValueId Id) const { return Related[Id]; }

  Truth equal(ValueId A, ValueId B, const EntryFacts &Facts) const;
  /// The alternatives of @p A that may be equal, or differ from, @p B.
  ValueId refine(ValueId A, ValueId B, bool Equal, const EntryFacts &Facts);
  /// What @p A == @p B says about the entry. False if it cannot be.
  bool learn(ValueId A, ValueId B, EntryFacts &Facts) const;

  /// Bits of @p B that are exactly those of POR_EL1 at the entry.
  uint64_t entryBits(const Bits &B) const;
  /// Bits of @p B that may be of the source @p From.
  uint64_t bitsFrom(const Bits &B, Source From) const;
  /// The origin in @p B of the source @p From, if there is one.
  std::optional<Origin> originFrom(const Bits &B, Source From) const;

private:
  struct Key {
    uint8_t Op;
    ValueId A, B;
    uint64_t Extra;
    bool operator==(const Key &) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key &K) const;
  };

  ValueId intern(Value V);
  uint32_t intern(Origin O);
  template <typename F> ValueId memo(Key K, F Make);
  template <typename F> ValueId binary(uint8_t Op, ValueId A, ValueId B, F Combine, uint64_t Extra = 0);
  template <typename F> ValueId unary(uint8_t Op, ValueId A, F Change, uint64_t Extra = 0);

  static void addPart(Bits &B, uint32_t Origin, bool Moved, uint64_t Mask);
  static void addParts(Bits &To, const Bits &From, uint64_t Mask, bool Moved);
  void finish(Bits &B);
  void addFrame(Bits &To, const Bits &From);
  bool covers(const Bits &Wide, const Bits &Narrow) const;
  Bits combine(const Bits &A, const Bits &B, bool IsAnd);
  Bits sum(const Bits &A, const Bits &B, bool Borrow);
  Bits widen(const Value &V);
  Truth equal(const Bits &A, const Bits &B, const EntryFacts &Facts) const;
  bool isFixed(const Part &P) const;

  std::vector<Value> Values;
  std::vector<bool> Related;
  std::vector<Origin> Origins;
  std::map<Origin, uint32_t> OriginIndex;
  std::unordered_multimap<size_t, ValueId> Index;
  std::unordered_map<Key, ValueId, KeyHash> Memo;
};

} // namespace kpkeys::audit

#endif
