// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_AUDIT_IMAGE_H
#define KPKEYS_AUDIT_IMAGE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBuffer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace kpkeys::audit {

/// What a symbol says is a function, or a routine of assembly code.
struct Function {
  uint64_t Start = 0, End = 0;
  /// The name that is shown, and all others of the same address.
  std::string Name;
  std::vector<std::string> Aliases;
  std::string File; ///< Base name of the source file of a static function.
  unsigned Section = 0;

  /// Name that tells static functions of different files apart: "mmu.c:set_pgd".
  std::string qualifiedName() const { return File.empty() ? Name : File + ":" + Name; }
  /// Whether @p Other is a piece that the compiler has moved away from this one.
  bool hasPart(const Function &Other) const;
};

/// An entry of .altinstructions: instructions that may be put over others at boot.
struct Alternative {
  uint64_t Start = 0;
  unsigned Length = 0;
  uint64_t Replacement = 0; ///< 0 if a callback writes them.
  unsigned Replaced = 0;
  bool ReadsPor = false; ///< What the callback writes is an mrs of POR_EL1.
};

/// An entry of __ex_table: what happens if an instruction faults.
struct Fixup {
  uint64_t To = 0;
  unsigned Error = 31, Zero = 31; ///< Registers that get -EFAULT, and 0; 31 is none.
};

/// A way that the code says: a direct branch, a static one, a fixup, a call, or
/// an address that is taken.
struct Jump {
  enum Kind : uint8_t { Branch, Call, Address } Is = Branch;
  uint64_t From = 0, To = 0;
};

/// A kernel, or a module of one: its code, and the tables that change the code
/// or the way through it. A module is laid out at made-up addresses and
/// relocated, so that it looks like a linked kernel.
class Image {
public:
  /// Parse @p Buffer. What is not an arm64 kernel or module with symbols is an
  /// error whose message says so.
  static llvm::Expected<Image> load(std::unique_ptr<llvm::MemoryBuffer> Buffer);

  const std::string &path() const { return Path; }
  bool isModule() const { return Module; }

  /// The instruction word at @p Address, if that is code.
  std::optional<uint32_t> code(uint64_t Address) const;
  /// The word at @p Address, if it can be executed: code, or data in between.
  std::optional<uint32_t> word(uint64_t Address) const;
  /// @p Size bytes at @p Address as a little-endian number, from any section.
  std::optional<uint64_t> data(uint64_t Address, unsigned Size) const;

  /// Addresses of all instructions w with (w & @p Mask) == @p Match, ascending.
  /// With @p Data, those among them that are said to be data.
  std::vector<uint64_t> find(uint32_t Match, uint32_t Mask, bool Data = false) const;

  /// All jumps to an address in @p Ranges, which are sorted and apart.
  std::vector<Jump> jumpsInto(llvm::ArrayRef<std::pair<uint64_t, uint64_t>> Ranges) const;

  llvm::ArrayRef<Function> functions() const { return Functions; }
  /// Addresses of labels that other files know, and that are no functions.
  llvm::ArrayRef<uint64_t> labels() const { return Labels; }
  /// The function that @p Address lies in, or null.
  const Function *functionAt(uint64_t Address) const;
  /// The function that starts at @p Address, or null.
  const Function *functionFrom(uint64_t Address) const;
  /// What @p Address is called: a function, with an offset, or an undefined
  /// symbol of a module.
  std::string nameOf(uint64_t Address) const;

  /// Alternatives whose original instructions include @p Address.
  llvm::ArrayRef<Alternative> alternativesAt(uint64_t Address) const;
  /// Where execution goes on after a replacement that ends at @p Address.
  llvm::ArrayRef<uint64_t> afterReplacement(uint64_t Address) const;
  /// Where the instruction at @p Address runs: places whose alternative it is
  /// part of, or none if it is an ordinary instruction.
  llvm::ArrayRef<uint64_t> homes(uint64_t Address) const;
  /// Targets of the static branches at @p Address.
  llvm::ArrayRef<uint64_t> staticBranches(uint64_t Address) const;
  /// How execution goes on if the instruction at @p Address faults.
  llvm::ArrayRef<Fixup> fixups(uint64_t Address) const;
  /// Whether the loader of modules puts an immediate into the instruction at
  /// @p Address that is not known here.
  bool isFilledIn(uint64_t Address) const { return llvm::binary_search(FilledIn, Address); }
  /// Whether BUG() is at @p Address, after which nothing follows.
  bool isBug(uint64_t Address) const { return Address % 4 == 0 && Bugs.contains(Address); }

  /// Source file and line of @p Address, if there is debug information.
  std::optional<std::pair<std::string, unsigned>> line(uint64_t Address) const;

  /// Change the instruction at @p Address. For tests of this tool.
  bool patch(uint64_t Address, uint32_t Word);

  Image(Image &&);
  Image &operator=(Image &&);
  ~Image();

private:
  friend class ImageLoader;
  Image();

  struct Section {
    uint64_t Start = 0, End = 0;
    bool Executable = false;
    llvm::ArrayRef<uint8_t> Bytes;
    uint8_t *Writable = nullptr; ///< The same bytes, if they are a copy.
    /// Where code and data begin, by mapping symbols: address, is code.
    std::vector<std::pair<uint64_t, bool>> Marks;
    std::string Name;
  };

  using Targets = llvm::SmallVector<uint64_t, 1>;

  const Section *sectionAt(uint64_t Address) const;
  static bool isCode(const Section &S, uint64_t Address);

  struct Debug;

  std::string Path;
  bool Module = false;
  std::unique_ptr<llvm::MemoryBuffer> Buffer;
  std::vector<std::unique_ptr<uint8_t[]>> Copies; ///< Of sections that relocation changed.
  std::vector<Section> Sections;                 ///< By address.
  std::vector<Function> Functions;               ///< By address.
  std::vector<uint64_t> Labels, FilledIn;
  std::vector<uint64_t> Foreign; ///< Instructions of alternatives, in sections that have no code.
  llvm::DenseMap<uint64_t, std::string> External;
  llvm::DenseMap<uint64_t, llvm::SmallVector<Alternative, 1>> Alternatives;
  llvm::DenseMap<uint64_t, Targets> After, Homes, Branches;
  llvm::DenseMap<uint64_t, llvm::SmallVector<Fixup, 1>> Fixups;
  llvm::DenseMap<uint64_t, bool> Bugs;
  std::vector<std::pair<std::string, llvm::ArrayRef<uint8_t>>> DebugSections; ///< Without the dot.
  mutable std::unique_ptr<Debug> Dwarf;
};

} // namespace kpkeys::audit

#endif
