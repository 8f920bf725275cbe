# SPDX-License-Identifier: GPL-2.0-only
"""The command line: one verb a job."""

from __future__ import annotations

import argparse
import errno
import sys

from . import proc, settings, toolroot, ui


def _tools(args: argparse.Namespace) -> int:
    tools = toolroot.get()
    if args.command:
        return tools.run(args.command, check=False, stdin=None).returncode
    print(tools.path)
    return ui.PASS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/kpkeys", description="Build, run and check the kpkeys series.",
        epilog="Variables (environment or make's command line): run 'make' for the list. Exit status: 0 pass, "
               "1 a test failed, 2 usage or set-up, 3 build failed, 4 guest panic, 5 guest hang, 6 guest gave no results.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    tools = verbs.add_parser("tools", help="make the tool root; print its path, or run a command in it")
    tools.add_argument("command", nargs=argparse.REMAINDER, help="command to run with the project's tools")
    tools.set_defaults(run=_tools)
    return parser


def main() -> int:
    args = _parser().parse_args()
    proc.install_signal_handlers()
    try:
        return args.run(args)
    except ui.Failure as failure:
        ui.report(failure)
        return failure.status
    except KeyboardInterrupt:
        ui.report(ui.Failure("interrupted"))
        return ui.INTERRUPTED
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            ui.report(ui.Failure(f"no space left on the disk ({error.filename or settings.out()})",
                                 "free some, or choose another disk with CACHE= and O=; what was finished is kept"))
            return ui.USAGE
        raise
