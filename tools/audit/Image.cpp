// SPDX-License-Identifier: GPL-2.0-only
//
// Reads kernels and modules. Nothing in the file is trusted: each number is
// checked before it is used, and a table that does not fit is an error.

#include "audit/Image.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/BinaryFormat/ELF.h"
#include "llvm/DebugInfo/DIContext.h"
#include "llvm/DebugInfo/DWARF/DWARFContext.h"
#include "llvm/Object/Decompressor.h"
#include "llvm/Object/ELF.h"
#include "llvm/Support/Compression.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace llvm;
using ELFT = object::ELF64LE;

namespace kpkeys::audit {

/// LLVM's own reader of object files aborts on some damage, so the sections are
/// handed over one by one.
struct Image::Debug {
  StringMap<std::unique_ptr<MemoryBuffer>> Sections;
  std::unique_ptr<DWARFContext> Context;
};

Image::Image() = default;
Image::Image(Image &&) = default;
Image &Image::operator=(Image &&) = default;
Image::~Image() = default;

namespace {

/// Entries of the kernel's tables.
constexpr unsigned AlternativeSize = 12, BranchSize = 16, FixupSize = 12;
/// Of an alternative's capability: a callback writes the instructions.
constexpr uint16_t AlternativeCallback = 1 << 15;
/// The callback that puts an mrs of POR_EL1 in place of a constant, which
/// grants guards what they are going to write if that is not done.
constexpr StringLiteral ReadsPor = "kpkeys_patch_pgtable_guard";
/// Types of fixups that name registers.
constexpr uint16_t FixupUserAccess = 2, FixupKernelAccess = 3;
constexpr uint16_t BugWarning = 1 << 0;

constexpr uint64_t MostDebug = uint64_t(1) << 32;
/// Modules are laid out from here on; branches reach all of one.
constexpr uint64_t ModuleBase = 0x10000000, ExternalBase = 0xf000000;

uint64_t read(const uint8_t *From, unsigned Size) {
  switch (Size) {
  case 1:
    return *From;
  case 2:
    return support::endian::read16le(From);
  case 4:
    return support::endian::read32le(From);
  default:
    return support::endian::read64le(From);
  }
}

/// Keys of the maps are addresses of instructions. The check also keeps a
/// damaged file away from the two keys that DenseMap has for itself.
bool isKey(uint64_t Address) { return Address % 4 == 0; }

/// LLVM returned the one up to version 20, and returns the other since.
[[maybe_unused]] const DILineInfo *lineInfo(const DILineInfo &Info) { return &Info; }
[[maybe_unused]] const DILineInfo *lineInfo(const std::optional<DILineInfo> &Info) { return Info ? &*Info : nullptr; }

template <typename T> ArrayRef<T> lookup(const DenseMap<uint64_t, SmallVector<T, 1>> &Map, uint64_t Key) {
  if (!isKey(Key))
    return {};
  auto It = Map.find(Key);
  return It == Map.end() ? ArrayRef<T>() : ArrayRef<T>(It->second);
}

} // namespace

class ImageLoader {
public:
  ImageLoader(Image &I, const object::ELFFile<ELFT> &File) : I(I), File(File) {}

  Error run();

private:
  struct Symbol {
    StringRef Name;
    uint64_t Value = 0, Size = 0;
    unsigned Section = 0;
    uint8_t Type = 0, Binding = 0;
    StringRef File;
  };

  Error bad(const Twine &Why) const {
    return createStringError(inconvertibleErrorCode(), "'" + I.Path + "' " + Why);
  }
  Error corrupt(Error E) const { return bad("is damaged: " + toString(std::move(E))); }

  Error readSections();
  Error readSymbols();
  Error relocate();
  bool relocate(uint64_t Start, MutableArrayRef<uint8_t> Bytes, const ELFT::Rela &R);
  Error readDebug();
  Expected<MutableArrayRef<uint8_t>> relocated(const ELFT::Shdr &Table, uint64_t Start, ArrayRef<uint8_t> Bytes);
  void makeFunctions();
  Error readTables();
  Error readBugs();
  bool isBugEntry(uint64_t At) const;
  /// Addresses of a table: between two symbols, or a module's section.
  Expected<SmallVector<std::pair<uint64_t, uint64_t>>> table(StringRef Begin, StringRef End, StringRef Section) const;
  bool isExecutable(uint64_t Start, uint64_t Size) const;
  uint64_t relative(uint64_t At) const {
    return At + static_cast<uint64_t>(SignExtend64<32>(I.data(At, 4).value_or(0)));
  }

