// SPDX-License-Identifier: GPL-2.0-only
//
// A fact file is read once for every unit at each link, so it is made to be
// small: names stand in one table, and records are arrays.
#include "Facts.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/Twine.h"

using namespace llvm;

namespace kpkeys::lint {

static constexpr int64_t Version = 3;

namespace {

/// Writes names as indices into the table of strings, and ids as indices into
/// the table of ids, where they are a name and a file.
class Writer {
public:
  int64_t id(StringRef S) {
    auto [It, New] = IdIndices.try_emplace(S, NextId);
    if (!New)
      return It->second;
    auto [Name, File] = S.split('@');
    Ids.push_back(name(Name));
    Ids.push_back(File.empty() ? -1 : name(File));
    return It->second = NextId++;
  }

  int64_t name(StringRef S) {
    auto [It, New] = Indices.try_emplace(S, Strings.size());
    if (New)
      Strings.push_back(S.str());
    return It->second;
  }

  json::Array roots(const Roots &From) { return json::Array(From); }

  void append(json::Array &A, const Location &L) {
    A.push_back(name(L.File));
    A.push_back(int64_t(L.Line));
    A.push_back(int64_t(L.Column));
  }

  json::Array notes(const std::vector<Note> &Notes) {
    json::Array A;
    for (const Note &N : Notes) {
      append(A, N.Loc);
      A.push_back(name(N.Message));
    }
    return A;
  }

  json::Array site(const WriteSite &S) {
    json::Array A;
    append(A, S.Loc);
    A.push_back(name(S.Shape));
    A.push_back(name(S.Text));
    A.push_back(roots(S.From));
    A.push_back(int64_t(S.Typed | S.Guarded << 1 | S.Other << 2));
    A.push_back(notes(S.Notes));
    return A;
  }

  json::Array call(const CallSite &C) {
    json::Array A;
    A.push_back(C.Callee.empty() ? -1 : id(C.Callee));
    A.push_back(name(C.Field));
    A.push_back(name(C.Type));
    append(A, C.Loc);
    A.push_back(int64_t(C.Guarded | C.InScope << 1 | C.InSection << 2 |
                        C.Other << 3));
    json::Array Arguments;
    for (const Argument &Arg : C.Arguments)
      Arguments.push_back(json::Array{int64_t(Arg.Index), roots(Arg.From),
                                      int64_t(Arg.Typed | Arg.TypedParameter << 1),
                                      name(Arg.Text)});
    A.push_back(std::move(Arguments));
    A.push_back(notes(C.Notes));
    return A;
  }

  json::Array function(const FunctionFacts &F) {
    json::Array Sites, Calls, Callees, Skipped;
    for (const WriteSite &S : F.Sites)
      Sites.push_back(site(S));
    for (const CallSite &C : F.Calls)
      Calls.push_back(call(C));
    for (const std::string &C : F.Callees)
      Callees.push_back(id(C));
    for (auto [First, Last] : F.Skipped) {
      Skipped.push_back(int64_t(First));
      Skipped.push_back(int64_t(Last));
    }
    return json::Array{id(F.Id),
                       name(F.File),
                       int64_t(F.Line),
                       int64_t(F.EndLine),
                       int64_t(F.Internal | F.HasIndirectCall << 1),
                       json::Array(F.TypedParameters),
                       std::move(Sites),
                       std::move(Calls),
                       std::move(Callees),
                       std::move(Skipped)};
  }

  json::Array takeStrings() { return std::move(Strings); }
  json::Array takeIds() { return std::move(Ids); }

private:
  StringMap<int64_t> IdIndices;
  json::Array Ids;
  int64_t NextId = 0;
  StringMap<int64_t> Indices;
  json::Array Strings;
};

/// Reads arrays element by element; the first thing that is not as expected
/// makes all of it fail.
class Reader {
public:
  Reader(const json::Array *Strings, const json::Array *Ids)
      : Strings(Strings), Ids(Ids) {}

  bool failed() const { return Failed; }
  bool fail() {
    Failed = true;
    return false;
  }

