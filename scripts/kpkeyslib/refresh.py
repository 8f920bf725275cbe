# SPDX-License-Identifier: GPL-2.0-only
"""Apply the stored series again and write it back, so that whatever drifted shows as a diff.

Like load and save, but aside: no branch and no work tree is touched, and none is needed.
"""

from __future__ import annotations

import os
import shutil

from . import aside, series, settings, trees, ui
from .plumbing import _point
from .ui import Failure


def refresh(name: str) -> int:
    """Rewrite the files of series @name in the form `save` gives them."""
    directory = series.stored(name)
    wanted = settings.text("BASE") if name == "linux" else ""
    with series._alone(name):
        stored = trees.read_series(directory, wanted)
        if not stored.patches:
            raise Failure(f"patches/{name}/series names no patch", f"restore it: git checkout -- patches/{name}")
        if wanted and wanted != stored.base.tag:
            raise Failure(f"BASE={wanted} is no base this series is kept for", f"{trees.kept_for(stored.directory)}")
        with ui.step(f"{name} series: applying {stored.name} again") as line, aside.repository("refresh") as tree:
            done = aside.commit(tree, stored, merge=True)
            series._range(tree, done.tip, done.cover.id)
            new, signoffs = series._stage(directory, tree, done.tip, done.cover.id, done.cover.message + "\n")
            changes = series._differences(new, directory)
            _point("refreshed")
            if changes:
                series.publish(new, directory)
            else:
                shutil.rmtree(new)
            line.detail = f"{len(stored.patches)} patches, {len(changes) or 'no'} files differ"
    for change in changes:
        ui.note(change)
    if signoffs:
        ui.note(f"{signoffs} Signed-off-by lines left out: the sender adds them when sending")
    if changes:
        ui.note(f"look at it: git diff {os.path.relpath(directory)}")
    return ui.PASS
