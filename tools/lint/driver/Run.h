// SPDX-License-Identifier: GPL-2.0-only
#ifndef KPKEYS_LINT_DRIVER_RUN_H
#define KPKEYS_LINT_DRIVER_RUN_H

#include "lib/Render.h"

#include <optional>
#include <string>
#include <vector>

namespace kpkeys::lint {

/// What the command line says.
struct Options {
  std::string BuildDir;
  std::vector<std::string> Files; ///< Units, or fact files of "link".
  unsigned Jobs = 0;              ///< 0: one for each CPU.

  std::string ConfigFile, CacheDir;
  std::vector<std::string> Exemptions, Suppressions;
  bool NoCache = false;
  bool PerUnit = false; ///< Analyse the named units alone.
  /// FILE=OTHER: the named units are analysed with what OTHER holds in FILE.
  std::vector<std::string> Replacements;

  std::string Checks;
  kpkeys::Format Format = kpkeys::Format::Text;
  std::string JSONFile, SARIFFile;
  std::string Baseline, LineFilter;
  bool NewOnly = false;
  /// The least severity that makes the status 1; none at all if absent.
  std::optional<Severity> FailOn = Severity::Warning;
  std::string List, Report;
  bool Quiet = false;

  // facts
  unsigned Command = 0; ///< Which of several commands of one file, from 1.
  std::string Output, DepFile;
  // link
  unsigned Units = 0; ///< How many there must be; 0 is any number.
  // --ninja
  std::string NinjaFile, Program;
  // --write-commands
  std::string CommandsFile;
};

/// kpkeys-lint -p DIR [FILES]: analyse, link, report. The exit status.
int runLint(const Options &Opts);
/// kpkeys-lint facts: the facts of one unit.
int runFacts(const Options &Opts);
/// kpkeys-lint link: findings from the facts of all units.
int runLink(const Options &Opts);
/// kpkeys-lint --ninja: write the file.
int runNinja(const Options &Opts);
/// kpkeys-lint --write-commands: the database as clang takes it.
int runCommands(const Options &Opts);
/// kpkeys-lint --list-checks.
int listChecks();

} // namespace kpkeys::lint

#endif