  /// The elements of an array, in turn.
  class Row {
  public:
    Row(Reader &R, const json::Array *A) : R(R), A(A) {
      if (!A)
        R.fail();
    }
    bool more() const { return !R.failed() && A && Next < A->size(); }
    const json::Value *value() {
      if (more())
        return &(*A)[Next++];
      R.fail();
      return nullptr;
    }
    int64_t number() {
      const json::Value *V = value();
      std::optional<int64_t> N = V ? V->getAsInteger() : std::nullopt;
      if (!N)
        R.fail();
      return N.value_or(0);
    }
    std::string name() { return R.string(number()); }
    std::string id() { return R.id(number()); }
    std::string lookUpId(int64_t Index) { return R.id(Index); }
    Row row() {
      const json::Value *V = value();
      return Row(R, V ? V->getAsArray() : nullptr);
    }
    Location location() {
      Location L;
      L.File = name();
      L.Line = number();
      L.Column = number();
      return L;
    }
    Roots roots() {
      Roots From;
      for (Row Items = row(); Items.more();)
        From.push_back(Items.number());
      return From;
    }
    std::vector<Note> notes() {
      std::vector<Note> Notes;
      for (Row Items = row(); Items.more();) {
        Location L = Items.location();
        Notes.push_back({L, Items.name()});
      }
      return Notes;
    }

  private:
    Reader &R;
    const json::Array *A;
    size_t Next = 0;
  };

  std::string string(int64_t Index) {
    if (Strings && Index >= 0 && size_t(Index) < Strings->size())
      if (std::optional<StringRef> S = (*Strings)[Index].getAsString())
        return S->str();
    fail();
    return {};
  }

