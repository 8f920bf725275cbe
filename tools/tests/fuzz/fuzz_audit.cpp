// SPDX-License-Identifier: GPL-2.0-only
//
// Files that are no good kernels, from loading to findings.

#include "audit/Audit.h"

using namespace kpkeys::audit;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size) {
  static std::unique_ptr<Decoder> D = llvm::cantFail(Decoder::create());
  static Places P = llvm::cantFail(Places::parse("batch * any\n", "places"));
  llvm::StringRef Bytes(reinterpret_cast<const char *>(Data), Size);
  llvm::Expected<Image> I = Image::load(llvm::MemoryBuffer::getMemBufferCopy(Bytes, "fuzz"));
  if (!I) {
    llvm::consumeError(I.takeError());
    return 0;
  }
  audit(*I, *D, P);
  return 0;
}
