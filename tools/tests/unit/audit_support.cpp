// SPDX-License-Identifier: GPL-2.0-only
#include "audit_support.h"

#include "llvm/MC/MCAsmBackend.h"
#include "llvm/MC/MCAsmInfo.h"
#include "llvm/MC/MCCodeEmitter.h"
#include "llvm/MC/MCContext.h"
#include "llvm/MC/MCInstrInfo.h"
#include "llvm/MC/MCObjectFileInfo.h"
#include "llvm/MC/MCObjectWriter.h"
#include "llvm/MC/MCParser/MCAsmParser.h"
#include "llvm/MC/MCParser/MCTargetAsmParser.h"
#include "llvm/MC/MCRegisterInfo.h"
#include "llvm/MC/MCStreamer.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/MCTargetOptions.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/TargetParser/Triple.h"

#include "gtest/gtest.h"

#include <set>

using namespace llvm;

namespace kpkeys::audit {

static constexpr char Prelude[] = R"(

.macro fn name
  .text
  .globl \name
  .type \name, %function
\name:
.endm
.macro endfn name
  .size \name, . - \name
.endm
.macro mrs_por reg
  mrs \reg, S3_0_C10_C2_4
.endm
.macro msr_por reg
  msr S3_0_C10_C2_4, \reg
.endm
.macro set saved=x9
  mrs_por \saved
  mov x11, #0x50
  and x10, \saved, #0xffffffffffffff0f
  orr x10, x10, x11
  cmp \saved, x10
  b.ne 771f
  mov \saved, #-1
  b 772f
771:
  msr_por x10
  isb
772:
.endm
.macro restore saved=x9
  cmn \saved, #1
  b.eq 773f
  mrs_por x10
  and x11, \saved, #0xf0
  and x10, x10, #0xffffffffffffff0f
  orr x10, x10, x11
  msr_por x10
  isb
773:
.endm
.macro enter
  mrs_por x9
  and x10, x9, #0xffffffffffffff0f
  orr x11, x10, #0x10
  cmp x11, x9
  b.ne 774f
  mov x11, #0x50
  orr x10, x10, x11
  msr_por x10
  isb
774:
.endm
.macro leave
  mrs_por x9
  mov x11, #0x50
  and x10, x9, #0xffffffffffffff0f
  orr x11, x10, x11
  cmp x11, x9
  b.ne 775f
  orr x10, x10, #0x10
  msr_por x10
  isb
775:
.endm
.macro altinstr at, repl, len
  .pushsection .altinstructions, "a"
  .word \at - .
  .word \repl - .
  .hword 7
  .byte \len, \len
  .popsection
.endm
.macro jump_entry at, to
  .pushsection __jump_table, "aw"
  .word \at - ., \to - .
  .quad 0
  .popsection
.endm
.macro fixup at, to
  .pushsection __ex_table, "a"
  .word \at - ., \to - .
  .word 0
  .popsection
.endm
.macro bug_entry at, flags
  .pushsection __bug_table, "aw"
  .word \at - ., 0
  .hword 1, \flags
  .popsection
.endm
)";

std::string assemble(StringRef Text) {
  LLVMInitializeAArch64TargetInfo();
  LLVMInitializeAArch64TargetMC();
  LLVMInitializeAArch64AsmParser();
  const Triple TT("aarch64-unknown-linux-gnu");
#if LLVM_VERSION_MAJOR >= 22
  const auto &Name = TT;
#else
  const std::string Name = TT.str();
#endif
  std::string Error;
  const Target *T = TargetRegistry::lookupTarget(Name, Error);
  EXPECT_TRUE(T) << Error;
  MCTargetOptions Options;
  std::unique_ptr<MCRegisterInfo> Registers(T->createMCRegInfo(Name));
  std::unique_ptr<MCAsmInfo> AsmInfo(T->createMCAsmInfo(*Registers, Name, Options));
  std::unique_ptr<MCInstrInfo> Instructions(T->createMCInstrInfo());
  std::unique_ptr<MCSubtargetInfo> Subtarget(T->createMCSubtargetInfo(Name, "", "+all"));
  SourceMgr Sources;
  std::string Whole = Prelude + Text.str();
  Sources.AddNewSourceBuffer(MemoryBuffer::getMemBufferCopy(Whole, "test.s"), SMLoc());
  std::string Diagnostics;
  Sources.setDiagHandler(
      [](const SMDiagnostic &D, void *To) {
        raw_string_ostream OS(*static_cast<std::string *>(To));
        D.print("", OS, false);
      },
      &Diagnostics);
  MCContext Context(TT, AsmInfo.get(), Registers.get(), Subtarget.get(), &Sources, &Options);
  std::unique_ptr<MCObjectFileInfo> ObjectInfo(T->createMCObjectFileInfo(Context, /*PIC=*/false));
  Context.setObjectFileInfo(ObjectInfo.get());
  SmallString<0> Bytes;
  {
    raw_svector_ostream OS(Bytes);
    std::unique_ptr<MCAsmBackend> Backend(T->createMCAsmBackend(*Subtarget, *Registers, Options));
    std::unique_ptr<MCObjectWriter> Writer = Backend->createObjectWriter(OS);
    std::unique_ptr<MCCodeEmitter> Emitter(T->createMCCodeEmitter(*Instructions, Context));
    std::unique_ptr<MCStreamer> Streamer(T->createMCObjectStreamer(TT, Context, std::move(Backend), std::move(Writer),
                                                                   std::move(Emitter), *Subtarget));
    std::unique_ptr<MCAsmParser> Parser(createMCAsmParser(Sources, Context, *Streamer, *AsmInfo));
    std::unique_ptr<MCTargetAsmParser> TargetParser(T->createMCAsmParser(*Subtarget, *Parser, *Instructions, Options));
    Parser->setTargetParser(*TargetParser);
    bool Failed = Parser->Run(/*NoInitialTextSection=*/false);
    EXPECT_FALSE(Failed) << Diagnostics;
  }
  return Bytes.str().str();
}

Image load(StringRef Bytes, StringRef Name) {
  Expected<Image> I = Image::load(MemoryBuffer::getMemBufferCopy(Bytes, Name));
  EXPECT_TRUE(static_cast<bool>(I));
  if (!I) {
    ADD_FAILURE() << toString(I.takeError());
    abort();
  }
  return std::move(*I);
}

std::string refusal(StringRef Bytes) {
  Expected<Image> I = Image::load(MemoryBuffer::getMemBufferCopy(Bytes, "test.ko"));
  return I ? "" : toString(I.takeError());
}

Decoder &decoder() {
  static std::unique_ptr<Decoder> D = cantFail(Decoder::create());
  return *D;
}

AuditResult run(StringRef Text, StringRef List) {
  Image I = load(assemble(Text));
  Expected<Places> P = Places::parse(List, "places");
  if (!P) {
    ADD_FAILURE() << toString(P.takeError());
    return {};
  }
  return audit(I, decoder(), *P);
}

std::vector<std::string> findings(const AuditResult &R) {
  std::set<std::string> Found;
  for (const Finding &F : R.Findings)
    Found.insert(F.Check + " " + F.Function);
  return {Found.begin(), Found.end()};
}

std::vector<std::string> findings(StringRef Text, StringRef List) { return findings(run(Text, List)); }

std::vector<std::string> sites(StringRef Text) {
  std::vector<std::string> Found;
  for (const Site &S : run(Text).Sites)
    if (S.Reg == PorEl1)
      Found.push_back(S.Function + " " + S.Kind + " " + S.Origin);
  return Found;
}

} // namespace kpkeys::audit
