// SPDX-License-Identifier: GPL-2.0-only
#include "Config.h"

#include "lib/Lines.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"

#include <limits>

using namespace llvm;

namespace kpkeys::lint {

static constexpr CheckInfo Checks[] = {
    {"context-constant",
     "Each kpkeys context is an integer constant expression, and in range.",
     Severity::Warning, 0},
    {"context-address",
     "The address of a function that switches contexts is never taken.",
     Severity::Warning, 0},
    {"context-inline",
     "What writes the pkey register is inlined all the way out to a constant.",
     Severity::Warning, 0},
    {"context-restore",
     "Each context that is entered is left on every path, and as it was found.",
     Severity::Warning, 0},
    {"pgtable-guard", "Each write to a page table is under a guard.",
     Severity::Warning, 0},
    {"pgtable-plain-store",
     "A compiler barrier keeps plain stores to page tables within the guard.",
     Severity::Warning, 0},
    {"guard-scope",
     "Little runs under a guard, and nothing that sleeps, allocates or locks.",
     Severity::Warning, 1},
};

ArrayRef<CheckInfo> checks() { return Checks; }

Config::Config()
    : EntryTypes{"pte_t", "pmd_t", "pud_t", "p4d_t", "pgd_t"},
      ValueTypes{"ptval_t",  "pteval_t", "pmdval_t",
                 "pudval_t", "p4dval_t", "pgdval_t"},
      ContextFunctions{{"kpkeys_set_context", {0}},
                       {"__kpkeys_set_context", {0}},
                       {"arch_kpkeys_set_context", {0}},
                       {"arch_kpkeys_enter_pgtables", {0}},
                       {"__kpkeys_por_set_context", {1}},
                       {"arch_kpkeys_switch_context_nosync", {0, 1}}},
      SetFunctions{"kpkeys_set_context", "__kpkeys_set_context",
                   "arch_kpkeys_set_context", "arch_kpkeys_enter_pgtables"},
      RestoreFunctions{"kpkeys_restore_pkey_reg",
                       "arch_kpkeys_restore_pkey_reg",
                       "arch_kpkeys_leave_pgtables"},
      TestFunctions{"__kpkeys_por_has_context"},
      Sentinel("KPKEYS_PKEY_REG_INVAL"),
      SentinelValue(std::numeric_limits<uint64_t>::max()),
      TableContext("KPKEYS_CTX_PGTABLES"), MaxContext("KPKEYS_CTX_MAX"),
      TableContextValue(2), MaxContextValue(2),
      Splits{{"arch_enter_lazy_mmu_mode",
              "arch_leave_lazy_mmu_mode",
              "arch_kpkeys_switch_context_nosync",
              "lazy_mmu_context",
              "KPKEYS_CTX_PGTABLES",
              "KPKEYS_CTX_DEFAULT",
              {"lazy_mmu_mode_enable", "lazy_mmu_mode_resume"},
              {"lazy_mmu_mode_disable", "lazy_mmu_mode_pause"}}},
      Guards{"kpkeys_hardened_pgtables"},
      EnabledFunctions{"kpkeys_hardened_pgtables_enabled", "kpkeys_enabled",
                       "arch_supports_kpkeys"},
      RegisterNames{"por_el1", "s3_0_c10_c2_4"},
      RegisterEncoding{3, 0, 10, 2, 4},
      Harmless{"kfree", "kvfree", "vfree", "free_pages_exact",
               "kmem_cache_free", "kasan_*", "__kasan_*", "kmsan_*",
               "kmemleak_*", "__kcsan_*", "debug_check_no_*",
               // Sets a register to the address of the table.
               "idmap_cpu_replace_ttbr1"},
      Sleeping{"__might_sleep", "__might_resched", "might_fault", "schedule",
               "schedule_*", "__cond_resched", "__schedule", "mutex_lock*",
               "down_read*", "down_write*", "down", "down_interruptible",
               "wait_for_completion*", "msleep*", "usleep_range*",
               "synchronize_rcu*", "rt_mutex_lock*"},
      Allocating{"__kmalloc*", "kmalloc_*", "kmem_cache_alloc*", "__alloc_*",
                 "alloc_pages*", "get_free_pages*", "get_zeroed_page*",
                 "vmalloc*", "__vmalloc*", "memblock_alloc*",
                 "memblock_phys_alloc*", "krealloc*", "kvmalloc*"},
      Locking{"_raw_spin_*lock*", "_raw_read_*lock*", "_raw_write_*lock*",
              "queued_spin_lock*", "queued_read_lock*", "queued_write_lock*",
              "spin_lock*", "raw_spin_lock*", "read_lock*", "write_lock*"},
      ScopeStops{"__warn_printk", "warn_slowpath_fmt", "panic", "_printk",
                 "__warn", "__stack_chk_fail", "dump_page", "__dump_page",
                 "__bad_*", "__compiletime_assert_*", "kasan_report*",
                 "__kasan_check_*", "kasan_check_*", "__kcsan_*", "kcsan_*",
                 "__ubsan_*"},
      ScopeLines(400) {}

bool matchesAny(StringRef Name, ArrayRef<std::string> Patterns) {
  return any_of(Patterns, [&](StringRef Pattern) {
    size_t Star = Pattern.find('*');
    if (Star == StringRef::npos)
      return Name == Pattern;
    // One star in the middle is as far as names in the kernel need.
    auto [Head, Tail] = Pattern.split('*');
    if (!Name.consume_front(Head))
      return false;
    return Tail.empty() || (Tail.consume_back("*") ? Name.contains(Tail)
                                                   : Name.ends_with(Tail));
  });
}

//===----------------------------------------------------------------------===//
// JSON
//===----------------------------------------------------------------------===//

static json::Value toJSON(const ContextFunction &F) {
  return json::Object{{"name", F.Name}, {"parameters", json::Array(F.Parameters)}};
}

static json::Value toJSON(const SplitPair &P) {
  return json::Object{{"enter", P.Enter},
                      {"leave", P.Leave},
                      {"switch", P.Switch},
                      {"noted", P.Noted},
                      {"inside", P.Inside},
                      {"outside", P.Outside},
                      {"section-begin", json::Array(P.SectionBegin)},
                      {"section-end", json::Array(P.SectionEnd)}};
}

static json::Value toJSON(const Exemption &E) {
  return json::Object{{"check", E.Check},
                      {"file", E.File},
                      {"function", E.Function},
                      {"reason", E.Reason}};
}

static bool fromJSON(const json::Value &V, ContextFunction &F, json::Path P) {
  json::ObjectMapper O(V, P);
  return O && O.map("name", F.Name) && O.map("parameters", F.Parameters);
}

static bool fromJSON(const json::Value &V, SplitPair &S, json::Path P) {
  json::ObjectMapper O(V, P);
  return O && O.map("enter", S.Enter) && O.map("leave", S.Leave) &&
         O.map("switch", S.Switch) && O.map("inside", S.Inside) &&
         O.map("outside", S.Outside) &&
         O.mapOptional("noted", S.Noted) &&
         O.mapOptional("section-begin", S.SectionBegin) &&
         O.mapOptional("section-end", S.SectionEnd);
}

template <typename T> static json::Value array(const std::vector<T> &Items) {
  json::Array A;
  for (const T &Item : Items)
    A.push_back(toJSON(Item));
  return A;
}

template <typename T>
static bool read(const json::Value &V, std::vector<T> &Items, json::Path P) {
  const json::Array *A = V.getAsArray();
  if (!A) {
    P.report("expected array");
    return false;
  }
  Items.clear();
  for (size_t I = 0; I < A->size(); ++I)
    if (!fromJSON((*A)[I], Items.emplace_back(), P.index(I)))
      return false;
  return true;
}

/// One list of members for both directions, so that none can be forgotten.
template <typename Visitor> static void visitMembers(Config &C, Visitor Visit) {
  Visit("entry-types", C.EntryTypes);
  Visit("value-types", C.ValueTypes);
  Visit("set-functions", C.SetFunctions);
  Visit("restore-functions", C.RestoreFunctions);
  Visit("test-functions", C.TestFunctions);
  Visit("sentinel", C.Sentinel);
  Visit("sentinel-value", C.SentinelValue);
  Visit("table-context", C.TableContext);
  Visit("table-context-value", C.TableContextValue);
  Visit("max-context", C.MaxContext);
  Visit("max-context-value", C.MaxContextValue);
  Visit("guards", C.Guards);
  Visit("enabled-functions", C.EnabledFunctions);
  Visit("register-names", C.RegisterNames);
  Visit("register-encoding", C.RegisterEncoding);
  Visit("harmless", C.Harmless);
  Visit("sleeping", C.Sleeping);
  Visit("allocating", C.Allocating);
  Visit("locking", C.Locking);
  Visit("scope-stops", C.ScopeStops);
  Visit("scope-lines", C.ScopeLines);
}

json::Value Config::toJSON() const {
  json::Object O{{"context-functions", array(ContextFunctions)},
                 {"splits", array(Splits)},
                 {"exemptions", array(Exemptions)}};
  visitMembers(const_cast<Config &>(*this), [&](StringRef Name, auto &Member) {
    O[Name] = json::Value(Member);
  });
  return O;
}

Expected<Config> loadConfig(StringRef Text) {
  Expected<json::Value> Value = json::parse(Text);
  if (!Value)
    return Value.takeError();
  const json::Object *O = Value->getAsObject();
  if (!O)
    return createStringError("a configuration is a JSON object");

  Config C;
  json::Path::Root Root("configuration");
  json::Path P(Root);
  for (const auto &[Key, Member] : *O) {
    StringRef Name = Key;
    const json::Value &V = Member;
    bool Known = false, Good = true;
    visitMembers(C, [&](StringRef Candidate, auto &Target) {
      if (Candidate != Name)
        return;
      Known = true;
      Good = json::fromJSON(V, Target, P.field(Candidate));
    });
    if (Name == "context-functions") {
      Known = true;
      Good = read(V, C.ContextFunctions, P.field("context-functions"));
    } else if (Name == "splits") {
      Known = true;
      Good = read(V, C.Splits, P.field("splits"));
    }
    if (!Known)
      return createStringError("no member of a configuration is called '" +
                               Name + "'");
    if (!Good)
      return Root.getError();
  }
  if (C.RegisterEncoding.size() != 5)
    return createStringError(
        "register-encoding: give the five numbers op0, op1, CRn, CRm, op2");
  return C;
}

Expected<std::vector<Exemption>> parseExemptions(StringRef Text,
                                                 StringRef Origin) {
  std::vector<Exemption> Result;
  Error E = forEachLine(
      Text, Origin, [&](StringRef Line, unsigned Number) -> Error {
        auto [Check, Rest] = getToken(Line);
        auto [Place, Reason] = getToken(Rest);
        Reason = Reason.trim();
        if (!findCheck(checks(), Check))
          return badLine("no check is called '" + Check + "'");
        if (Place.empty())
          return badLine("expected CHECK FILE[::FUNCTION] REASON");
        if (Reason.empty())
          return badLine("an exemption needs a reason after '" + Place + "'");
        auto [File, Function] = Place.split("::");
        Result.push_back({Check.str(), File.str(), Function.str(),
                          Reason.str(), Origin.str(), Number});
        return Error::success();
      });
  if (E)
    return std::move(E);
  return Result;
}

} // namespace kpkeys::lint
