"""Pages are read back by html.parser: what strangers wrote stays text, every picture has words and its true size."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mmfeat.errors import DataError
from mmfeat.visualise.curves import line_chart
from mmfeat.visualise.pages import build_page, demo_page, notebook_html, search_page
from mmfeat.visualise.report import BuildReport, Outcome, check_measures
from mmfeat.visualise.results import QueryResult, Thumb
from mmfeat.visualise.sections import (
    ChartSection,
    HeatPair,
    HeatSection,
    StripSection,
    TableSection,
    TextSection,
)
from mmfeat.visualise.thumbnails import thumbnail

HOSTILE = [
    "<script>alert(1)</script>.jpg",
    "\"' onerror=alert(1) x='.jpg",
    "</style></title><img src=x onerror=alert(1)>.jpg",
    "a\nb\r\tc.jpg",
    "\u202egpj.exe",
    "undecodable\udcff.jpg",
    "{{ 7 * 7 }}{% raw %}.jpg",
    "&lt;b&gt;&#106;avascript:.jpg",
    "שלום/日本語 😀.jpg",
    "",
]
VOID = {"meta", "link", "img", "br", "path", "rect", "circle"}


class Reader(HTMLParser):
    """All elements with their attributes, all text outside styles, and that what opens also closes."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def picture(seed, shape=(40, 60)):
    return thumbnail(np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8))


def result(names, label=None, images=True):
    thumbs = [
        Thumb(picture(i) if images else None, name, label and label + name, distance=i, note=name)
        for i, name in enumerate(names)
    ]
    return QueryResult(thumbs[0], thumbs[1:])


def pages(names):
    rows = [result(names, "label "), result(names, images=False), QueryResult(Thumb(None, "alone.jpg"))]
    info = {name: name for name in names} | {"items": 12345}
    report = BuildReport(
        names[0], info, check_measures(0.9, 200, {names[0]: 0.8}, 0.7, 64, 1),
        [Outcome("failed", 9, [(name, name) for name in names])], rows, (1, 3), list(names),
    )  # fmt: skip
    sections = [
        TextSection(names[0], "\n\n".join(names), list(names)),
        HeatSection("heat", names[0], [HeatPair(picture(1), picture(2, (80, 90)), name) for name in names]),
        StripSection("strip", names[0], rows, list(names)[:2]),
        ChartSection("chart", names[0], line_chart([names[0], "b"], {name + "n": [1, 2] for name in names}, names[0])),
        TableSection("table", names[0], [names[0], "n"], [(name, 0.5) for name in names]),
    ]
    return {
        "search": search_page(rows, info, names[0], "bits"),
        "build": build_page(report, "bits", refresh=5),
        "demo": demo_page(sections, names[0], names[0]),
        "notebook": notebook_html(rows),
    }


@pytest.mark.parametrize("kind", ["search", "build", "demo", "notebook"])
def test_names_of_strangers_stay_text(kind):
    tame, wild = (Reader(pages(names)[kind]) for names in ([f"{i}.jpg" for i in range(len(HOSTILE))], HOSTILE))
    assert not {"script", "iframe", "object", "form", "base"} & {tag for tag, _ in wild.elements}
    for tag in ("img", "style", "meta", "title"):
        assert len(wild.all(tag)) == len(tame.all(tag)), tag
    for _, attrs in wild.elements:
        assert not [name for name in attrs if name.startswith("on")]
        assert all(attrs[name].startswith(("data:", "#")) for name in ("src", "href") if name in attrs)
    assert "<script>" in "".join(wild.words)
    assert "alert(1)" in wild.text
    assert "{{ 7 * 7 }}" in wild.text
    assert "\\u202egpj.exe" in wild.text
    assert "undecodable\\udcff.jpg" in wild.text
    assert "日本語 😀.jpg" in wild.text
    page = pages(HOSTILE)[kind]
    assert page.encode("utf-8").decode("utf-8") == page
    assert "\u202e" not in page


@pytest.mark.parametrize("kind", ["search", "build", "demo", "notebook"])
def test_every_picture_has_words_and_its_true_size(kind):
    reader = Reader(pages(["q.jpg", "a/b.jpg", "c.jpg"])[kind])
    images = reader.all("img")
    assert images
    for attrs in images:
        head, _, data = attrs["src"].partition(",")
        assert head in ("data:image/png;base64", "data:image/jpeg;base64")
        opened = Image.open(io.BytesIO(base64.b64decode(data)))
        opened.load()
        assert opened.size == (int(attrs["width"]), int(attrs["height"]))
        assert len(attrs["alt"]) > 4
    missing = [attrs for attrs in reader.all("div") if "missing" in attrs.get("class", "")]
    assert len(missing) == 4
    assert all(attrs["aria-label"].startswith("no picture of ") for attrs in missing)


