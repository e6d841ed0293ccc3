"""One unit, the shard: done anywhere, killed anywhere, done again; the end is the same to the byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import fixtures_extracting
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures_extracting import PlainModel, contents
from fixtures_pictures import crops, write_folder
from PIL import Image

import mmfeat
from mmfeat.errors import BusyError, DamagedError, DataError, MismatchError, UsageError
from mmfeat.files import hold_lock
from mmfeat.media.walk import walk
from mmfeat.model import Model
from mmfeat.pipelines import extracting, shards
from mmfeat.pipelines.extracting import extract, read_features
from mmfeat.pipelines.merging import merge


@pytest.fixture(scope="module")
def model() -> Any:
    return PlainModel()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve good pictures, one broken beyond its header, one that is none."""
    root = write_folder(tmp_path / "pictures", 12, side=32)
    (root / "china" / "broken.jpg").write_bytes((root / "china" / "crop 000.jpg").read_bytes()[:700])
    (root / "notes.txt").write_text("not a picture")
    return root


def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of what is encoded from now on."""
    seen: list[str] = []
    true = extracting.encode_items

    def noting(model: Any, items: Any, rows: np.ndarray, report: Any = None) -> Any:
        seen.extend(items.ids[row] for row in rows)
        return true(model, items, rows, report)

    monkeypatch.setattr(extracting, "encode_items", noting)
    return seen


# --- shards -----------------------------------------------------------------------------------------------------------


def test_shards_in_any_order_are_one_run(folder: Path, model: Model, tmp_path: Path) -> None:
    items = walk(folder)
    whole = extract(model, items, tmp_path / "whole", part=2)
    results = [extract(model, items, tmp_path / "f", part=2, shard=(k, 4)) for k in (3, 1, 4, 2)]
    assert sum(one.done for one in results) == whole.done == 12
    assert sum(one.failed for one in results) == whole.failed == 1
    assert not (tmp_path / "f" / "items.parquet").exists()
    merged = merge(tmp_path / "f")
    assert (merged.done, merged.failed, merged.skipped, merged.new_failures) == (12, 1, 1, 1)
    assert contents(tmp_path / "f") == contents(tmp_path / "whole")
    again = merge(tmp_path / "f")
    assert (again.new_failures, again.exit_code) == (0, 0)
    assert contents(tmp_path / "f") == contents(tmp_path / "whole")


def test_four_processes_at_once_one_of_them_killed(folder: Path, model: Model, tmp_path: Path) -> None:
    script, home = Path(fixtures_extracting.__file__), Path(str(mmfeat.__file__)).parent.parent

    def start(k: int, dies_at: int = 0) -> subprocess.Popen[bytes]:
        words = [folder, tmp_path / "f", k, 4, dies_at, home]
        return subprocess.Popen([sys.executable, script, *map(str, words)], stderr=subprocess.PIPE)

    running = [start(k, 5 if k == 2 else 0) for k in (1, 2, 3, 4)]
    said = [one.communicate()[1] for one in running]
    assert [one.returncode for one in running] == [0, -9, 0, 0], said
    with pytest.raises(DataError, match="missing: part-00005"):
        merge(tmp_path / "f")
    assert any(path.suffix == ".tmp" for path in (tmp_path / "f" / "parts").iterdir())  # it was really killed
    again = start(2)
    assert again.communicate()[1] == b""
    merge(tmp_path / "f")
    extract(model, walk(folder), tmp_path / "whole", part=2)
    assert contents(tmp_path / "f") == contents(tmp_path / "whole")


def test_a_shard_may_have_nothing_to_do(folder: Path, model: Model, tmp_path: Path) -> None:
    result = extract(model, walk(folder), tmp_path / "f", shard=(3, 4))
    assert (result.done, result.failed, result.exit_code) == (0, 0, 0)


def test_a_shard_needs_no_walk_where_another_has_begun(folder: Path, model: Model, tmp_path: Path) -> None:
    extract(model, walk(folder), tmp_path / "f", part=2, shard=(1, 2))
    (folder / "new.png").write_bytes(b"")  # what comes later is for the next run
    extract(model, walk(tmp_path / "f" / "found.parquet"), tmp_path / "f", shard=(2, 2))
    assert merge(tmp_path / "f").done == 12
    write_folder(folder, 14, side=32)
    with pytest.raises(MismatchError, match=r"found\.parquet as data"):
        extract(model, walk(folder), tmp_path / "f", shard=(2, 2))


def test_who_may_be_at_it_together(folder: Path, model: Model, tmp_path: Path) -> None:
    place, items = tmp_path / "f", walk(folder)
    extract(model, items, place, part=2, shard=(1, 2))
    with shards.hold(place, (1, 2)):
        extract(model, items, place, shard=(2, 2))
        for wrong in (
            lambda: extract(model, items, place, shard=(1, 2)),
            lambda: extract(model, items, place),
            lambda: merge(place),
        ):
            with pytest.raises(BusyError):
                wrong()
    with hold_lock(place / ".lock"), pytest.raises(BusyError, match="beside shards"):
        extract(model, items, place, shard=(2, 2))
    merge(place)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2"])
def test_shards_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="k/n"):
        shards.parse_shard(text)


# --- what merging finds -----------------------------------------------------------------------------------------------


def rewrite(stem: Path, table: pa.Table, values: np.ndarray) -> None:
    """Another content with a receipt that fits it."""
    import json

    from mmfeat.files import sha256_file

    pq.write_table(table, stem.with_suffix(".parquet"))
    np.save(stem.with_suffix(".npy"), values)
    receipt = json.loads(stem.with_suffix(".json").read_text())
    receipt |= {name: sha256_file(stem.with_suffix(f".{name}")) for name in ("npy", "parquet")}
    stem.with_suffix(".json").write_text(json.dumps(receipt))


@pytest.mark.parametrize("what", ["lost", "double", "foreign", "flipped", "gone", "no json", "extra part", "table"])
def test_what_is_wrong_with_a_part_is_named(what: str, folder: Path, model: Model, tmp_path: Path) -> None:
    place = tmp_path / "f"
    extract(model, walk(folder), place, part=4)
    stem = place / "parts" / "part-00001"
    table, values = pq.read_table(stem.with_suffix(".parquet")), np.load(stem.with_suffix(".npy"))
    said = "part-00001"
    if what == "lost":
        rewrite(stem, table.slice(1), values[1:])
        said = r"missing: china/crop \d+\.jpg"
    elif what == "double":
        rewrite(stem, pa.concat_tables([table, table.slice(0, 1)]), np.concatenate([values, values[:1]]))
        said = r"double: china/crop \d+\.jpg"
    elif what == "foreign":
        other = pq.read_table(place / "parts" / "part-00002.parquet")
        rewrite(stem, pa.concat_tables([table.slice(1), other.slice(0, 1)]), values)
        said = r"not of it: flower/crop \d+\.jpg"
    elif what == "flipped":
        data = bytearray(stem.with_suffix(".npy").read_bytes())
        data[-1] ^= 1
        stem.with_suffix(".npy").write_bytes(data)
        said = r"part-00001\.npy must match"
    elif what == "gone":
        stem.with_suffix(".parquet").unlink()
        said = r"part-00001\.parquet must match"
    elif what == "no json":
        stem.with_suffix(".json").write_text("{")
    elif what == "extra part":
        stem.with_suffix(".json").rename(stem.with_name("part-00009.json"))
        said = "part-00009 is no part of this table"
    else:
        items = walk(folder)
        items.select(np.arange(3)).write(place / "found.parquet")
        said = "the table that features.json speaks of"
    with pytest.raises((DamagedError, MismatchError), match=said):
        merge(place)
    result = extract(model, walk(folder), place)  # a run makes again what is damaged
    fine = extract(model, walk(folder), tmp_path / "fine", part=4)
    assert (result.done, result.failed) == (fine.done, fine.failed)
    assert result.repaired == (("part-00001",) if what not in ("extra part", "table") else ())
    if what != "extra part":
        assert contents(place) == contents(tmp_path / "fine")


def test_merging_what_is_no_features_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds features\.json"):
        merge(tmp_path)


# --- a rerun reads only what is new, changed or deleted ------------------------------------------------------------------


def test_a_changed_folder_costs_what_changed_and_ends_as_if_made_anew(
    folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(model, walk(folder), tmp_path / "f", part=4)
    (folder / "china" / "crop 000.jpg").unlink()
    Image.fromarray(crops(20)[13][1]).save(folder / "china" / "crop 002.jpg")
    Image.fromarray(crops(20)[17][1]).save(folder / "a new one.jpg")
    seen = encoded(monkeypatch)
    result = extract(model, walk(folder), tmp_path / "f")
    assert sorted(seen) == ["a new one.jpg", "china/crop 002.jpg"]
    assert (result.made, result.done, result.failed, result.new_failures, result.exit_code) == (2, 12, 1, 0, 0)
    extract(model, walk(folder), tmp_path / "fresh", part=4)
    assert contents(tmp_path / "f") == contents(tmp_path / "fresh")
    seen.clear()
    extract(model, walk(folder), tmp_path / "f")
    assert seen == []


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_other_labels_rewrite_tables_and_encode_nothing(
    dtype: str, folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(model, walk(folder), tmp_path / "f", part=4, dtype=dtype)
    labels = pa.table({"path": ["china/crop 002.jpg"], "label": ["new"], "split": ["test"]})
    extract(model, walk(folder, labels=labels), tmp_path / "fresh", part=4, dtype=dtype)
    seen = encoded(monkeypatch)
    extract(model, walk(folder, labels=labels), tmp_path / "f", dtype=dtype)
    assert seen == []
    assert contents(tmp_path / "f") == contents(tmp_path / "fresh")
    tables = [pq.read_table(path) for path in sorted((tmp_path / "f" / "parts").glob("*.parquet"))]
    assert pa.concat_tables(tables)["label"].to_pylist().count("new") == 1


def test_failed_files_are_tried_again_when_asked(
    folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the disk had not answered for a moment: the file itself is sound."""
    true = extracting.encode_items

    def failing(model: Any, items: Any, rows: np.ndarray, report: Any = None) -> Any:
        found = true(model, items, rows, report)
        bad = np.array([items.ids[row].endswith("003.jpg") for row in found.rows], bool)
        failures = found.failures | {int(row): "the disk did not answer" for row in found.rows[bad]}
        return found._replace(rows=found.rows[~bad], features=found.features[~bad], failures=failures)

    monkeypatch.setattr(extracting, "encode_items", failing)
    assert extract(model, walk(folder), tmp_path / "f", part=4).new_failures == 2
    monkeypatch.setattr(extracting, "encode_items", true)
    seen = encoded(monkeypatch)
    same = extract(model, walk(folder), tmp_path / "f")
    assert (seen, same.failed, same.exit_code) == ([], 2, 0)  # not asked, not new
    result = extract(model, walk(folder), tmp_path / "f", retry_failed=True)
    assert sorted(seen) == ["china/broken.jpg", "flower/crop 003.jpg"]
    assert (result.failed, result.new_failures, result.exit_code) == (1, 0, 0)
    extract(model, walk(folder), tmp_path / "fresh", part=4)
    assert contents(tmp_path / "f") == contents(tmp_path / "fresh")


def test_parts_where_everything_fails_are_parts(folder: Path, model: Model, tmp_path: Path) -> None:
    for path in (folder / "china").iterdir():
        path.write_bytes(path.read_bytes()[:700])
    result = extract(model, walk(folder), tmp_path / "f", part=2)
    assert (result.done, result.failed) == (6, 7)
    ids, codes = read_features(tmp_path / "f")
    assert (len(ids), codes.shape) == (6, (6, 8))
    (folder / "notes.txt").rename(folder / "z.png")  # a failure that is new, known by its header alone
    (folder / "zz.png").write_bytes(next((folder / "flower").iterdir()).read_bytes())
    result = extract(model, walk(folder), tmp_path / "f")
    assert (result.done, result.failed, result.new_failures, result.exit_code) == (7, 8, 1, 1)
    extract(model, walk(folder), tmp_path / "fresh", part=2)
    assert contents(tmp_path / "f") == contents(tmp_path / "fresh")
