// SPDX-License-Identifier: GPL-2.0-only
#include "lib/Suppress.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace llvm;

namespace kpkeys {

static constexpr StringLiteral Marker = "kpkeys-lint:";

static Error bad(const Location &Loc, const Twine &Why) {
  return createStringError(inconvertibleErrorCode(), Loc.File + ":" + Twine(Loc.Line) + ": " + Why +
                                                         "; write CHECK FILE[::FUNCTION] REASON");
}

Error Suppressions::load(StringRef Path) {
  auto Buffer = MemoryBuffer::getFile(Path);
  if (!Buffer)
    return createStringError(Buffer.getError(), "suppressions " + Path + ": " + Buffer.getError().message() +
                                                    "; check the path");
  return parse((*Buffer)->getBuffer(), Path);
}

Error Suppressions::parse(StringRef Text, StringRef Name) {
  SmallVector<StringRef, 0> Lines;
  Text.split(Lines, '\n');
  for (auto [Index, Line] : enumerate(Lines)) {
    Line = Line.trim();
    if (Line.empty() || Line.starts_with("#"))
      continue;
    if (Error E = parseLine(Line, {Name.str(), unsigned(Index + 1), 1}))
      return E;
  }
  return Error::success();
}

/// The first word of @p Rest, which it is taken off.
static StringRef takeWord(StringRef &Rest) {
  Rest = Rest.ltrim();
  StringRef Word = Rest.take_until([](char C) { return isSpace(C); });
  Rest = Rest.drop_front(Word.size()).ltrim();
  return Word;
}

Error Suppressions::parseLine(StringRef Line, Location Loc) {
  Texts.push_back(std::make_unique<std::string>(Line.str()));
  StringRef Rest = *Texts.back();
  StringRef Check = takeWord(Rest), Place = takeWord(Rest);
  if (Place.empty())
    return bad(Loc, "'" + Line + "' names no file");
  if (Rest.empty())
    return bad(Loc, "no reason for '" + Line + "'");
  auto [File, Function] = Place.split("::");
  if (Function.empty())
    Function = "*";
  Rule New;
  for (auto [Into, Pattern] : {std::pair(&New.Check, Check), std::pair(&New.File, File), std::pair(&New.Function, Function)}) {
    Expected<GlobPattern> Glob = GlobPattern::create(Pattern);
    if (!Glob)
      return bad(Loc, "'" + Pattern + "' is not a pattern: " + toString(Glob.takeError()));
    *Into = std::move(*Glob);
  }
  New.CheckText = Check.str();
  New.FileText = File.str();
  New.Place = Place.str();
  New.Loc = std::move(Loc);
  Rules.push_back(std::move(New));
  return Error::success();
}

namespace {

/// Finds the comments of C source that hold the marker, without being misled
/// by strings.
class CommentScanner {
public:
  explicit CommentScanner(StringRef Text) : Text(Text) {}

  struct Result {
    StringRef Body;          ///< After the marker.
    size_t Offset;           ///< Of the marker.
    size_t Begin, End;       ///< Of the comment.
  };

  std::vector<Result> run() {
    std::vector<Result> Found;
    while (Position < Text.size())
      step(Found);
    return Found;
  }

private:
  void step(std::vector<Result> &Found) {
    StringRef Rest = Text.drop_front(Position);
    if (Rest.starts_with("/*"))
      return comment(Found, Rest.find("*/", 2), 2);
    if (Rest.starts_with("//"))
      return comment(Found, Rest.find('\n'), 0);
    if (Rest[0] == '"' || Rest[0] == '\'')
      return string(Rest[0]);
    Position += 1;
  }

  void comment(std::vector<Result> &Found, size_t Length, size_t Closing) {
    size_t Begin = Position;
    size_t End = Length == StringRef::npos ? Text.size() : Begin + Length;
    Position = std::min(Text.size(), End + Closing);
    size_t At = Text.slice(Begin, End).find(Marker);
    if (At != StringRef::npos)
      Found.push_back({Text.slice(Begin + At + Marker.size(), End), Begin + At, Begin, Position});
  }

  void string(char Quote) {
    // An unbalanced quote, as in an #error line or assembly, ends with its line.
    for (++Position; Position < Text.size(); ++Position) {
      if (Text[Position] == '\n')
        return;
      if (Text[Position] == '\\')
        ++Position;
      else if (Text[Position] == Quote)
        break;
    }
    Position = std::min(Text.size(), Position + 1);
  }