@pytest.mark.parametrize("kind", ["search", "build", "demo", "notebook"])
def test_same_input_gives_same_bytes_and_nothing_is_fetched(kind):
    names = ["q.jpg", "b.jpg"]
    page = pages(names)[kind]
    assert page == pages(names)[kind]
    assert "http://www.w3.org/2000/svg" in page or "http" not in page.replace("http-equiv", "")
    assert "@import" not in page
    assert "url(" not in page


def test_search_page_shows_rank_distance_label_and_facts():
    query = Thumb(picture(0), "f/q.jpg", "cat")
    near = [
        Thumb(picture(1), "f/a.jpg", "dog", 1),
        Thumb(picture(2), "g/b.jpg", "cat", 12),
        Thumb(None, "c", None, 0.25),
    ]
    reader = Reader(search_page([QueryResult(query, near)], {"items": 1500, "model": "rica"}, unit="bits"))
    for words in (
        "1 query, 3 neighbours, nearest first.",
        "a.jpg",
        "1 bit ",
        "12 bits",
        "0.25",
        "dog",
        "1,500",
        "rica",
    ):
        assert words in reader.text
    alts = [attrs["alt"] for attrs in reader.all("img")]
    assert alts == [
        "query: q.jpg, label cat",
        "rank 1: a.jpg, label dog, distance 1 bit",
        "rank 2: b.jpg, label cat, distance 12 bits",
    ]
    assert "wrong" not in {attrs.get("class") for attrs in reader.all("figure")}


def test_empty_searches_say_so():
    assert "No query was given" in Reader(search_page([], {})).text
    assert "No neighbours" in Reader(search_page([QueryResult(Thumb(picture(0), "q"))], {})).text
    assert "and 3 more queries" in Reader(notebook_html([QueryResult(Thumb(None, "q"))] * 8)).text


def test_strips_mark_only_other_labels():
    near = [Thumb(picture(i), str(i), label, i) for i, label in enumerate(["3", "5", None, "3"])]
    section = StripSection("digits", "", [QueryResult(Thumb(picture(9), "q", "3"), near)], ["learned"])
    marked = [attrs.get("class") for attrs in Reader(demo_page([section])).all("figure")]
    assert marked == ["query", None, "wrong", None, None]
    section = StripSection("digits", "", section.rows, mark=False)
    assert "wrong" not in [attrs.get("class") for attrs in Reader(demo_page([section])).all("figure")]


def test_build_page_tells_progress_check_and_reasons():
    outcomes = [Outcome("done", 11986), Outcome("failed", 14, [(f"{i}.jpg", "cut short") for i in range(7)])]
    check = check_measures(0.96, 200, {"crop": 0.91, "JPEG": 0.99}, 0.3, 128, 3)
    text = Reader(build_page(BuildReport("photos", {"bits": 128}, check, outcomes, progress=(12000, 40000)))).text
    for words in ("12,000 of 40,000 so far", "96 %", "crop: 91 %", "30 %", "worry", "3 of 128", "11,986", "and 9 more"):
        assert words in text
    assert "4.jpg" in text
    assert "5.jpg" not in text
    done = build_page(BuildReport("photos", {}))
    assert "so far" not in done
    assert not [attrs for attrs in Reader(done).all("meta") if attrs.get("http-equiv") == "refresh"]


def test_check_rounds_down_from_all():
    values = [check_measures(share, 200)[0].value for share in (1.0, 0.9999, 0.956, 0.0)]
    assert values == ["100 %", "99 %", "96 %", "0 %"]
    assert [check_measures(share, 9)[0].level for share in (0.95, 0.8, 0.5)] == ["good", "look", "worry"]
    dead = [check_measures(1, 9, bits=100, dead=n)[-1].level for n in (0, 5, 6)]
    assert dead == ["good", "look", "worry"]


def test_bytes_that_are_no_picture_are_refused():
    with pytest.raises(DataError, match="JPEG, PNG"):
        search_page([QueryResult(Thumb(b"<svg onload=alert(1)>", "q.svg"))], {})
