"""Reading media: item ids, where items come from, decoding with explicit rules, batches of pictures.

`ids` names items; `folders`, `tables`, `arrays_on_disk`, `tars` and `remote` list them (`entries`), `walk` makes the table
of `items` from what they list, `contents` opens any of them; `decode` turns one into pixels, `source` many into batches.
Nothing is imported here: the parts cost a few tens of milliseconds each, and the command line starts without them.
"""

from __future__ import annotations

__all__: list[str] = []
