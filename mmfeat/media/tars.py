"""Tar shards (as webdataset writes them) as a source of items: `shard.tar/000123.jpg`.

Members of one sample share the name up to the first dot of the last component: `000123.jpg`, `000123.cls`, `000123.json`.
`.cls` (text) is the label; of `.json` the fields label, split and group are read. Such a file is part of its picture
and no item of its own. Members are read where they lie: the tar is never unpacked, so it may not be compressed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import tarfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple
from urllib.parse import quote

from mmfeat.errors import MediaError
from mmfeat.media.entries import Entry
from mmfeat.media.ids import make_id
from mmfeat.media.opening import EXTENSIONS
from mmfeat.media.remote import is_file, open_binary, size_and_mtime

__all__ = ["Member", "entries", "is_tar", "member_of", "open_member", "split_member"]

_SIDECAR = (".cls", ".json")
_LONGEST = 1 << 20  # bytes of a label or of facts


class Member(NamedTuple):
    """Where a member lies in its tar; trouble says why it cannot be read."""

    offset: int
    size: int
    trouble: tuple[str, str] | None


def is_tar(place: str) -> bool:
    """Whether a path or a URL names a tar shard."""
    return place.endswith(".tar") and is_file(place)


def split_member(place: str) -> tuple[str, str] | None:
    """(tar, member) of a path that leads into one; None for any other path."""
    at = place.find(".tar/")
    while at >= 0:
        if _is_tar(place[: at + 4]):
            return place[: at + 4], place[at + 5 :]
        at = place.find(".tar/", at + 1)
    return None


def entries(place: str, before: str = "") -> Iterator[Entry]:
    """The members of a tar, one entry each; its damage is an entry too. `before` is the tar's own name or its root's."""
    members, damage = _members(place, *size_and_mtime(place))
    if damage is not None:
        yield Entry(make_id(before), place, ("failed", damage))
    pictures = {_key(name) for name in members if os.path.splitext(name)[1].lower() in EXTENSIONS}
    beside = {name for name in members if name.endswith(_SIDECAR) and _key(name) in pictures}
    with open_binary(place) as file:
        for name, member in members.items():
            if name in beside or any(part.startswith(".") and part != ".." for part in name.split("/")):
                continue
            written = make_id(name) if member.trouble is None else quote(os.fsencode(name), safe="")
            there = {one: members[one] for one in (f"{_key(name)}{end}" for end in _SIDECAR) if one in beside}
            labels = _labels(file, name, there)
            yield Entry(f"{make_id(before)}/{written}", f"{place}/{name}", member.trouble, labels)


def member_of(place: str) -> tuple[str, Member]:
    """The tar and where in it a member lies. Raises MediaError where it is not there or cannot be read."""
    found = split_member(place)
    if found is None:
        raise MediaError("a member lies in a tar that exists", place, "walk again")
    member = _members(found[0], *size_and_mtime(found[0]))[0].get(found[1])
    if member is None or member.trouble is not None:
        came = member.trouble[1] if member and member.trouble else "no such member"
        raise MediaError("a tar holds its members", came, "walk again")
    return found[0], member


@contextlib.contextmanager
def open_member(place: str) -> Iterator[IO[bytes]]:
    """A member as a binary file that can seek; nothing but what is asked for is read."""
    tar, member = member_of(place)
    with open_binary(tar) as file, io.BufferedReader(_Window(file, member.offset, member.size)) as window:
        yield window


class _Window(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, file: IO[bytes], offset: int, size: int) -> None:
        self.file, self.offset, self.size, self.at = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, to: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(0, to + (0, self.at, self.size)[whence])
        return self.at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self.size - self.at))
        self.file.seek(self.offset + self.at)
        data = self.file.read(wanted)
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


@functools.lru_cache(maxsize=256)
def _is_tar(place: str) -> bool:
    return is_tar(place)


@functools.lru_cache(maxsize=64)
def _members(place: str, size: int, mtime_ns: int) -> tuple[dict[str, Member], str | None]:
    """Where the members lie, by name (the last of equal names, as tar has it), and how the archive is damaged."""
    found: dict[str, Member] = {}
    damage = None
    with open_binary(place) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                while (one := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # or it would keep them all
                    name = one.name.removeprefix("./").strip("/")
                    if name and not one.isdir():
                        found[name] = Member(one.offset_data, one.size, _trouble(one, name, size))
                file.seek(archive.offset)  # tarfile takes any header it cannot read for the end
                if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    damage = "no mark of its end"
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            damage = str(error)[:200]
    return found, damage and f"the archive is damaged or compressed after {len(found):,} members: {damage}"


def _trouble(one: tarfile.TarInfo, name: str, size: int) -> tuple[str, str] | None:
    if ".." in name.split("/") or "" in name.split("/"):
        return "failed", "the name of a member leads out of its archive"
    if not one.isreg() or one.issparse():
        return "skipped", "not a regular file"
    if one.offset_data + one.size > size:
        return "failed", "the archive ends before the member does"
    return None


def _key(name: str) -> str:
    """What the files of one sample share: the name up to the first dot of its last component."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"


def _labels(file: IO[bytes], name: str, beside: dict[str, Member]) -> tuple[str | None, str | None, str | None]:
    """(label, split, group) from the files beside a picture; else its folder in the tar is the label."""
    facts: dict[str, Any] = {"label": name.partition("/")[0] if "/" in name else None}
    for other, member in sorted(beside.items(), reverse=True):  # .json first, then .cls has the last word
        if member.trouble is not None or member.size > _LONGEST:
            continue
        file.seek(member.offset)
        text = file.read(member.size).decode("utf-8", "replace").strip()
        if other.endswith(".cls"):
            facts["label"] = text
            continue
        with contextlib.suppress(ValueError):
            said = json.loads(text)
            facts |= {key: said[key] for key in ("label", "split", "group") if isinstance(said, dict) and key in said}
    label, split, group = (_text(facts.get(key)) for key in ("label", "split", "group"))
    return label, split, group


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and str(value) and str(value).isprintable() else None
