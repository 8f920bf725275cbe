// SPDX-License-Identifier: GPL-2.0-only
#include "lib/LineFilter.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

using namespace llvm;

namespace kpkeys {

static Error bad(const Twine &Why) {
  return createStringError(inconvertibleErrorCode(),
                           "--line-filter: " + Why + "; write [{\"name\": \"mm/mmu.c\", \"lines\": [[10, 20]]}]");
}

static Expected<std::pair<unsigned, unsigned>> parseRange(const json::Value &Value) {
  const json::Array *Pair = Value.getAsArray();
  if (!Pair || Pair->size() != 2)
    return bad("a range of lines has a first and a last line");
  std::optional<int64_t> First = (*Pair)[0].getAsInteger(), Last = (*Pair)[1].getAsInteger();
  if (!First || !Last || *First < 1 || *Last < *First || *Last > UINT32_MAX)
    return bad("not a range of lines: " + formatv("{0}", Value).str());
  return std::pair<unsigned, unsigned>(*First, *Last);
}

Expected<LineFilter> LineFilter::parse(StringRef Text) {
  Expected<json::Value> Value = json::parse(Text);
  if (!Value)
    return bad("not JSON: " + toString(Value.takeError()));
  const json::Array *List = Value->getAsArray();
  if (!List)
    return bad("not a list of files");
  LineFilter Filter;
  Filter.Active = true;
  for (const json::Value &Item : *List) {
    const json::Object *File = Item.getAsObject();
    std::optional<StringRef> Name = File ? File->getString("name") : std::nullopt;
    if (!Name || Name->empty())
      return bad("a file without a \"name\"");
    Entry New{Name->str(), {}};
    if (const json::Value *Lines = File->get("lines")) {
      const json::Array *Ranges = Lines->getAsArray();
      if (!Ranges)
        return bad("\"lines\" of " + *Name + " is not a list");
      for (const json::Value &Range : *Ranges) {
        auto Parsed = parseRange(Range);
        if (!Parsed)
          return Parsed.takeError();
        New.Lines.push_back(*Parsed);
      }
      // An empty list of lines means no line, not each.
      if (Ranges->empty())
        continue;
    }
    Filter.Entries.push_back(std::move(New));
  }
  return Filter;
}

/// Whether @p Name is @p File or a tail of it that starts at a directory.
static bool names(StringRef Name, StringRef File) {
  if (!File.consume_back(Name))
    return Name.ends_with(("/" + File).str());
  return File.empty() || File.ends_with("/");
}

bool LineFilter::holds(const Location &Loc) const {
  return any_of(Entries, [&](const Entry &E) {
    if (!names(E.Name, Loc.File))
      return false;
    return E.Lines.empty() ||
           any_of(E.Lines, [&](auto Range) { return Range.first <= Loc.Line && Loc.Line <= Range.second; });
  });
}

bool LineFilter::passes(const Finding &F) const {
  return !Active || holds(F.Loc) || any_of(F.Notes, [&](const Note &N) { return holds(N.Loc); });
}

} // namespace kpkeys
