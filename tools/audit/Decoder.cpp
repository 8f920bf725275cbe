// SPDX-License-Identifier: GPL-2.0-only
//
// LLVM knows the registers an instruction reads and writes, and where it goes;
// what it computes is known here, by its LLVM name, for the few that compilers
// use to make a value for POR_EL1. The enumeration of opcodes is private to
// LLVM and changes, names hardly do.

#include "audit/Decoder.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/MC/MCAsmInfo.h"
#include "llvm/MC/MCContext.h"
#include "llvm/MC/MCDisassembler/MCDisassembler.h"
#include "llvm/MC/MCInst.h"
#include "llvm/MC/MCInstrAnalysis.h"
#include "llvm/MC/MCInstrInfo.h"
#include "llvm/MC/MCRegisterInfo.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/MCTargetOptions.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/TargetParser/Triple.h"

#include <optional>
#include <vector>

using namespace llvm;

namespace kpkeys::audit {

namespace {

/// The shapes of operands that are told apart, for each opcode.
enum class Shape : uint8_t {
  Unknown,
  Generic,
  MoveWide,
  MoveNot,
  MoveKeep,
  Immediate,        ///< dest, a, encoded logical immediate
  Shifted,          ///< dest, a, b, shift
  AddImmediate,     ///< dest, a, imm, shift
  Bitfield,         ///< dest, a, immr, imms
  BitfieldInsert,   ///< dest, dest, a, immr, imms
  Select,           ///< dest, a, b, cond
  Address,
  AddressPage,
  Memory,
  ReadSystem,
  WriteSystem,
  Barrier,
  Hint,
  Branch,
  CondBranch,
  CompareBranch,
  TestBranch,
  OtherBranch,
  Call,
  IndirectCall,
  IndirectBranch,
  Return,
  ExceptionReturn,
  Break,
  FirmwareCall,
  ConditionalCompare,
};

struct OpcodeInfo {
  Shape S = Shape::Unknown;
  Op Kind = Op::Other;
  bool Is32 = false, SetsFlags = false, InvertB = false, Negated = false;
  SelectKind Select = SelectKind::Plain;
  Addressing Mode = Addressing::Offset;
  bool Pair = false, Unscaled = false, General = true;
  uint8_t Size = 0;
};

/// LDRXui, STPQpre, LDURSWi and so on; others stay generic.
std::optional<OpcodeInfo> memoryOpcode(StringRef Name) {
  OpcodeInfo I;
  I.S = Shape::Memory;
  if (Name.consume_front("LD"))
    I.Kind = Op::Load;
  else if (Name.consume_front("ST"))
    I.Kind = Op::Store;
  else
    return std::nullopt;
  if (Name.consume_front("UR"))
    I.Unscaled = true;
  else if (Name.consume_front("P") || Name.consume_front("NP"))
    I.Pair = true;
  else if (!Name.consume_front("R"))
    return std::nullopt;
  struct Width {
    StringLiteral Name;
    uint8_t Size;
    bool General, Is32;
  };
  static constexpr Width Widths[] = {
      {"SBW", 1, true, true}, {"SBX", 1, true, false}, {"SHW", 2, true, true}, {"SHX", 2, true, false},
      {"SW", 4, true, false}, {"BB", 1, true, true},   {"HH", 2, true, true},  {"W", 4, true, true},
      {"X", 8, true, false},  {"B", 1, false, false},  {"H", 2, false, false}, {"S", 4, false, false},
      {"D", 8, false, false}, {"Q", 16, false, false}};
  for (const Width &W : Widths) {
    if (!Name.consume_front(W.Name))
      continue;
    I.Size = W.Size;
    I.General = W.General;
    I.Is32 = W.Is32;
    break;
  }
  if (!I.Size)
    return std::nullopt;
  if (Name == "ui" || Name == "i")
    I.Mode = Addressing::Offset;
  else if (Name == "pre")
    I.Mode = Addressing::Pre;
  else if (Name == "post")
    I.Mode = Addressing::Post;
  else if (Name == "roX" || Name == "roW")
    I.Mode = Addressing::Register;
  else
    return std::nullopt;
  return I;
}

/// And, orr, eor, add and sub in all their forms.
std::optional<OpcodeInfo> arithmeticOpcode(StringRef Name) {
  struct Entry {
    StringLiteral Name;
    Op Kind;
    bool SetsFlags, InvertB;
  };
  static constexpr Entry Entries[] = {
      {"ANDS", Op::And, true, false}, {"AND", Op::And, false, false}, {"BICS", Op::And, true, true},
      {"BIC", Op::And, false, true},  {"ORR", Op::Or, false, false},  {"ORN", Op::Or, false, true},
      {"EOR", Op::Xor, false, false}, {"EON", Op::Xor, false, true},  {"ADDS", Op::Add, true, false},
      {"ADD", Op::Add, false, false}, {"SUBS", Op::Sub, true, false}, {"SUB", Op::Sub, false, false}};
  for (const Entry &E : Entries) {
    StringRef Rest = Name;
    if (!Rest.consume_front(E.Name) || Rest.size() != 3 || (Rest[0] != 'W' && Rest[0] != 'X'))
      continue;
    OpcodeInfo I;
    I.Kind = E.Kind;
    I.SetsFlags = E.SetsFlags;
    I.InvertB = E.InvertB;
    I.Is32 = Rest[0] == 'W';
    bool Sum = E.Kind == Op::Add || E.Kind == Op::Sub;
    StringRef Form = Rest.drop_front();
    if (Form == "rs")
      I.S = Shape::Shifted;
    else if (Form == "ri")
      I.S = Sum ? Shape::AddImmediate : Shape::Immediate;
    else
      return std::nullopt;
    return I;
  }
  return std::nullopt;
}

std::optional<OpcodeInfo> otherOpcode(StringRef Name) {
  auto make = [](Shape S, Op Kind, bool Is32 = false) {
    OpcodeInfo I;
    I.S = S;
    I.Kind = Kind;
    I.Is32 = Is32;
    return I;
  };
  auto select = [&](SelectKind K, bool Is32) {
    OpcodeInfo I = make(Shape::Select, Op::Select, Is32);
    I.Select = K;
    return I;
  };
  auto negated = [](OpcodeInfo I) {
    I.Negated = true;
    return I;
  };
  using Result = std::optional<OpcodeInfo>;
  return StringSwitch<Result>(Name)
      .Case("MOVZXi", make(Shape::MoveWide, Op::Move))
      .Case("MOVZWi", make(Shape::MoveWide, Op::Move, true))
      .Case("MOVNXi", make(Shape::MoveNot, Op::Move))
      .Case("MOVNWi", make(Shape::MoveNot, Op::Move, true))
      .Case("MOVKXi", make(Shape::MoveKeep, Op::MoveKeep))
      .Case("MOVKWi", make(Shape::MoveKeep, Op::MoveKeep, true))
      .Case("UBFMXri", make(Shape::Bitfield, Op::BitfieldZero))
      .Case("UBFMWri", make(Shape::Bitfield, Op::BitfieldZero, true))
      .Case("SBFMXri", make(Shape::Bitfield, Op::BitfieldSigned))
      .Case("SBFMWri", make(Shape::Bitfield, Op::BitfieldSigned, true))
      .Case("BFMXri", make(Shape::BitfieldInsert, Op::BitfieldInsert))
      .Case("BFMWri", make(Shape::BitfieldInsert, Op::BitfieldInsert, true))
      .Case("CSELXr", select(SelectKind::Plain, false))
      .Case("CSELWr", select(SelectKind::Plain, true))
      .Case("CSINCXr", select(SelectKind::Increment, false))
      .Case("CSINCWr", select(SelectKind::Increment, true))
      .Case("CSINVXr", select(SelectKind::Invert, false))
      .Case("CSINVWr", select(SelectKind::Invert, true))
      .Case("CSNEGXr", select(SelectKind::Negate, false))
      .Case("CSNEGWr", select(SelectKind::Negate, true))
      .Case("ADR", make(Shape::Address, Op::Move))
      .Case("ADRP", make(Shape::AddressPage, Op::Move))
      .Case("MRS", make(Shape::ReadSystem, Op::ReadSystem))
      .Case("MSR", make(Shape::WriteSystem, Op::WriteSystem))
      .Case("ISB", make(Shape::Barrier, Op::Barrier))
      .Case("HINT", make(Shape::Hint, Op::Nop))
      .Case("NOP", make(Shape::Hint, Op::Nop))
      .Case("B", make(Shape::Branch, Op::Branch))
      .Case("Bcc", make(Shape::CondBranch, Op::CondBranch))
      .Case("BCcc", make(Shape::CondBranch, Op::CondBranch))
      .Case("CBZX", make(Shape::CompareBranch, Op::CompareBranch))
      .Case("CBZW", make(Shape::CompareBranch, Op::CompareBranch, true))
      .Case("CBNZX", negated(make(Shape::CompareBranch, Op::CompareBranch)))
      .Case("CBNZW", negated(make(Shape::CompareBranch, Op::CompareBranch, true)))
      .Case("TBZX", make(Shape::TestBranch, Op::TestBranch))
      .Case("TBZW", make(Shape::TestBranch, Op::TestBranch))
      .Case("TBNZX", negated(make(Shape::TestBranch, Op::TestBranch)))
      .Case("TBNZW", negated(make(Shape::TestBranch, Op::TestBranch)))
      .Case("BL", make(Shape::Call, Op::Call))
      .Case("ERET", make(Shape::ExceptionReturn, Op::ExceptionReturn))
      .Case("ERETAA", make(Shape::ExceptionReturn, Op::ExceptionReturn))
      .Case("ERETAB", make(Shape::ExceptionReturn, Op::ExceptionReturn))
      .Case("HVC", make(Shape::FirmwareCall, Op::FirmwareCall))
      .Case("SMC", make(Shape::FirmwareCall, Op::FirmwareCall))
      .Case("BRK", make(Shape::Break, Op::Break))
      .Case("UDF", make(Shape::Break, Op::Break))
      .Case("HLT", make(Shape::Break, Op::Break))
      .Case("CCMPXi", make(Shape::ConditionalCompare, Op::Compare))
      .Case("CCMPXr", make(Shape::ConditionalCompare, Op::Compare))
      .Case("CCMNXi", make(Shape::ConditionalCompare, Op::Compare))
      .Case("CCMNXr", make(Shape::ConditionalCompare, Op::Compare))
      .Case("CCMPWi", make(Shape::ConditionalCompare, Op::Compare, true))
      .Case("CCMPWr", make(Shape::ConditionalCompare, Op::Compare, true))
      .Case("CCMNWi", make(Shape::ConditionalCompare, Op::Compare, true))
      .Case("CCMNWr", make(Shape::ConditionalCompare, Op::Compare, true))
      .Default(std::nullopt);
}

} // namespace

struct Decoder::Impl {
  std::unique_ptr<MCRegisterInfo> Registers;
  std::unique_ptr<MCAsmInfo> AsmInfo;
  std::unique_ptr<MCInstrInfo> Instructions;
  std::unique_ptr<MCSubtargetInfo> Subtarget;
  std::unique_ptr<MCContext> Context;
  std::unique_ptr<MCDisassembler> Disassembler;
  std::unique_ptr<MCInstrAnalysis> Analysis;
  std::vector<OpcodeInfo> Opcodes;
  std::vector<uint8_t> Numbers; ///< By LLVM's register number.
  MCRegister Flags;