  Image &I;
  const object::ELFFile<ELFT> &File;
  ArrayRef<ELFT::Shdr> Headers;
  /// By index in the file: its place in I.Sections, or -1.
  std::vector<int> Place;
  std::vector<Symbol> Symbols; ///< With their indices in the file.
};

Error ImageLoader::readSections() {
  Expected<ArrayRef<ELFT::Shdr>> Found = File.sections();
  if (!Found)
    return corrupt(Found.takeError());
  Headers = *Found;
  uint64_t Next = ModuleBase;
  std::vector<std::pair<uint64_t, size_t>> Indices;
  for (const auto &[Index, Header] : enumerate(Headers)) {
    if (!(Header.sh_flags & ELF::SHF_ALLOC) || Header.sh_type == ELF::SHT_NOBITS || !Header.sh_size)
      continue;
    Expected<ArrayRef<uint8_t>> Bytes = File.getSectionContents(Header);
    if (!Bytes)
      return corrupt(Bytes.takeError());
    Expected<StringRef> Name = File.getSectionName(Header);
    if (!Name)
      return corrupt(Name.takeError());
    Image::Section S;
    S.Name = Name->str();
    S.Bytes = *Bytes;
    S.Executable = Header.sh_flags & ELF::SHF_EXECINSTR;
    S.Start = Header.sh_addr;
    if (I.Module) {
      S.Start = alignTo(Next, 4096);
      Next = S.Start + S.Bytes.size();
    }
    S.End = S.Start + S.Bytes.size();
    if (S.End < S.Start || (S.Executable && S.Start % 4))
      return bad("is damaged: section " + S.Name + " is at an impossible address");
    Indices.emplace_back(S.Start, Index);
    I.Sections.push_back(std::move(S));
  }
  auto first = [](const auto &A, const auto &B) { return A.first < B.first; };
  llvm::stable_sort(I.Sections, [](const auto &A, const auto &B) { return A.Start < B.Start; });
  llvm::stable_sort(Indices, first);
  Place.assign(Headers.size(), -1);
  for (const auto &[N, Known] : enumerate(Indices))
    Place[Known.second] = N;
  // Of two in one place, only one would be seen.
  const Image::Section *Longest = nullptr;
  for (const Image::Section &S : I.Sections) {
    if (Longest && S.Start < Longest->End && (S.Executable || Longest->Executable))
      return bad("is damaged: sections " + Longest->Name + " and " + S.Name + " overlap");
    if (!Longest || S.End > Longest->End)
      Longest = &S;
  }
  if (llvm::none_of(I.Sections, [](const Image::Section &S) { return S.Executable; }))
    return bad("has no code in it: is it a file of debug information only? Give vmlinux as the build made it");
  return Error::success();
}

Error ImageLoader::readSymbols() {
  const ELFT::Shdr *Table = nullptr;
  for (const ELFT::Shdr &Header : Headers)
    if (Header.sh_type == ELF::SHT_SYMTAB)
      Table = &Header;
  if (!Table)
    return bad("has no symbols: give the vmlinux or .ko that the build made, before it was stripped");
  Expected<ELFT::SymRange> Found = File.symbols(Table);
  if (!Found)
    return corrupt(Found.takeError());
  Expected<StringRef> Names = File.getStringTableForSymtab(*Table);
  if (!Names)
    return corrupt(Names.takeError());
  StringRef Source;
  uint64_t Undefined = ExternalBase;
  Symbols.reserve(Found->size());
  for (const ELFT::Sym &Raw : *Found) {
    Symbol S;
    if (Raw.st_name < Names->size())
      S.Name = Names->drop_front(Raw.st_name).split('\0').first;
    S.Type = Raw.getType();
    S.Binding = Raw.getBinding();
    S.Value = Raw.st_value;
    S.Size = Raw.st_size;
    S.Section = Raw.st_shndx;
    if (S.Type == ELF::STT_FILE)
      Source = S.Name;
    if (S.Binding == ELF::STB_LOCAL)
      S.File = Source;
    if (I.Module && S.Section > 0 && S.Section < Place.size() && Place[S.Section] >= 0)
      S.Value += I.Sections[Place[S.Section]].Start;
    if (I.Module && S.Section == ELF::SHN_UNDEF && !S.Name.empty()) {
      S.Value = Undefined;
      I.External[Undefined] = S.Name.str();
      Undefined += 4;
    }
    if (S.Type == ELF::STT_SECTION && I.Module && S.Section < Place.size() && Place[S.Section] >= 0)
      S.Value = I.Sections[Place[S.Section]].Start;
    Symbols.push_back(S);
  }
  return Error::success();
}

/// What the kernel's own loader of modules does. False if it does not know how.
bool ImageLoader::relocate(uint64_t Start, MutableArrayRef<uint8_t> Bytes, const ELFT::Rela &R) {
  uint64_t Offset = R.r_offset;
  uint64_t Size = Bytes.size();
  const uint32_t Index = R.getSymbol(false);
  if (Index >= Symbols.size() || Offset >= Size)
    return false;
  uint8_t *At = Bytes.data() + Offset;
  uint64_t P = Start + Offset;
  uint64_t V = Symbols[Index].Value + static_cast<uint64_t>(R.r_addend);
  auto fits = [&](unsigned N) { return Size - Offset >= N; };
  auto field = [&](uint64_t Value, unsigned Bits, unsigned Shift) {
    if (!fits(4))
      return;
    uint32_t Mask = maskTrailingOnes<uint32_t>(Bits) << Shift;
    uint32_t Word = support::endian::read32le(At);
    support::endian::write32le(At, (Word & ~Mask) | (static_cast<uint32_t>(Value << Shift) & Mask));
  };
  // One of the four 16 bits that movz, movk and movn have.
  auto move = [&](uint64_t Value, unsigned Group, bool Signed) {
    if (!fits(4))
      return;
    if (Signed) {
      bool Negative = static_cast<int64_t>(Value) < 0;
      field(Negative ? 0 : 2, 2, 29);
      Value = Negative ? ~Value : Value;
    }
    field(Value >> (16 * Group) & 0xffff, 16, 5);
    // Where things are is decided when they are loaded.
    if (Symbols[Index].Section != ELF::SHN_ABS)
      I.FilledIn.push_back(P);
  };
  auto pcRelative = [&](uint64_t Value) {
    field(Value & 3, 2, 29);
    field(Value >> 2, 19, 5);
  };
  switch (R.getType(false)) {
  case ELF::R_AARCH64_NONE:
  case 256: // The same, of old.
    break;
  case ELF::R_AARCH64_ABS16:
  case ELF::R_AARCH64_PREL16:
    if (fits(2))
      support::endian::write16le(At, static_cast<uint16_t>(R.getType(false) == ELF::R_AARCH64_ABS16 ? V : V - P));
    break;
  case ELF::R_AARCH64_MOVW_UABS_G0:
  case ELF::R_AARCH64_MOVW_UABS_G0_NC:
    move(V, 0, false);
    break;
  case ELF::R_AARCH64_MOVW_UABS_G1:
  case ELF::R_AARCH64_MOVW_UABS_G1_NC:
    move(V, 1, false);
    break;
  case ELF::R_AARCH64_MOVW_UABS_G2:
  case ELF::R_AARCH64_MOVW_UABS_G2_NC:
    move(V, 2, false);
    break;
  case ELF::R_AARCH64_MOVW_UABS_G3:
    move(V, 3, false);
    break;
  case ELF::R_AARCH64_MOVW_SABS_G0:
    move(V, 0, true);
    break;
  case ELF::R_AARCH64_MOVW_SABS_G1:
    move(V, 1, true);
    break;
  case ELF::R_AARCH64_MOVW_SABS_G2:
    move(V, 2, true);
    break;
  case ELF::R_AARCH64_MOVW_PREL_G0_NC:
  case ELF::R_AARCH64_MOVW_PREL_G0:
    move(V - P, 0, R.getType(false) == ELF::R_AARCH64_MOVW_PREL_G0);
    break;
  case ELF::R_AARCH64_MOVW_PREL_G1_NC:
  case ELF::R_AARCH64_MOVW_PREL_G1:
    move(V - P, 1, R.getType(false) == ELF::R_AARCH64_MOVW_PREL_G1);
    break;
  case ELF::R_AARCH64_MOVW_PREL_G2_NC:
  case ELF::R_AARCH64_MOVW_PREL_G2:
    move(V - P, 2, R.getType(false) == ELF::R_AARCH64_MOVW_PREL_G2);
    break;
  case ELF::R_AARCH64_MOVW_PREL_G3:
    move(V - P, 3, true);
    break;
  case ELF::R_AARCH64_LDST8_ABS_LO12_NC:
    field(V & 0xfff, 12, 10);
    break;
  case ELF::R_AARCH64_LDST16_ABS_LO12_NC:
    field((V & 0xfff) >> 1, 12, 10);
    break;
  case ELF::R_AARCH64_LDST32_ABS_LO12_NC:
    field((V & 0xfff) >> 2, 12, 10);
    break;
  case ELF::R_AARCH64_LDST64_ABS_LO12_NC:
    field((V & 0xfff) >> 3, 12, 10);
    break;
  case ELF::R_AARCH64_LDST128_ABS_LO12_NC:
    field((V & 0xfff) >> 4, 12, 10);
    break;
  case ELF::R_AARCH64_ABS64:
    if (fits(8))
      support::endian::write64le(At, V);
    break;
  case ELF::R_AARCH64_ABS32:
    if (fits(4))
      support::endian::write32le(At, static_cast<uint32_t>(V));
    break;
  case ELF::R_AARCH64_PREL64:
    if (fits(8))
      support::endian::write64le(At, V - P);
    break;
  case ELF::R_AARCH64_PREL32:
    if (fits(4))
      support::endian::write32le(At, static_cast<uint32_t>(V - P));
    break;
  case ELF::R_AARCH64_CALL26:
  case ELF::R_AARCH64_JUMP26:
    field((V - P) >> 2, 26, 0);
    break;
  case ELF::R_AARCH64_CONDBR19:
  case ELF::R_AARCH64_LD_PREL_LO19:
    field((V - P) >> 2, 19, 5);
    break;
  case ELF::R_AARCH64_TSTBR14:
    field((V - P) >> 2, 14, 5);
    break;
  case ELF::R_AARCH64_ADR_PREL_LO21:
    pcRelative(V - P);
    break;
  case ELF::R_AARCH64_ADR_PREL_PG_HI21:
  case ELF::R_AARCH64_ADR_PREL_PG_HI21_NC:
    pcRelative((V >> 12) - (P >> 12));
    break;
  case ELF::R_AARCH64_ADD_ABS_LO12_NC:
    field(V & 0xfff, 12, 10);
    break;
  default:
    return false;
  }
  return true;
}

Expected<MutableArrayRef<uint8_t>> ImageLoader::relocated(const ELFT::Shdr &Table, uint64_t Start,
                                                          ArrayRef<uint8_t> Bytes) {
  Expected<ELFT::RelaRange> Relocations = File.relas(Table);
  if (!Relocations)
    return corrupt(Relocations.takeError());
  I.Copies.push_back(std::make_unique<uint8_t[]>(Bytes.size()));
  MutableArrayRef<uint8_t> Copy(I.Copies.back().get(), Bytes.size());
  llvm::copy(Bytes, Copy.begin());
  const bool Loaded = Headers[Table.sh_info].sh_flags & ELF::SHF_ALLOC;
  for (const auto &[N, R] : enumerate(*Relocations))
    if (!relocate(Start, Copy, R) && Loaded)
      return bad("cannot be loaded: relocation " + Twine(N) + " of section " + Twine(Table.sh_info) + " is of type " +
                 Twine(R.getType(false)) + ", or is damaged");
  return Copy;
}

Error ImageLoader::relocate() {
  for (const ELFT::Shdr &Header : Headers) {
    // Elsewhere, sh_info means other things.
    bool IsOther = Header.sh_type == ELF::SHT_REL || Header.sh_type == ELF::SHT_CREL;
    if (IsOther && Header.sh_info < Place.size() && Place[Header.sh_info] >= 0)
      return bad("cannot be loaded: it has relocations of another kind than RELA");
    if (Header.sh_type != ELF::SHT_RELA || Header.sh_info >= Place.size() || Place[Header.sh_info] < 0)
      continue;
    Image::Section &S = I.Sections[Place[Header.sh_info]];
    Expected<MutableArrayRef<uint8_t>> Copy = relocated(Header, S.Start, S.Bytes);
    if (!Copy)
      return Copy.takeError();
    S.Writable = Copy->data();
    S.Bytes = *Copy;
  }
  llvm::sort(I.FilledIn);
  return Error::success();
}

/// Put what the section @p Bytes holds into @p Out, and its size into @p Size. The
/// format is one that Decompressor has accepted.
static Error decompress(ArrayRef<uint8_t> Bytes, uint8_t *Out, size_t &Size) {
  bool IsZlib = read(Bytes.data(), 4) == ELF::ELFCOMPRESS_ZLIB;
  ArrayRef<uint8_t> Content = Bytes.drop_front(sizeof(ELFT::Chdr));
  return IsZlib ? compression::zlib::decompress(Content, Out, Size) : compression::zstd::decompress(Content, Out, Size);
}

/// Find the sections of debug information. Without them there are no lines,
/// and that is all.
Error ImageLoader::readDebug() {
  for (const auto &[Index, Header] : enumerate(Headers)) {
    if ((Header.sh_flags & ELF::SHF_ALLOC) || Header.sh_type == ELF::SHT_NOBITS)
      continue;
    Expected<StringRef> Found = File.getSectionName(Header);
    if (!Found)
      return corrupt(Found.takeError());
    StringRef Name = *Found;
    if (!Name.consume_front(".") || !Name.starts_with("debug_"))
      continue;
    Expected<ArrayRef<uint8_t>> Content = File.getSectionContents(Header);
    if (!Content)
      return corrupt(Content.takeError());
    ArrayRef<uint8_t> Bytes = *Content;
    if (Header.sh_flags & ELF::SHF_COMPRESSED) {
      StringRef Text(reinterpret_cast<const char *>(Bytes.data()), Bytes.size());
      Expected<object::Decompressor> D = object::Decompressor::create(*Found, Text, /*IsLE=*/true, /*Is64Bit=*/true);
      if (!D)
        return corrupt(D.takeError());
      // A section that says it is larger than any is no reason to run out of memory.
      if (D->getDecompressedSize() > MostDebug)
        return bad("is damaged: section " + *Found + " says that it is too large");
      // Nor is one that only says so: memory that nothing is written to costs none.
      size_t Size = D->getDecompressedSize();
      I.Copies.push_back(std::make_unique_for_overwrite<uint8_t[]>(Size));
      if (Error E = decompress(Bytes, I.Copies.back().get(), Size))
        return corrupt(std::move(E));
      if (Size != D->getDecompressedSize())
        return bad("is damaged: section " + *Found + " is not as large as it says");
      Bytes = ArrayRef<uint8_t>(I.Copies.back().get(), Size);
    }
    for (const ELFT::Shdr &Table : Headers) {
      if (!I.Module || Table.sh_type != ELF::SHT_RELA || Table.sh_info != Index)
        continue;
      Expected<MutableArrayRef<uint8_t>> Copy = relocated(Table, 0, Bytes);
      if (!Copy)
        return Copy.takeError();
      Bytes = *Copy;
    }
    I.DebugSections.emplace_back(Name.str(), Bytes);
  }
  return Error::success();
}

void ImageLoader::makeFunctions() {
  struct Candidate {
    const Symbol *S;
    unsigned Rank;
  };
  std::vector<Candidate> Found;
  for (const Symbol &S : Symbols) {
    if (!S.Section || S.Section >= Place.size() || Place[S.Section] < 0)
      continue;
    Image::Section &In = I.Sections[Place[S.Section]];
    if (!In.Executable || S.Value < In.Start || S.Value >= In.End)
      continue;
    if (S.Name.starts_with("$")) {
      if (S.Name.starts_with("$x") || S.Name.starts_with("$d"))
        In.Marks.emplace_back(S.Value, S.Name[1] == 'x');
      continue;
    }
    bool IsFunction = S.Type == ELF::STT_FUNC || S.Type == ELF::STT_GNU_IFUNC;
    // Assembly code may have a size without a type. A bare label is no boundary.
    if (!IsFunction && (S.Type != ELF::STT_NOTYPE || !S.Size)) {
      if (S.Type == ELF::STT_NOTYPE && S.Binding != ELF::STB_LOCAL)
        I.Labels.push_back(S.Value);
      continue;
    }
    unsigned Rank = (IsFunction ? 0 : 4) + (S.Binding == ELF::STB_GLOBAL ? 0 : S.Binding == ELF::STB_WEAK ? 1 : 2);
    Found.push_back({&S, Rank});
  }
  for (Image::Section &S : I.Sections)
    llvm::sort(S.Marks);
  llvm::sort(Found, [](const Candidate &A, const Candidate &B) {
    return std::tuple(A.S->Value, A.Rank, A.S->Name) < std::tuple(B.S->Value, B.Rank, B.S->Name);
  });
  for (const Candidate &C : Found) {
    if (!I.Functions.empty() && I.Functions.back().Start == C.S->Value) {
      Function &Same = I.Functions.back();
      Same.Aliases.push_back(C.S->Name.str());
      Same.End = std::max(Same.End, Same.Start + C.S->Size);
      continue;
    }
    Function F;
    F.Start = C.S->Value;
    F.End = F.Start + C.S->Size;
    F.Name = C.S->Name.str();
    // Objects of assembly code have no file of their own in the table, and
    // would get the one before them.
    if (C.S->Type == ELF::STT_FUNC)
      F.File = C.S->File.str();
    F.Section = Place[C.S->Section];
    I.Functions.push_back(std::move(F));
  }
  for (size_t N = 0; N < I.Functions.size(); ++N) {
    Function &F = I.Functions[N];
    uint64_t Limit = I.Sections[F.Section].End;
    if (N + 1 < I.Functions.size() && I.Functions[N + 1].Start < Limit)
      Limit = I.Functions[N + 1].Start;
    // Without a size, as old assembly code has it: up to the next one.
    if (F.End <= F.Start || F.End > Limit)
      F.End = Limit;
  }
}

Expected<SmallVector<std::pair<uint64_t, uint64_t>>> ImageLoader::table(StringRef Begin, StringRef End,
                                                                        StringRef Section) const {
  SmallVector<std::pair<uint64_t, uint64_t>> Found;
  if (!I.Module) {
    std::optional<uint64_t> First, Last;
    for (const Symbol &S : Symbols) {
      if (S.Section == ELF::SHN_UNDEF)
        continue;
      if (S.Name == Begin)
        First = S.Value;
      else if (S.Name == End)
        Last = S.Value;
    }
    if (First || Last) {
      const Image::Section *S = First ? I.sectionAt(*First) : nullptr;
      bool Fits = First && Last && (*First == *Last || (S && *First < *Last && *Last <= S->End));
      if (!Fits)
        return bad("is damaged: there is no table between " + Begin + " and " + End);
      Found.emplace_back(*First, *Last);
      return Found;
    }
  }
  for (const Image::Section &S : I.Sections)
    if (S.Name == Section)
      Found.emplace_back(S.Start, S.End);
  return Found;
}

bool ImageLoader::isExecutable(uint64_t Start, uint64_t Size) const {
  const Image::Section *S = I.sectionAt(Start);
  return S && S->Executable && isKey(Start) && Size <= S->End - Start;
}

Error ImageLoader::readTables() {
  // An entry that makes no sense may stand for one that is not seen.
  auto entries = [&](StringRef Begin, StringRef End, StringRef Section, unsigned Size,
                     function_ref<bool(uint64_t)> Entry) -> Error {
    auto Found = table(Begin, End, Section);
    if (!Found)
      return Found.takeError();
    for (auto [First, Last] : *Found) {
      if ((Last - First) % Size)
        return bad("is damaged: the size of " + Section + " is not a multiple of " + Twine(Size));
      for (uint64_t At = First; At != Last; At += Size)
        if (!Entry(At))
          return bad("is damaged: entry " + Twine((At - First) / Size) + " of " + Section + " is not about any code");
    }
    return Error::success();
  };
  if (Error E = entries("__alt_instructions", "__alt_instructions_end", ".altinstructions", AlternativeSize,
                        [&](uint64_t At) {
                          Alternative A;
                          A.Start = relative(At);
                          A.Length = *I.data(At + 10, 1);
                          A.Replaced = *I.data(At + 11, 1);
                          if (!(*I.data(At + 8, 2) & AlternativeCallback) && A.Replaced)
                            A.Replacement = relative(At + 4);
                          else
                            A.ReadsPor = A.Length == 4 && I.nameOf(relative(At + 4)) == ReadsPor;
                          if (A.Length % 4 || A.Replaced % 4 || !isExecutable(A.Start, A.Length))
                            return false;
                          for (uint64_t P = A.Start; P != A.Start + A.Length; P += 4)
                            I.Alternatives[P].push_back(A);
                          if (!A.Replacement)
                            return true;
                          const Image::Section *S = I.sectionAt(A.Replacement);
                          if (!isKey(A.Replacement) || !S || A.Replaced > S->End - A.Replacement)
                            return false;
                          I.After[A.Replacement + A.Replaced].push_back(A.Start + A.Length);
                          for (unsigned Offset = 0; Offset < A.Replaced; Offset += 4) {
                            I.Homes[A.Replacement + Offset].push_back(A.Start + Offset);
                            if (!isExecutable(A.Replacement + Offset, 4))
                              I.Foreign.push_back(A.Replacement + Offset);
                          }
                          return true;
                        }))
    return E;
  llvm::sort(I.Foreign);
  I.Foreign.erase(llvm::unique(I.Foreign), I.Foreign.end());
  if (Error E = entries("__start___jump_table", "__stop___jump_table", "__jump_table", BranchSize,
                        [&](uint64_t At) {
                          uint64_t From = relative(At), To = relative(At + 4);
                          if (!isExecutable(From, 4) || !isExecutable(To, 4))
                            return false;
                          I.Branches[From].push_back(To);
                          return true;
                        }))
    return E;
  if (Error E = entries("__start___ex_table", "__stop___ex_table", "__ex_table", FixupSize,
                        [&](uint64_t At) {
                          uint64_t From = relative(At);
                          Fixup X{relative(At + 4)};
                          if (!isExecutable(From, 4) || !isExecutable(X.To, 4))
                            return false;
                          uint16_t Type = *I.data(At + 8, 2), Data = *I.data(At + 10, 2);
                          if (Type == FixupUserAccess || Type == FixupKernelAccess) {
                            X.Error = Data & 31;
                            X.Zero = Data >> 5 & 31;
                          }
                          I.Fixups[From].push_back(X);
                          return true;
                        }))
    return E;
  return readBugs();
}

bool ImageLoader::isBugEntry(uint64_t At) const {
  std::optional<uint32_t> Word = I.code(relative(At));
  return Word && (*Word & 0xffe0001f) == 0xd4200000;
}

Error ImageLoader::readBugs() {
  // With CONFIG_DEBUG_BUGVERBOSE an entry has the source file and line as
  // well, and some more with other options: try what makes sense.
  struct Layout {
    unsigned Size, Flags;
  };
  auto Found = table("__start___bug_table", "__stop___bug_table", "__bug_table");
  if (!Found)
    return Found.takeError();
  for (auto [First, Last] : *Found) {
    for (Layout L : {Layout{12, 10}, Layout{16, 14}, Layout{8, 4}, Layout{16, 12}}) {
      uint64_t Size = Last - First;
      if (!Size || Size % L.Size)
        continue;
      unsigned Checked = std::min<uint64_t>(Size / L.Size, 16);
      bool Fits = true;
      for (unsigned N = 0; N < Checked && Fits; ++N)
        Fits = isBugEntry(First + N * L.Size);
      if (!Fits)
        continue;
      for (uint64_t At = First; At != Last; At += L.Size)
        if (std::optional<uint64_t> Flags = I.data(At + L.Flags, 2); Flags && !(*Flags & BugWarning) && isKey(relative(At)))
          I.Bugs[relative(At)] = true;
      break;
    }
  }
  return Error::success();
}

Error ImageLoader::run() {
  if (Error E = readSections())
    return E;
  if (Error E = readSymbols())
    return E;
  if (I.Module)
    if (Error E = relocate())
      return E;
  if (Error E = readDebug())
    return E;
  makeFunctions();
  if (I.Functions.empty())
    return bad("has no symbols of functions: give the vmlinux or .ko that the build made, before it was stripped");
  return readTables();
}

Expected<Image> Image::load(std::unique_ptr<MemoryBuffer> Buffer) {
  Image I;
  I.Path = Buffer->getBufferIdentifier().str();
  auto bad = [&](const Twine &Why) {
    return createStringError(inconvertibleErrorCode(), "'" + I.Path + "' " + Why);
  };
  StringRef Bytes = Buffer->getBuffer();
  if (!Bytes.starts_with("\x7f"
                         "ELF"))
    return bad("is not an ELF file: give vmlinux or a .ko, not a boot image");
  if (Bytes.size() < sizeof(ELFT::Ehdr))
    return bad("is damaged: it ends within its header");
  if (Bytes[ELF::EI_CLASS] != ELF::ELFCLASS64 || Bytes[ELF::EI_DATA] != ELF::ELFDATA2LSB)
    return bad("is not a 64-bit little-endian ELF file: give a kernel for arm64");
  uint16_t Machine = support::endian::read16le(Bytes.data() + offsetof(ELF::Elf64_Ehdr, e_machine));
  uint16_t Type = support::endian::read16le(Bytes.data() + offsetof(ELF::Elf64_Ehdr, e_type));
  if (Machine != ELF::EM_AARCH64)
    return bad("is for another architecture (ELF machine " + Twine(Machine) + "): give a kernel for arm64");
  if (Type != ELF::ET_EXEC && Type != ELF::ET_DYN && Type != ELF::ET_REL)
    return bad("is no kernel and no module (ELF type " + Twine(Type) + "): give vmlinux or a .ko");
  Expected<object::ELFFile<ELFT>> File = object::ELFFile<ELFT>::create(Bytes);
  if (!File)
    return bad("is damaged: " + toString(File.takeError()));
  I.Module = Type == ELF::ET_REL;
  I.Buffer = std::move(Buffer);
  if (Error E = ImageLoader(I, *File).run())
    return E;
  return I;
}

bool Function::hasPart(const Function &Other) const {
  auto isWhole = [&](StringRef Whole) {
    StringRef Rest = Other.Name;
    return Rest.consume_front(Whole) && Rest.starts_with(".cold");
  };
  // It is called after any of the names.
  return isWhole(Name) || llvm::any_of(Aliases, isWhole);
}

const Image::Section *Image::sectionAt(uint64_t Address) const {
  auto It = llvm::upper_bound(Sections, Address, [](uint64_t A, const Section &S) { return A < S.Start; });
  if (It == Sections.begin())
    return nullptr;
  --It;
  return Address < It->End ? &*It : nullptr;
}

bool Image::isCode(const Section &S, uint64_t Address) {
  auto It = llvm::upper_bound(S.Marks, Address,
                              [](uint64_t A, const std::pair<uint64_t, bool> &M) { return A < M.first; });
  return It == S.Marks.begin() || std::prev(It)->second;
}

std::optional<uint32_t> Image::code(uint64_t Address) const {
  const Section *S = sectionAt(Address);
  return S && isCode(*S, Address) ? word(Address) : std::nullopt;
}

std::optional<uint32_t> Image::word(uint64_t Address) const {
  const Section *S = sectionAt(Address);
  if (!S || Address % 4 || S->End - Address < 4)
    return std::nullopt;
  // The kernel copies an alternative from wherever it is.
  if (!S->Executable && !llvm::binary_search(Foreign, Address))
    return std::nullopt;
  return support::endian::read32le(S->Bytes.data() + (Address - S->Start));
}

std::optional<uint64_t> Image::data(uint64_t Address, unsigned Size) const {
  const Section *S = sectionAt(Address);
  if (!S || S->End - Address < Size)
    return std::nullopt;
  return read(S->Bytes.data() + (Address - S->Start), Size);
}

std::vector<uint64_t> Image::find(uint32_t Match, uint32_t Mask, bool Data) const {
  std::vector<uint64_t> Found;
  for (const Section &S : Sections) {
    if (!S.Executable)
      continue;
    const uint8_t *Bytes = S.Bytes.data();
    for (size_t Offset = 0, End = S.Bytes.size() & ~size_t(3); Offset < End; Offset += 4)
      if ((support::endian::read32le(Bytes + Offset) & Mask) == Match && isCode(S, S.Start + Offset) != Data)
        Found.push_back(S.Start + Offset);
  }
  for (uint64_t Address : Foreign)
    if (!Data && (*word(Address) & Mask) == Match)
      Found.push_back(Address);
  llvm::sort(Found);
  return Found;
}

/// How far a direct branch goes; nothing of any other instruction.
static std::optional<int64_t> branchDistance(uint32_t Word) {
  if ((Word & 0x7c000000) == 0x14000000) // b, bl
    return SignExtend64<28>((Word & 0x03ffffff) << 2);
  if ((Word & 0xff000000) == 0x54000000 || (Word & 0x7e000000) == 0x34000000) // b.cond, cbz, cbnz
    return SignExtend64<21>((Word >> 5 & 0x7ffff) << 2);
  if ((Word & 0x7e000000) == 0x36000000) // tbz, tbnz
    return SignExtend64<16>((Word >> 5 & 0x3fff) << 2);
  return std::nullopt;
}

std::vector<Jump> Image::jumpsInto(ArrayRef<std::pair<uint64_t, uint64_t>> Ranges) const {
  std::vector<Jump> Found;
  if (Ranges.empty())
    return Found;
  const uint64_t Least = Ranges.front().first, Most = Ranges.back().second;
  auto leadsThere = [&](uint64_t To) {
    if (To < Least || To >= Most)
      return false;
    auto It = llvm::upper_bound(Ranges, To, [](uint64_t A, const auto &R) { return A < R.first; });
    return It != Ranges.begin() && To < std::prev(It)->second;
  };
  auto look = [&](uint64_t From, uint32_t Word) {
    Jump J{Jump::Branch, From, 0};
    if (std::optional<int64_t> Distance = branchDistance(Word)) {
      J.Is = (Word & 0xfc000000) == 0x94000000 ? Jump::Call : Jump::Branch;
      J.To = From + static_cast<uint64_t>(*Distance);
    } else if ((Word & 0x1f000000) == 0x10000000) { // adr, adrp
      J.Is = Jump::Address;
      uint64_t Distance = static_cast<uint64_t>(SignExtend64<21>((Word >> 5 & 0x7ffff) << 2 | (Word >> 29 & 3)));
      J.To = From + Distance;
      if (Word >> 31) {
        // With the add of the rest, which comes right behind it.
        uint64_t Page = (From & ~uint64_t(0xfff)) + (Distance << 12);
        if (Page >= Most || Page < (Least & ~uint64_t(0xfff)))
          return;
        std::optional<uint32_t> Add = code(From + 4);
        if (!Add || (*Add & 0xffc003e0) != (0x91000000 | (Word & 31) << 5))
          return;
        J.To = Page + (*Add >> 10 & 0xfff);
      }
    } else {
      return;
    }
    if (leadsThere(J.To) && code(From))
      Found.push_back(J);
  };
  for (const Section &S : Sections) {
    if (!S.Executable)
      continue;
    const uint8_t *Bytes = S.Bytes.data();
    for (size_t Offset = 0, End = S.Bytes.size() & ~size_t(3); Offset < End; Offset += 4)
      look(S.Start + Offset, support::endian::read32le(Bytes + Offset));
  }
  for (uint64_t From : Foreign)
    look(From, *word(From));
  for (const auto &[From, All] : Branches)
    for (uint64_t To : All)
      if (leadsThere(To))
        Found.push_back({Jump::Branch, From, To});
  for (const auto &[From, All] : Fixups)
    for (const Fixup &X : All)
      if (leadsThere(X.To))
        Found.push_back({Jump::Branch, From, X.To});
  return Found;
}

const Function *Image::functionAt(uint64_t Address) const {
  auto It = llvm::upper_bound(Functions, Address, [](uint64_t A, const Function &F) { return A < F.Start; });
  if (It == Functions.begin())
    return nullptr;
  --It;
  return Address < It->End ? &*It : nullptr;
}

const Function *Image::functionFrom(uint64_t Address) const {
  const Function *F = functionAt(Address);
  return F && F->Start == Address ? F : nullptr;
}

std::string Image::nameOf(uint64_t Address) const {
  if (auto It = isKey(Address) ? External.find(Address) : External.end(); It != External.end())
    return It->second;
  if (const Function *F = functionAt(Address))
    return F->Start == Address ? F->Name : formatv("{0}+{1:x}", F->Name, Address - F->Start).str();
  if (const Section *S = sectionAt(Address))
    return formatv("{0}+{1:x}", S->Name, Address - S->Start).str();
  return formatv("{0:x}", Address).str();
}

ArrayRef<Alternative> Image::alternativesAt(uint64_t Address) const { return lookup(Alternatives, Address); }
ArrayRef<uint64_t> Image::afterReplacement(uint64_t Address) const { return lookup(After, Address); }
ArrayRef<uint64_t> Image::homes(uint64_t Address) const { return lookup(Homes, Address); }
ArrayRef<uint64_t> Image::staticBranches(uint64_t Address) const { return lookup(Branches, Address); }
ArrayRef<Fixup> Image::fixups(uint64_t Address) const { return lookup(Fixups, Address); }

std::optional<std::pair<std::string, unsigned>> Image::line(uint64_t Address) const {
  if (DebugSections.empty())
    return std::nullopt;
  if (!Dwarf) {
    Dwarf = std::make_unique<Debug>();
    for (const auto &[Name, Bytes] : DebugSections)
      Dwarf->Sections[Name] = MemoryBuffer::getMemBuffer(
          StringRef(reinterpret_cast<const char *>(Bytes.data()), Bytes.size()), Name, /*RequiresNullTerminator=*/false);
    auto ignore = [](Error E) { consumeError(std::move(E)); };
    Dwarf->Context = DWARFContext::create(Dwarf->Sections, /*AddrSize=*/8, /*isLittleEndian=*/true, ignore, ignore);
  }
  object::SectionedAddress Where{Address, object::SectionedAddress::UndefSection};
  DILineInfoSpecifier Specifier(DILineInfoSpecifier::FileLineInfoKind::RelativeFilePath,
                                DILineInfoSpecifier::FunctionNameKind::None);
  const auto Found = Dwarf->Context->getLineInfoForAddress(Where, Specifier);
  const DILineInfo *Info = lineInfo(Found);
  if (!Info || !Info->Line || Info->FileName == DILineInfo::BadString)
    return std::nullopt;
  return std::pair(Info->FileName, Info->Line);
}

bool Image::patch(uint64_t Address, uint32_t Word) {
  if (!code(Address))
    return false;
  for (Section &S : Sections) {
    if (Address < S.Start || Address >= S.End)
      continue;
    if (!S.Writable) {
      Copies.push_back(std::make_unique<uint8_t[]>(S.Bytes.size()));
      S.Writable = Copies.back().get();
      llvm::copy(S.Bytes, S.Writable);
      S.Bytes = ArrayRef<uint8_t>(S.Writable, S.Bytes.size());
    }
    support::endian::write32le(S.Writable + (Address - S.Start), Word);
    return true;
  }
  return false;
}

} // namespace kpkeys::audit
