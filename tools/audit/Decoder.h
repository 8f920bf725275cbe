// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_AUDIT_DECODER_H
#define KPKEYS_AUDIT_DECODER_H

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>

namespace kpkeys::audit {

/// The registers that hold permission overlays for privileged accesses.
enum SystemRegister : uint16_t {
  PorEl0 = 0xdd14,
  PorEl1 = 0xc514,
  PorEl2 = 0xe514,
  PorEl12 = 0xed14,
};

/// The flags, as a system register.
constexpr uint16_t SystemFlags = 0xda10;

/// Words of "msr REG, xN", whatever N is.
constexpr uint32_t WriteMask = 0xffffffe0;
constexpr uint32_t writeOf(SystemRegister Reg) { return 0xd5100000u | (static_cast<uint32_t>(Reg) & 0x7fff) << 5; }
static_assert(writeOf(PorEl1) == 0xd518a280);
/// Word of "mrs x0, REG".
constexpr uint32_t readOf(SystemRegister Reg) { return writeOf(Reg) | 1u << 21; }
static_assert(readOf(PorEl1) == 0xd538a280);

/// Numbers of registers beyond x0 to x30.
enum : uint8_t { RegSP = 31, RegZero = 32, RegNone = 33 };

/// What an instruction does, as far as values are followed through it.
enum class Op : uint8_t {
  Other, ///< Leaves in Defs what is not known, made of Uses.
  Nop,
  Move,     ///< Dest = Imm
  MoveKeep, ///< Dest = Dest with 16 bits at Shift replaced by Imm
  And,
  Or,
  Xor,
  Add,
  Sub,
  BitfieldZero,   ///< ubfm: Imm is immr, Imm2 is imms
  BitfieldSigned, ///< sbfm
  BitfieldInsert, ///< bfm
  Select,         ///< csel and its relatives: Dest = Cond ? A : f(B)
  Compare,        ///< ccmp and other ways to set flags
  Load,
  Store,
  ReadSystem,
  WriteSystem,
  Barrier, ///< isb
  Branch,
  CondBranch, ///< b.cond
  CompareBranch, ///< cbz, cbnz
  TestBranch,    ///< tbz, tbnz
  OtherBranch,   ///< a conditional branch on something else
  Call,
  IndirectCall,
  IndirectBranch,
  Return,
  ExceptionReturn,
  Break,
  FirmwareCall, ///< hvc, smc
};

/// How the second operand of Select is changed.
enum class SelectKind : uint8_t { Plain, Increment, Invert, Negate };

/// How a load or a store finds its memory.
enum class Addressing : uint8_t { Offset, Register, Pre, Post };

struct Instruction {
  Op Kind = Op::Other;
  bool Is32 = false;
  bool SetsFlags = false, ReadsFlags = false;
  bool HasImm = false; ///< Of And to Sub: B is Imm.
  bool InvertB = false; ///< bic, orn, eon
  bool Negated = false; ///< cbnz, tbnz
  bool MayLoad = false, MayStore = false;
  uint8_t Dest = RegNone, A = RegNone, B = RegNone; ///< Of pairs: Dest and B are the data, A the base.
  uint8_t Shift = 0, ShiftKind = 0;
  uint8_t Cond = 0;
  SelectKind Select = SelectKind::Plain;
  Addressing Mode = Addressing::Offset;
  bool Pair = false, General = true; ///< Of loads and stores: general registers are moved.
  uint8_t Size = 0;                  ///< Of loads and stores: bytes of one register.
  uint16_t System = 0;
  int64_t Imm = 0, Imm2 = 0;
  uint64_t Target = 0;
  llvm::SmallVector<uint8_t, 4> Defs, Uses;
};

/// LLVM's disassembler, in the words above.
class Decoder {
public:
  static llvm::Expected<std::unique_ptr<Decoder>> create();
  ~Decoder();

  /// Decode @p Word, which stands at @p Address. A word that is no instruction
  /// is Op::Break: execution does not go on behind it.
  Instruction decode(uint32_t Word, uint64_t Address);

private:
  struct Impl;
  explicit Decoder(std::unique_ptr<Impl> I);
  std::unique_ptr<Impl> I;
};

/// The value of the immediate of and, orr, eor as it is encoded.
uint64_t decodeLogicalImmediate(uint64_t Encoded, bool Is32);

} // namespace kpkeys::audit

#endif
