"""Reading media: item ids, the walk over folders, decoding with explicit rules, batches of pictures.

`ids` names items, `walk` finds them and makes the table of `items`, `decode` turns one file into pixels, `source`
into batches. Nothing is imported here: the parts cost a few tens of milliseconds each, and the command line starts
without them.
"""

from __future__ import annotations

__all__: list[str] = []