  const OpcodeInfo &info(unsigned Opcode);
  OpcodeInfo classify(unsigned Opcode) const;
  uint8_t reg(const MCInst &Inst, unsigned N) const {
    const MCOperand &O = Inst.getOperand(N);
    return O.isReg() ? Numbers[O.getReg().id()] : static_cast<uint8_t>(RegNone);
  }
  static int64_t imm(const MCInst &Inst, unsigned N) {
    const MCOperand &O = Inst.getOperand(N);
    return O.isImm() ? O.getImm() : 0;
  }
  void number(MCRegister Reg, SmallVectorImpl<uint8_t> &To) const;
  void generic(const MCInst &Inst, const MCInstrDesc &Desc, Instruction &Out) const;
  void memory(const MCInst &Inst, const OpcodeInfo &Info, Instruction &Out) const;
  void target(const MCInst &Inst, uint64_t Address, Instruction &Out) const;
};

OpcodeInfo Decoder::Impl::classify(unsigned Opcode) const {
  StringRef Name = Instructions->getName(Opcode);
  if (auto Found = otherOpcode(Name))
    return *Found;
  if (auto Found = arithmeticOpcode(Name))
    return *Found;
  if (auto Found = memoryOpcode(Name))
    return *Found;
  const MCInstrDesc &Desc = Instructions->get(Opcode);
  OpcodeInfo I;
  I.S = Shape::Generic;
  if (Desc.isReturn())
    I.Kind = Op::Return;
  else if (Desc.isCall())
    I.Kind = Op::IndirectCall;
  else if (Desc.isIndirectBranch())
    I.Kind = Op::IndirectBranch;
  else if (Desc.isConditionalBranch())
    I.Kind = Op::OtherBranch;
  else if (Desc.isUnconditionalBranch())
    I.Kind = Op::Branch;
  return I;
}

const OpcodeInfo &Decoder::Impl::info(unsigned Opcode) {
  OpcodeInfo &Info = Opcodes[Opcode];
  if (Info.S == Shape::Unknown)
    Info = classify(Opcode);
  return Info;
}

void Decoder::Impl::number(MCRegister Reg, SmallVectorImpl<uint8_t> &To) const {
  // Pairs and tuples have the single registers below them.
  for (MCPhysReg Sub : Registers->subregs_inclusive(Reg))
    if (uint8_t N = Numbers[Sub]; N < RegZero && !is_contained(To, N))
      To.push_back(N);
}

void Decoder::Impl::generic(const MCInst &Inst, const MCInstrDesc &Desc, Instruction &Out) const {
  for (unsigned N = 0; N < Inst.getNumOperands(); ++N) {
    const MCOperand &O = Inst.getOperand(N);
    if (O.isReg() && O.getReg())
      number(O.getReg(), N < Desc.getNumDefs() ? Out.Defs : Out.Uses);
  }
  Out.ReadsFlags = is_contained(Desc.implicit_uses(), Flags.id());
  for (MCPhysReg Reg : Desc.implicit_defs()) {
    if (Reg == Flags)
      Out.SetsFlags = true;
    number(Reg, Out.Defs);
  }
}

void Decoder::Impl::memory(const MCInst &Inst, const OpcodeInfo &Info, Instruction &Out) const {
  unsigned N = Info.Mode == Addressing::Pre || Info.Mode == Addressing::Post;
  Out.Dest = reg(Inst, N++);
  if (Info.Pair)
    Out.B = reg(Inst, N++);
  Out.A = reg(Inst, N++);
  if (Info.Mode == Addressing::Register)
    return;
  bool Scaled = Info.Pair || (Info.Mode == Addressing::Offset && !Info.Unscaled);
  Out.Imm = imm(Inst, N) * (Scaled ? Info.Size : 1);
}

void Decoder::Impl::target(const MCInst &Inst, uint64_t Address, Instruction &Out) const {
  if (!Analysis->evaluateBranch(Inst, Address, 4, Out.Target))
    Out.Target = 0;
}

Decoder::Decoder(std::unique_ptr<Impl> I) : I(std::move(I)) {}
Decoder::~Decoder() = default;

Expected<std::unique_ptr<Decoder>> Decoder::create() {
  LLVMInitializeAArch64TargetInfo();
  LLVMInitializeAArch64TargetMC();
  LLVMInitializeAArch64Disassembler();
  auto I = std::make_unique<Impl>();
  const Triple TT("aarch64-unknown-linux-gnu");
  std::string Message;
#if LLVM_VERSION_MAJOR >= 22
  const auto &Name = TT;
#else
  const std::string Name = TT.str();
#endif
  const Target *T = TargetRegistry::lookupTarget(Name, Message);
  if (!T)
    return createStringError(inconvertibleErrorCode(), "LLVM was built without AArch64: " + Message);
  MCTargetOptions Options;
  I->Registers.reset(T->createMCRegInfo(Name));
  I->AsmInfo.reset(T->createMCAsmInfo(*I->Registers, Name, Options));
  I->Instructions.reset(T->createMCInstrInfo());
  // All extensions: what a newer compiler emits must not be unknown.
  I->Subtarget.reset(T->createMCSubtargetInfo(Name, "", "+all"));
  I->Context = std::make_unique<MCContext>(TT, I->AsmInfo.get(), I->Registers.get(), I->Subtarget.get());
  I->Disassembler.reset(T->createMCDisassembler(*I->Subtarget, *I->Context));
  I->Analysis.reset(T->createMCInstrAnalysis(I->Instructions.get()));
  if (!I->Disassembler || !I->Analysis)
    return createStringError(inconvertibleErrorCode(), "LLVM was built without the disassembler of AArch64");
  I->Opcodes.resize(I->Instructions->getNumOpcodes());
  I->Numbers.assign(I->Registers->getNumRegs(), RegNone);
  for (unsigned R = 1; R < I->Registers->getNumRegs(); ++R) {
    StringRef Reg = I->Registers->getName(R);
    unsigned Number;
    if (Reg == "SP" || Reg == "WSP")
      I->Numbers[R] = RegSP;
    else if (Reg == "XZR" || Reg == "WZR")
      I->Numbers[R] = RegZero;
    else if (Reg == "FP")
      I->Numbers[R] = 29;
    else if (Reg == "LR")
      I->Numbers[R] = 30;
    else if ((Reg[0] == 'X' || Reg[0] == 'W') && !Reg.drop_front().getAsInteger(10, Number) && Number <= 30)
      I->Numbers[R] = Number;
    else if (Reg == "NZCV")
      I->Flags = R;
  }
  return std::unique_ptr<Decoder>(new Decoder(std::move(I)));
}

/// "dc zva" and its relatives: to LLVM, a sys instruction like any other.
static bool zeroesMemory(uint32_t Word) {
  unsigned Operation = Word >> 5 & 7;
  return (Word & 0xffffff00) == 0xd50b7400 && (Operation == 1 || Operation == 3 || Operation == 4);
}

Instruction Decoder::decode(uint32_t Word, uint64_t Address) {
  Instruction Out;
  uint8_t Bytes[4];
  support::endian::write32le(Bytes, Word);
  MCInst Inst;
  uint64_t Size;
  if (I->Disassembler->getInstruction(Inst, Size, Bytes, Address, nulls()) != MCDisassembler::Success) {
    Out.Kind = Op::Break;
    return Out;
  }
  const MCInstrDesc &Desc = I->Instructions->get(Inst.getOpcode());
  const OpcodeInfo &Info = I->info(Inst.getOpcode());
  Out.Kind = Info.Kind;
  Out.Is32 = Info.Is32;
  Out.SetsFlags = Info.SetsFlags;
  Out.InvertB = Info.InvertB;
  Out.Negated = Info.Negated;
  Out.Select = Info.Select;
  Out.Mode = Info.Mode;
  Out.Pair = Info.Pair;
  Out.General = Info.General;
  Out.Size = Info.Size;
  Out.MayLoad = Desc.mayLoad();
  Out.MayStore = Desc.mayStore() || zeroesMemory(Word);
  I->generic(Inst, Desc, Out);
  auto reg = [&](unsigned N) { return I->reg(Inst, N); };
  auto imm = [&](unsigned N) { return Impl::imm(Inst, N); };
  switch (Info.S) {
  case Shape::MoveWide:
  case Shape::MoveNot: {
    Out.Dest = reg(0);
    uint64_t Value = static_cast<uint64_t>(imm(1)) << (imm(2) & 63);
    if (Info.S == Shape::MoveNot)
      Value = ~Value;
    Out.Imm = static_cast<int64_t>(Info.Is32 ? Value & 0xffffffff : Value);
    break;
  }
  case Shape::MoveKeep:
    Out.Dest = reg(0);
    Out.Imm = imm(2);
    Out.Shift = imm(3) & 63;
    break;
  case Shape::Immediate:
    Out.Dest = reg(0);
    Out.A = reg(1);
    Out.HasImm = true;
    Out.Imm = static_cast<int64_t>(decodeLogicalImmediate(static_cast<uint64_t>(imm(2)), Info.Is32));
    break;
  case Shape::Shifted:
    Out.Dest = reg(0);
    Out.A = reg(1);
    Out.B = reg(2);
    Out.Shift = imm(3) & 63;
    Out.ShiftKind = imm(3) >> 6 & 7;
    break;
  case Shape::AddImmediate:
    Out.Dest = reg(0);
    Out.A = reg(1);
    // The address of something in another image is an expression without relocation.
    Out.HasImm = Inst.getOperand(2).isImm();
    Out.Imm = static_cast<int64_t>(static_cast<uint64_t>(imm(2)) << (imm(3) & 63));
    if (!Out.HasImm)
      Out.Kind = Op::Other;
    break;
  case Shape::Bitfield:
  case Shape::BitfieldInsert: {
    // What is inserted into is an operand, too.
    unsigned First = Info.S == Shape::BitfieldInsert ? 2 : 1;
    Out.Dest = reg(0);
    Out.A = reg(First);
    Out.Imm = imm(First + 1);
    Out.Imm2 = imm(First + 2);
    break;
  }
  case Shape::Select:
    Out.Dest = reg(0);
    Out.A = reg(1);
    Out.B = reg(2);
    Out.Cond = imm(3) & 15;
    break;
  case Shape::Address:
    Out.Dest = reg(0);
    Out.Imm = static_cast<int64_t>(Address + static_cast<uint64_t>(imm(1)));
    break;
  case Shape::AddressPage:
    Out.Dest = reg(0);
    Out.Imm = static_cast<int64_t>((Address & ~uint64_t(0xfff)) + (static_cast<uint64_t>(imm(1)) << 12));
    break;
  case Shape::Memory:
    I->memory(Inst, Info, Out);
    break;
  case Shape::ReadSystem:
    Out.Dest = reg(0);
    Out.System = static_cast<uint16_t>(imm(1));
    break;
  case Shape::WriteSystem:
    Out.System = static_cast<uint16_t>(imm(0));
    Out.A = reg(1);
    break;
  case Shape::CondBranch:
    Out.Cond = imm(0) & 15;
    I->target(Inst, Address, Out);
    break;
  case Shape::TestBranch:
    Out.A = reg(0);
    Out.Imm = imm(1);
    I->target(Inst, Address, Out);
    break;
  case Shape::CompareBranch:
    Out.A = reg(0);
    I->target(Inst, Address, Out);
    break;
  case Shape::Break:
    Out.Imm = imm(0);
    break;
  case Shape::ConditionalCompare:
    Out.SetsFlags = true;
    break;
  case Shape::Branch:
  case Shape::Call:
    I->target(Inst, Address, Out);
    break;
  default:
    if (Info.Kind == Op::Branch || Info.Kind == Op::OtherBranch)
      I->target(Inst, Address, Out);
    else if ((Info.Kind == Op::IndirectBranch || Info.Kind == Op::IndirectCall || Info.Kind == Op::Return) &&
             Inst.getNumOperands())
      Out.A = reg(0);
    break;
  }
  return Out;
}

uint64_t decodeLogicalImmediate(uint64_t Encoded, bool Is32) {
  unsigned N = Encoded >> 12 & 1, Rotate = Encoded >> 6 & 0x3f, Ones = Encoded & 0x3f;
  unsigned Top = N << 6 | (~Ones & 0x3f);
  if (!Top)
    return 0;
  unsigned Length = 31 - countl_zero(static_cast<uint32_t>(Top));
  unsigned Width = 1u << Length;
  Rotate &= Width - 1;
  Ones &= Width - 1;
  uint64_t Pattern = maskTrailingOnes<uint64_t>(Ones + 1);
  uint64_t Element = maskTrailingOnes<uint64_t>(Width);
  if (Rotate)
    Pattern = (Pattern >> Rotate | Pattern << (Width - Rotate)) & Element;
  for (unsigned W = Width; W < 64; W *= 2)
    Pattern |= Pattern << W;
  return Is32 ? Pattern & 0xffffffff : Pattern;
}

} // namespace kpkeys::audit
