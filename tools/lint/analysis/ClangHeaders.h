// SPDX-License-Identifier: GPL-2.0-only
/// \file
/// The headers that make each of the few files here slow to compile; they are
/// precompiled once.
#ifndef KPKEYS_LINT_ANALYSIS_CLANGHEADERS_H
#define KPKEYS_LINT_ANALYSIS_CLANGHEADERS_H

#include "clang/AST/ASTContext.h"
#include "clang/AST/Attr.h"
#include "clang/AST/Decl.h"
#include "clang/AST/Expr.h"
#include "clang/AST/Stmt.h"
#include "clang/Analysis/CFG.h"
#include "clang/Basic/SourceManager.h"
#include "clang/Lex/Lexer.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

#endif
