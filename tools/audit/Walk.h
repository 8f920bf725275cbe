// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_AUDIT_WALK_H
#define KPKEYS_AUDIT_WALK_H

#include "audit/Decoder.h"
#include "audit/Image.h"
#include "audit/Value.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace kpkeys::audit {

/// What is known of one write of a register, on all ways that lead to it.
struct Write {
  uint64_t Address = 0;
  SystemRegister Reg = PorEl1;
  bool Executed = false; ///< The conditions on the way to it can hold.
  bool Grants = false; ///< Gives write access to a pkey by an immediate, on some way.
  bool Batch = false;  ///< Comes after the register was found to hold a value that was asked for.
  /// Bits that the write may change, by where their new value comes from.
  uint64_t Immediate = 0, Read = 0;
  std::map<Origin, uint64_t> Others;
};

enum class EventKind : uint8_t {
  LeakReturn,   ///< The function ends with the permissive value of Write.
  LeakCall,     ///< A function is called with it.
  NoBarrier,    ///< What Write did is used, or let go, before an ISB.
  ComputedJump, ///< A computed jump whose targets are not known.
  GaveUp,       ///< There are too many combinations of values.
};

struct Event {
  EventKind Kind;
  uint64_t Write = 0; ///< Address of the write.
  uint64_t At = 0;    ///< Where it shows.
  uint64_t Callee = 0; ///< Of calls and jumps; 0 if it is computed.
  bool Batch = false;

  auto operator<=>(const Event &) const = default;
};

/// What is known of a function that is called.
enum class CalleeKind : uint8_t {
  Ordinary,
  ReturnsNot,
  Instrument, ///< Put there by the compiler for a sanitizer: does not end anything.
};
using CalleeFunction = llvm::function_ref<CalleeKind(uint64_t)>;

struct WalkResult {
  std::map<uint64_t, Write> Writes; ///< Those that some way leads to.
  std::set<Event> Events;
  bool BatchLeaves = false; ///< There is a write that ends a batch.
  std::set<uint64_t> Callees;
  std::set<uint64_t> Strays; ///< Instructions on the way that are in no function.
  unsigned Instructions = 0, States = 0;
};

/// Follow all ways through @p F from @p Entry, its start or a place where others
/// come in: reaching definitions of
/// registers, of the flags and of the frame, one set for each value that
/// POR_EL1 may have. @p Callee tells about functions that are called.
///
/// Taken for granted: a function that is called leaves POR_EL1 as it found it
/// (each one with a write is walked by itself), x19 to x29, and what lies in
/// the frame below addresses that were given away. Bit 3 of POR_EL1, part of
/// an encoding that is reserved, is 0.
WalkResult walk(const Image &I, Decoder &D, const Function &F, uint64_t Entry, CalleeFunction Callee);

} // namespace kpkeys::audit

#endif
