// SPDX-License-Identifier: GPL-2.0-only
#include "lib/Baseline.h"

#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace llvm;

namespace kpkeys {

static Error bad(StringRef Name, const Twine &Why) {
  return createStringError(inconvertibleErrorCode(),
                           "baseline " + Name + ": " + Why + "; a baseline is the JSON report of an earlier run");
}

Expected<Baseline> Baseline::parse(StringRef Text, StringRef Name) {
  Expected<json::Value> Value = json::parse(Text);
  if (!Value)
    return bad(Name, "not JSON: " + toString(Value.takeError()));
  const json::Object *Report = Value->getAsObject();
  const json::Array *List = Report ? Report->getArray("findings") : nullptr;
  if (!List)
    return bad(Name, "not a report of this tool: it has no \"findings\"");
  // What an incomplete run did not find is not known to be absent, but what it
  // found is there: it would make a baseline that hides too little, which is safe.
  Baseline Result;
  for (const json::Value &Entry : *List) {
    const json::Object *Finding = Entry.getAsObject();
    std::optional<StringRef> Fingerprint = Finding ? Finding->getString("fingerprint") : std::nullopt;
    if (!Fingerprint || Fingerprint->empty())
      return bad(Name, "a finding without a \"fingerprint\"");
    Result.Fingerprints.insert(*Fingerprint);
  }
  return Result;
}

Expected<Baseline> Baseline::load(StringRef Path) {
  auto Buffer = MemoryBuffer::getFile(Path);
  if (!Buffer)
    return bad(Path, Buffer.getError().message());
  return parse((*Buffer)->getBuffer(), Path);
}

unsigned Baseline::mark(std::vector<Finding> &Findings) const {
  unsigned Count = 0;
  for (Finding &F : Findings) {
    F.Known = Fingerprints.contains(F.Fingerprint);
    Count += F.Known;
  }
  return Count;
}

} // namespace kpkeys
