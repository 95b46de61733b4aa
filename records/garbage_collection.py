"""Python's garbage collection in a part that runs for weeks.

A full collection looks at every object of the process and stops all its threads meanwhile. Modules
alone hold a quarter of a million objects and more, so each took 0.15 to 0.25 s, and in the web
server came with every fiftieth page (`docs/develop/performance.md`). What a part holds from its
start until its end is no garbage.
"""

from __future__ import annotations

import gc


def freeze_startup_objects() -> None:
    """Leave what exists now out of all later collections; called once, when a part has started."""
    gc.collect()
    gc.freeze()