  StringRef Text;
  size_t Position = 0;
};

} // namespace

/// Whether nothing but the comment is on its lines.
static bool standsAlone(StringRef Text, size_t Begin, size_t End) {
  StringRef Before = Text.take_front(Begin), After = Text.drop_front(End);
  return Before.substr(Before.rfind('\n') + 1).trim().empty() && After.take_until([](char C) { return C == '\n'; }).trim().empty();
}

/// The line that a comment which ends at @p End and stands alone speaks for:
/// the next that is not empty.
static unsigned nextLine(StringRef Text, size_t End) {
  size_t Next = Text.find_first_not_of(" \t\r\n", End);
  return Text.take_front(Next == StringRef::npos ? Text.size() : Next).count('\n') + 1;
}

void Suppressions::scanSource(StringRef Text, StringRef File) {
  // Nearly no file has any, and this is much faster than the scanner.
  if (!Text.contains(Marker))
    return;
  for (const auto &Found : CommentScanner(Text).run()) {
    StringRef Before = Text.take_front(Found.Offset);
    Location Loc{File.str(), unsigned(Before.count('\n') + 1), unsigned(Found.Offset - (Before.rfind('\n') + 1) + 1)};
    unsigned Line = standsAlone(Text, Found.Begin, Found.End) ? nextLine(Text, Found.End) : Loc.Line;
    addComment(Found.Body, std::move(Loc), Line);
  }
}

void Suppressions::addComment(StringRef Body, Location Loc, unsigned Line) {
  auto Complain = [&](const Twine &Why, StringRef Key) {
    Malformed.push_back({SuppressionCheck.str(), Loc, Why.str(), {}, "", Key.str(), "", false});
  };
  Body = Body.trim();
  StringRef Names = Body;
  if (!Names.consume_front("allow(") || !Names.contains(')'))
    return Complain("comment is not of the form 'kpkeys-lint: allow(CHECK) REASON'", Body);
  auto [List, Reason] = Names.split(')');
  // The asterisks of a comment's further lines are no reason.
  if (Reason.trim(" \t\r\n*:-").empty())
    return Complain("suppression of '" + List + "' gives no reason", List);
  SmallVector<StringRef, 4> Checks;
  List.split(Checks, ',', -1, /*KeepEmpty=*/false);
  if (Checks.empty())
    return Complain("suppression names no check", Body);
  for (StringRef Check : Checks)
    Comments[Loc.File].push_back({Check.trim().str(), Loc, Line, false});
}

bool Suppressions::suppressed(const Finding &F) {
  bool Hit = false;
  // All that match are marked: one of two that overlap is not "unused".
  if (auto It = Comments.find(F.Loc.File); It != Comments.end())
    for (Comment &C : It->second)
      if (C.Line == F.Loc.Line && C.Check == F.Check)
        C.Used = Hit = true;
  for (Rule &R : Rules)
    if (R.Check.match(F.Check) && R.File.match(F.Loc.File) && R.Function.match(F.Function))
      R.Used = Hit = true;
  return Hit;
}

unsigned Suppressions::apply(std::vector<Finding> &Findings) {
  size_t Before = Findings.size();
  llvm::erase_if(Findings, [&](const Finding &F) { return suppressed(F); });
  return Before - Findings.size();
}

std::vector<Finding> Suppressions::unused(function_ref<bool(StringRef)> Ran,
                                          function_ref<bool(StringRef)> Analysed) const {
  std::vector<Finding> Out;
  auto Add = [&](const Location &Loc, const Twine &Message, const Twine &Key) {
    Out.push_back({SuppressionCheck.str(), Loc, Message.str(), {}, "", Key.str(), "", false});
  };
  for (const auto &Entry : Comments)
    for (const Comment &C : Entry.second)
      if (!C.Used && Ran(C.Check) && Analysed(C.Loc.File))
        Add(C.Loc, "suppression of '" + C.Check + "' is not needed", C.Check);
  for (const Rule &R : Rules)
    if (!R.Used && Ran(R.CheckText) && Analysed(R.FileText))
      Add(R.Loc, "suppression '" + R.CheckText + " " + R.Place + "' is not needed", R.CheckText + " " + R.Place);
  return Out;
}

} // namespace kpkeys
