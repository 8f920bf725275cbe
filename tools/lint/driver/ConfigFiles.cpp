// SPDX-License-Identifier: GPL-2.0-only
#include "lint/driver/ConfigFiles.h"

#include "llvm/ADT/Twine.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace llvm;

namespace kpkeys::lint {

Expected<std::string> readFile(StringRef Path, StringRef What) {
  auto Buffer = MemoryBuffer::getFileOrSTDIN(Path);
  if (!Buffer)
    return createStringError(Buffer.getError(), What + " " + Path + ": " + Buffer.getError().message() + "; check the path");
  return (*Buffer)->getBuffer().str();
}

Expected<Config> readConfig(StringRef Path, ArrayRef<std::string> Exemptions) {
  Config Result;
  if (!Path.empty()) {
    Expected<std::string> Text = readFile(Path, "configuration");
    if (!Text)
      return Text.takeError();
    Expected<Config> Loaded = loadConfig(*Text);
    if (!Loaded)
      return createStringError(inconvertibleErrorCode(), "configuration " + Path + ": " + toString(Loaded.takeError()));
    Result = std::move(*Loaded);
  }
  for (const std::string &Name : Exemptions) {
    Expected<std::string> Text = readFile(Name, "exemptions");
    if (!Text)
      return Text.takeError();
    auto List = parseExemptions(*Text, Name);
    if (!List)
      return List.takeError();
    Result.Exemptions.insert(Result.Exemptions.end(), List->begin(), List->end());
  }
  return Result;
}

} // namespace kpkeys::lint