  std::string id(int64_t Index) {
    if (!Ids || Index < 0 || size_t(Index) >= Ids->size() / 2) {
      fail();
      return {};
    }
    std::optional<int64_t> Name = (*Ids)[2 * Index].getAsInteger(),
                           File = (*Ids)[2 * Index + 1].getAsInteger();
    if (!Name || !File) {
      fail();
      return {};
    }
    std::string S = string(*Name);
    return *File < 0 ? S : S + "@" + string(*File);
  }

private:
  const json::Array *Strings, *Ids;
  bool Failed = false;
};

} // namespace

static WriteSite readSite(Reader::Row R) {
  WriteSite S;
  S.Loc = R.location();
  S.Shape = R.name();
  S.Text = R.name();
  S.From = R.roots();
  int64_t Flags = R.number();
  S.Typed = Flags & 1;
  S.Guarded = Flags & 2;
  S.Other = Flags & 4;
  S.Notes = R.notes();
  return S;
}

static CallSite readCall(Reader::Row R) {
  CallSite C;
  int64_t Callee = R.number();
  if (Callee >= 0)
    C.Callee = R.lookUpId(Callee);
  C.Field = R.name();
  C.Type = R.name();
  C.Loc = R.location();
  int64_t Flags = R.number();
  C.Guarded = Flags & 1;
  C.InScope = Flags & 2;
  C.InSection = Flags & 4;
  C.Other = Flags & 8;
  for (Reader::Row Items = R.row(); Items.more();) {
    Reader::Row Item = Items.row();
    Argument A;
    A.Index = Item.number();
    A.From = Item.roots();
    int64_t ArgumentFlags = Item.number();
    A.Typed = ArgumentFlags & 1;
    A.TypedParameter = ArgumentFlags & 2;
    A.Text = Item.name();
    C.Arguments.push_back(std::move(A));
  }
  C.Notes = R.notes();
  return C;
}

static FunctionFacts readFunction(Reader::Row R) {
  FunctionFacts F;
  F.Id = R.id();
  F.Name = StringRef(F.Id).split('@').first.str();
  F.File = R.name();
  F.Line = R.number();
  F.EndLine = R.number();
  int64_t Flags = R.number();
  F.Internal = Flags & 1;
  F.HasIndirectCall = Flags & 2;
  for (Reader::Row Items = R.row(); Items.more();)
    F.TypedParameters.push_back(Items.number());
  for (Reader::Row Items = R.row(); Items.more();)
    F.Sites.push_back(readSite(Items.row()));
  for (Reader::Row Items = R.row(); Items.more();)
    F.Calls.push_back(readCall(Items.row()));
  for (Reader::Row Items = R.row(); Items.more();)
    F.Callees.push_back(Items.id());
  for (Reader::Row Items = R.row(); Items.more();) {
    unsigned First = Items.number();
    F.Skipped.emplace_back(First, Items.number());
  }
  return F;
}

static json::Array writeFinding(Writer &W, const Finding &F) {
  json::Array A{W.name(F.Check)};
  W.append(A, F.Loc);
  A.push_back(W.name(F.Message));
  A.push_back(W.notes(F.Notes));
  A.push_back(W.name(F.Function));
  A.push_back(W.name(F.Key));
  return A;
}

static Finding readFinding(Reader::Row R) {
  Finding F;
  F.Check = R.name();
  F.Loc = R.location();
  F.Message = R.name();
  F.Notes = R.notes();
  F.Function = R.name();
  F.Key = R.name();
  return F;
}

json::Value Facts::toJSON() const {
  Writer W;
  json::Array FunctionRows, AddressRows, MovedRows, AliasRows, ContextRows,
      FindingRows;
  for (const FunctionFacts &F : Functions)
    FunctionRows.push_back(W.function(F));
  for (const AddressTaken &A : AddressesTaken)
    AddressRows.push_back(
        json::Array{W.id(A.Function), W.name(A.Field), W.name(A.Type)});
  for (const std::string &Member : Moved)
    MovedRows.push_back(W.name(Member));
  for (const auto &[Alias, Function] : Aliases)
    AliasRows.push_back(json::Array{W.id(Alias), W.id(Function)});
  for (const ContextUse &C : Contexts) {
    json::Array Row;
    W.append(Row, C.Loc);
    for (StringRef S : {C.Function, C.Callee, C.Text})
      Row.push_back(W.name(S));
    Row.push_back(C.Value);
    ContextRows.push_back(std::move(Row));
  }
  for (const Finding &F : Findings)
    FindingRows.push_back(writeFinding(W, F));
  return json::Object{{"version", Version},
                      {"unit", Unit},
                      {"functions", std::move(FunctionRows)},
                      {"addresses", std::move(AddressRows)},
                      {"moved", std::move(MovedRows)},
                      {"aliases", std::move(AliasRows)},
                      {"contexts", std::move(ContextRows)},
                      {"findings", std::move(FindingRows)},
                      {"dependencies", json::Array(Dependencies)},
                      {"ids", W.takeIds()},
                      {"strings", W.takeStrings()}};
}

Expected<Facts> Facts::fromJSON(const json::Value &Value) {
  const json::Object *O = Value.getAsObject();
  if (!O || O->getInteger("version") != Version)
    return createStringError("not a fact file of this version of kpkeys-lint");

  Facts Result;
  Reader R(O->getArray("strings"), O->getArray("ids"));
  auto Rows = [&](StringRef Name) { return Reader::Row(R, O->getArray(Name)); };
  for (Reader::Row Items = Rows("functions"); Items.more();)
    Result.Functions.push_back(readFunction(Items.row()));
  for (Reader::Row Items = Rows("addresses"); Items.more();) {
    Reader::Row Item = Items.row();
    AddressTaken A;
    A.Function = Item.id();
    A.Field = Item.name();
    A.Type = Item.name();
    Result.AddressesTaken.push_back(std::move(A));
  }
  for (Reader::Row Items = Rows("moved"); Items.more();)
    Result.Moved.push_back(Items.name());
  for (Reader::Row Items = Rows("aliases"); Items.more();) {
    Reader::Row Item = Items.row();
    std::string Alias = Item.id();
    Result.Aliases.emplace_back(std::move(Alias), Item.id());
  }
  for (Reader::Row Items = Rows("contexts"); Items.more();) {
    Reader::Row Item = Items.row();
    ContextUse C;
    C.Loc = Item.location();
    C.Function = Item.name();
    C.Callee = Item.name();
    C.Text = Item.name();
    C.Value = Item.number();
    Result.Contexts.push_back(std::move(C));
  }
  for (Reader::Row Items = Rows("findings"); Items.more();)
    Result.Findings.push_back(readFinding(Items.row()));
  for (Reader::Row Items = Rows("dependencies"); Items.more();) {
    const json::Value *V = Items.value();
    if (std::optional<StringRef> S = V ? V->getAsString() : std::nullopt)
      Result.Dependencies.push_back(S->str());
    else
      R.fail();
  }
  std::optional<StringRef> Unit = O->getString("unit");
  if (R.failed() || !Unit)
    return createStringError("damaged fact file: remove it and run again");
  Result.Unit = Unit->str();
  return Result;
}

} // namespace kpkeys::lint
