"""Conditions on the columns of an index: `label = 'cat' and not (w < 64 or split in ('test', 'val'))`.

    or         := and ("or" and)*
    and        := not ("and" not)*
    not        := "not" not | "(" or ")" | comparison
    comparison := value ("=" | "!=" | "<" | "<=" | ">" | ">=") value
                | value ["not"] "in" "(" value ("," value)* ")"
                | value ["not"] "like" 'text'        % is any text, _ one character
                | value "is" ["not"] "null"
    value      := column | "column" | 'text' | number | true | false

As in SQL: text stands in single quotes (a quote inside is doubled), words may be in capitals, a comparison with a missing
value is neither true nor false, and only rows where the whole is true may answer. Nothing is executed: a text becomes a
tree, and the tree calls named functions of Arrow. Columns are those of the parts, and those of the items table where
the index keeps one (`items.parquet`), found by the id, or by the id without its fragment: rows of an array and pages are items
of their own, a crop or a stretch of time is a part of the item that its file is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmfeat.errors import UsageError

if TYPE_CHECKING:
    from mmfeat.indexes.snapshot import Snapshot

__all__ = ["evaluate", "parse", "rows_where"]

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<column>"(?:[^"]|"")*")|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<word>[^\W\d]\w*)|(?P<sign><=|>=|!=|<>|==|=|<|>|\(|\)|,))""",
    re.VERBOSE,
)
_COMPARED = {"=": "equal", "==": "equal", "!=": "not_equal", "<>": "not_equal"}
_COMPARED |= {"<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}
_RESERVED = {"and", "or", "not", "in", "like", "is", "null", "true", "false"}
_DEEP = 100  # brackets and nots within one another
_SHOWN = 60  # characters of a condition on either side of what is wrong


class Node(NamedTuple):
    """One step of a condition: what is done, with what, and where it stands in the text."""

    do: str
    of: tuple[Any, ...]
    at: int


class _Token(NamedTuple):
    kind: str  # text, column, number, word (lower case in `value` where reserved), sign, end
    value: str
    at: int


def parse(text: str) -> Node:
    """The tree of a condition; UsageError points to the place where it is none."""
    parser = _Parser(text)
    tree = parser.either()
    if parser.now.kind != "end":
        raise parser.wrong("and, or, or the end")
    return tree


def _tokens(text: str) -> list[_Token]:
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None:
            at = place + len(text[place:]) - len(text[place:].lstrip())
            raise _wrong(text, at, "a column, a value or a comparison")
        kind = str(match.lastgroup)
        value = match[kind]
        if kind == "word" and value.lower() in _RESERVED:
            value = value.lower()
        found.append(_Token(kind, value, match.start(kind)))
        place = match.end()
    return [*found, _Token("end", "the end", len(text))]


def _wrong(text: str, at: int, wanted: str) -> UsageError:
    before = text[:at].rstrip()
    before = before if len(before) <= _SHOWN else f"… {before[-_SHOWN:]}"
    came = f"{before} → {_short(text[at:]) if text[at:].strip() else 'the end'}"
    return UsageError(
        f"a condition reads like label = 'cat' and width >= 640; at character {at + 1} it needs {wanted}",
        came,
        "text stands in single quotes, columns do not",
    )


def _short(text: str) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.place, self.depth = text, _tokens(text), 0, 0

    @property
    def now(self) -> _Token:
        return self.tokens[self.place]

    def wrong(self, wanted: str) -> UsageError:
        return _wrong(self.text, self.now.at, wanted)

    def take(self, *values: str) -> _Token | None:
        """The next token if it is one of these words or signs, and on to the one after."""
        token = self.now
        if token.kind not in ("word", "sign") or token.value not in values:
            return None
        self.place += 1
        return token

    def need(self, value: str) -> None:
        if self.take(value) is None:
            raise self.wrong(value)

    def either(self) -> Node:
        tree = self.both()
        while token := self.take("or"):
            tree = Node("or_kleene", (tree, self.both()), token.at)
        return tree

    def both(self) -> Node:
        tree = self.one()
        while token := self.take("and"):
            tree = Node("and_kleene", (tree, self.one()), token.at)
        return tree

    def one(self) -> Node:
        self.depth += 1
        if self.depth > _DEEP:
            raise self.wrong(f"at most {_DEEP} brackets and nots within one another")
        if token := self.take("not"):
            tree = Node("invert", (self.one(),), token.at)
        elif self.take("("):
            tree = self.either()
            self.need(")")
        else:
            tree = self.comparison()
        self.depth -= 1
        return tree

    def comparison(self) -> Node:
        left = self.value()
        if token := self.take(*_COMPARED):
            return Node(_COMPARED[token.value], (left, self.value()), token.at)
        if token := self.take("is"):
            other = self.take("not") is not None
            self.need("null")
            return Node("is_valid" if other else "is_null", (left,), token.at)
        other = self.take("not") is not None
        if token := self.take("in"):
            tree = Node("in", (left, *self.values()), token.at)
        elif token := self.take("like"):
            if self.now.kind != "text":
                raise self.wrong("a pattern in single quotes")
            tree = Node("like", (left, self.value()), token.at)
        else:
            raise self.wrong("=, !=, <, <=, >, >=, in, like or is")
        return Node("invert", (tree,), token.at) if other else tree

    def values(self) -> list[Node]:
        self.need("(")
        found = [self.value()]
        while self.take(","):
            found.append(self.value())
        self.need(")")
        return found

    def value(self) -> Node:
        token = self.now
        if token.kind in ("end", "sign") or (token.kind == "word" and token.value in _RESERVED - {"true", "false"}):
            raise self.wrong("a column or a value")
        self.place += 1
        if token.kind == "text":
            return Node("value", (token.value[1:-1].replace("''", "'"),), token.at)
        if token.kind == "number":
            whole = re.fullmatch(r"[-+]?\d{1,18}", token.value)
            return Node("value", (int(token.value) if whole else float(token.value),), token.at)
        if token.kind == "word" and token.value in ("true", "false"):
            return Node("value", (token.value == "true",), token.at)
        name = token.value[1:-1].replace('""', '"') if token.kind == "column" else token.value
        return Node("column", (name,), token.at)


def columns_of(tree: Node) -> list[str]:
    """The names of the columns in a condition, each once."""
    if tree.do == "column":
        return [tree.of[0]]
    inner = (name for part in tree.of if isinstance(part, Node) for name in columns_of(part))
    return list(dict.fromkeys(inner))


def evaluate(text: str, tree: Node, columns: Mapping[str, Any], rows: int) -> np.ndarray:
    """Which of the rows (rows,) bool a condition is true for. UsageError: a comparison of text with numbers and the like."""
    if not rows:
        return np.zeros(0, bool)

    def work(node: Node) -> Any:
        if node.do == "value":
            return pa.scalar(node.of[0])
        if node.do == "column":
            return columns[node.of[0]]
        parts = [work(part) for part in node.of]
        try:
            if node.do == "in":
                each = [pc.equal(*_alike(parts[0], other)) for other in parts[1:]]
                return _folded(pc.or_kleene, each)
            if node.do == "like":
                return pc.match_like(parts[0], pattern=parts[1].as_py())
            return getattr(pc, node.do)(*(_alike(*parts) if node.do in _COMPARED.values() else parts))
        except (pa.ArrowException, TypeError) as error:
            types = " and ".join(str(part.type) for part in parts)
            raise _wrong(text, node.at, f"two values of one kind on its sides, not {types}") from error

    found = pc.fill_null(work(tree), False)
    if isinstance(found, pa.Scalar):
        return np.full(rows, bool(found.as_py()))
    return np.asarray(found.to_numpy(zero_copy_only=False) if isinstance(found, pa.Array) else found.to_numpy(), bool)


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Both sides; a column without a single value has no type yet and takes that of the other side."""
    if pa.types.is_null(left.type):
        return left.cast(right.type), right
    if pa.types.is_null(right.type):
        return left, right.cast(left.type)
    if pa.types.is_dictionary(left.type):
        return left.cast(left.type.value_type), right
    return left, right


def _folded(join: Callable[[Any, Any], Any], parts: list[Any]) -> Any:
    out = parts[0]
    for part in parts[1:]:
        out = join(out, part)
    return out


def rows_where(snapshot: Snapshot, text: str) -> np.ndarray:
    """Which rows (rows,) bool of a snapshot, dead ones included, a condition is true for."""
    if not isinstance(text, str) or not text.strip():
        raise UsageError("a condition is a text", repr(text), "for example label = 'cat'")
    tree = parse(text)
    names = columns_of(tree)
    held = list(dict.fromkeys(name for segment in snapshot.segments for name in segment.schema.names))
    items = _items(snapshot) if set(names) - set(held) and snapshot.segments else None
    there = held + [name for name in (items.column_names if items is not None else []) if name not in held]
    missing = [name for name in names if name not in there]
    if missing and snapshot.segments:
        raise UsageError(
            f"a condition names columns of the index: {', '.join(there)}", _short(missing[0]), "use one of these"
        )
    found = [np.zeros(0, bool)]
    for segment in snapshot.segments:
        own = [name for name in names if name in segment.schema.names]
        table = segment.read(own)
        columns = {name: table[name] for name in own}
        for name in set(names) - set(own):
            columns[name] = _of_items(items, segment.ids, name) if name not in held else pa.nulls(segment.piece.rows)
        found.append(evaluate(text, tree, columns, segment.piece.rows))
    return np.concatenate(found)


def _items(snapshot: Snapshot) -> Any:
    """The items table that is kept with the index, or None."""
    from mmfeat.indexes.item_log import read_log

    return read_log(snapshot)


def _of_items(items: Any, ids: Any, name: str) -> Any:
    """A column of the items table for parts with these ids: of the item of that id, else of the file it is a part of."""
    known = items["id"].cast(ids.type).combine_chunks()
    files = pc.replace_substring_regex(ids, pattern="#.*$", replacement="")
    place = pc.coalesce(pc.index_in(ids, value_set=known), pc.index_in(files, value_set=known))
    return items[name].combine_chunks().take(place)
