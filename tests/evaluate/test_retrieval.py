"""Ranking measures against every order of the ties, written out, and against scikit-learn where nothing is tied."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from mmfeat.arrays import pack_bits
from mmfeat.errors import DataError, ShapeError, UsageError
from mmfeat.evaluate import distances as distance_blocks
from mmfeat.evaluate import retrieval
from mmfeat.evaluate.rankings import (
    TieGroups,
    average_precision_top,
    count_groups,
    hits_top,
    interpolated_precision,
    sort_groups,
)
from mmfeat.evaluate.retrieval import (
    average_precision,
    average_precision_at,
    drop_diagonal,
    hamming_distances,
    mean_average_precision,
    measure_codes,
    measure_vectors,
    near_in_space,
    precision_at,
    recall_at,
    same_label,
)
from mmfeat.evaluate.scores import LEVELS, bootstrap


def orders(distances, relevant):
    """Relevance, place by place, of every order that sorts the distances; each is equally likely."""
    for order in permutations(range(len(distances))):
        ranked = [distances[i] for i in order]
        if ranked == sorted(ranked):
            yield [relevant[i] for i in order]


def plain_ap(ranked):
    """Average precision of one list, by its definition; of the first k places it is AP@k."""
    hits = [place for place, hit in enumerate(ranked, 1) if hit]
    return sum(n / place for n, place in enumerate(hits, 1)) / len(hits) if hits else 0.0


@st.composite
def small_rankings(draw):
    count = draw(st.integers(1, 6))
    distances = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return distances, draw(st.lists(st.booleans(), min_size=count, max_size=count)), draw(st.integers(1, count))


@settings(max_examples=60, deadline=None)
@given(small_rankings())
def test_equals_the_mean_over_all_orders_of_ties(case):
    distances, relevant, k = case
    every = list(orders(distances, relevant))
    d, r = np.array([distances]), np.array([relevant])
    np.testing.assert_allclose(average_precision(d, r)[0], np.mean([plain_ap(ranked) for ranked in every]), atol=1e-12)
    cut = np.mean([plain_ap(ranked[:k]) for ranked in every])
    np.testing.assert_allclose(average_precision_at(d, r, k)[0], cut, atol=1e-12)
    expected = np.mean([np.mean(ranked[:k]) for ranked in every])
    np.testing.assert_allclose(precision_at(d, r, k)[0], expected, atol=1e-12)
    np.testing.assert_allclose(recall_at(d, r, k)[0], expected * k / max(sum(relevant), 1), atol=1e-12)
    counted = count_groups(d, r, 3)
    np.testing.assert_allclose(average_precision_top(counted, k)[0], cut, atol=1e-12)
    np.testing.assert_allclose(hits_top(counted, k)[0], expected * k, atol=1e-12)


def test_a_cut_group_is_an_average_of_ratios():
    # three tied items, one relevant, two places: (1 + 1/2 + 0) / 3, where the ratio of the averages would be 3/4
    np.testing.assert_allclose(average_precision_at(np.zeros((1, 3)), np.array([[True, False, False]]), 2), [0.5])


def test_a_large_cut_group_agrees_with_draws():
    rng = np.random.default_rng(3)
    groups = TieGroups(np.array([[40, 3000]]), np.array([[11, 700]]))
    head, tail = np.arange(40) < 11, np.arange(3000) < 700
    drawn = [plain_ap([*rng.permutation(head), *rng.permutation(tail)][:500]) for _ in range(400)]
    assert abs(average_precision_top(groups, 500)[0] - np.mean(drawn)) < 4 * np.std(drawn) / np.sqrt(len(drawn))


def test_equals_scikit_learn_without_ties(monkeypatch):
    monkeypatch.setattr(retrieval, "BLOCK", 1000)  # 3 queries at a time: the blocks join
    rng = np.random.default_rng(0)
    distances, relevant = rng.normal(size=(20, 300)), rng.random((20, 300)) < 0.1
    expected = [average_precision_score(r, -d) for d, r in zip(distances, relevant, strict=True)]
    np.testing.assert_allclose(average_precision(distances, relevant), expected, rtol=1e-12)
    np.testing.assert_allclose(mean_average_precision(distances, relevant), np.mean(expected), rtol=1e-12)


def test_all_tied_is_the_average_precision_of_a_random_order():
    rng = np.random.default_rng(1)
    relevant = np.arange(30) < 7
    drawn = [plain_ap(rng.permutation(relevant)) for _ in range(4000)]
    closed = average_precision(np.zeros((1, 30), int), relevant[None])[0]
    assert abs(closed - np.mean(drawn)) < 4 * np.std(drawn) / np.sqrt(len(drawn))


def test_infinite_distances_are_ties_and_queries_without_hits_count_zero():
    distances = np.array([[0.0, np.inf, np.inf], [0.0, 1.0, 2.0]])
    relevant = np.array([[False, True, False], [False, False, False]])
    np.testing.assert_allclose(average_precision(distances, relevant), [(1 / 2 + 1 / 3) / 2, 0.0])
    np.testing.assert_allclose(mean_average_precision(distances, relevant), (1 / 2 + 1 / 3) / 4)


@pytest.mark.parametrize("width", [1, 7, 8, 16, 17, 32, 40])
def test_hamming_distances_equal_unpacked_bits(width, monkeypatch):
    monkeypatch.setattr(distance_blocks, "BLOCK", 64)
    rng = np.random.default_rng(width)
    a, b = (rng.integers(0, 256, (n, width), np.uint8) for n in (9, 25))
    bits_a, bits_b = np.unpackbits(a, axis=1), np.unpackbits(b, axis=1)
    np.testing.assert_array_equal(hamming_distances(a, b), (bits_a[:, None] != bits_b[None]).sum(axis=2))


def test_all_bits_may_differ():
    apart = hamming_distances(
        np.zeros((1, 32), np.uint8), np.full((1, 32), 255, np.uint8)
    )  # 256: more than a byte holds
    assert apart.tolist() == [[256]]


def problem(seed=0, queries=30, items=400, bits=12, classes=5):
    rng = np.random.default_rng(seed)
    labels, asked = rng.integers(0, classes, items), rng.integers(0, classes, queries)
    centres = rng.normal(size=(classes, bits))
    database, questions = (centres[each] + 2 * rng.normal(size=(len(each), bits)) for each in (labels, asked))
    return questions, database, asked, labels


def test_codes_measured_by_counting_equal_rankings_given(monkeypatch):
    monkeypatch.setattr(retrieval, "BLOCK", 3000)
    questions, database, asked, labels = problem(items=120, bits=14)
    a, b = pack_bits(questions), pack_bits(database)
    apart, relevant = hamming_distances(a, b), asked[:, None] == labels[None]
    scores = measure_codes(a, b, same_label(asked, labels), bits=14, ks=(7, 100))
    assert len(scores) == 30
    np.testing.assert_allclose(scores.values["mAP@all"], average_precision(apart, relevant), atol=1e-12)
    assert scores["mAP@all"] == pytest.approx(mean_average_precision(apart, relevant))
    for k in (7, 100):
        np.testing.assert_allclose(scores.values[f"mAP@{k}"], average_precision_at(apart, relevant, k), atol=1e-12)
        np.testing.assert_allclose(scores.values[f"precision@{k}"], precision_at(apart, relevant, k), atol=1e-12)
        np.testing.assert_allclose(scores.values[f"recall@{k}"], recall_at(apart, relevant, k), atol=1e-12)
    inside = apart <= 2
    right = (inside & relevant).sum(axis=1)
    assert not inside.any(axis=1).all()  # some balls are empty, and count as 0
    expected = np.where(inside.any(axis=1), right / np.maximum(inside.sum(axis=1), 1), 0)
    np.testing.assert_allclose(scores.values["precision within radius 2"], expected)
    np.testing.assert_allclose(scores.values["recall within radius 2"], right / relevant.sum(axis=1))
    assert scores.ball[2] == pytest.approx([expected.mean(), (right / relevant.sum(axis=1)).mean()])
    assert scores.shells[:, 0].tolist() == np.bincount(apart.ravel(), minlength=15).tolist()
    assert scores.shells[:, 1].tolist() == np.bincount(apart[relevant], minlength=15).tolist()
    tied = np.zeros_like(apart)
    random = scores.at_random()
    assert random["mAP@all"] == pytest.approx(mean_average_precision(tied, relevant))
    assert random["mAP@7"] == pytest.approx(average_precision_at(tied, relevant, 7).mean())
    assert random["precision@7"] == pytest.approx(relevant.mean())
    assert not scores.by_rank
    assert measure_codes(a, b, relevant, bits=14, ks=(), ranks=(7,)).by_rank[7] == pytest.approx(scores["precision@7"])
    same = measure_codes(a, b, relevant, bits=14, ks=(7, 100))
    np.testing.assert_array_equal(same.values["mAP@100"], scores.values["mAP@100"])


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_vectors_are_ranked_by_their_metric(metric, monkeypatch):
    monkeypatch.setattr(retrieval, "BLOCK", 3000)
    questions, database, asked, labels = problem(1)
    scores = measure_vectors(questions, database, same_label(asked, labels), metric=metric, ks=(10,))
    products = questions @ database.T
    lengths = np.linalg.norm(questions, axis=1)[:, None] * np.linalg.norm(database, axis=1)
    plain = {
        "l2": ((questions[:, None] - database[None]) ** 2).sum(axis=2),
        "ip": -products,
        "cosine": -products / lengths,
    }[metric]
    relevant = asked[:, None] == labels[None]
    expected = [average_precision_score(r, -d) for d, r in zip(plain, relevant, strict=True)]
    np.testing.assert_allclose(scores.values["mAP@all"], expected, rtol=1e-9)
    top = np.argsort(plain, axis=1)[:, :10]
    expected = np.take_along_axis(relevant, top, axis=1).mean(axis=1)
    np.testing.assert_allclose(scores.values["precision@10"], expected)


@pytest.mark.parametrize("kind", ["codes", "vectors"])
def test_leave_one_out_equals_dropping_the_diagonal(kind):
    _, database, _, labels = problem(2, items=90)
    own = np.array([3, 88, 0, 41])
    others = drop_diagonal(np.tile(labels, (90, 1)))[own]
    if kind == "codes":
        codes = pack_bits(database)
        got = measure_codes(codes[own], codes, same_label(labels[own], labels), bits=12, ks=(5,), own=own)
        apart = drop_diagonal(hamming_distances(codes, codes))[own]
    else:
        got = measure_vectors(database[own], database, same_label(labels[own], labels), ks=(5,), own=own)
        apart = drop_diagonal(((database[:, None] - database[None]) ** 2).sum(axis=2))[own]
    relevant = others == labels[own][:, None]
    np.testing.assert_allclose(got.values["mAP@all"], average_precision(apart, relevant), atol=1e-12)
    np.testing.assert_allclose(got.values["mAP@5"], average_precision_at(apart, relevant, 5), atol=1e-12)
    assert got.items.tolist() == [89] * 4


def test_the_interpolated_curve_is_the_upper_envelope_of_scikit_learns():
    questions, database, asked, labels = problem(4)
    scores = measure_vectors(questions[:1], database, same_label(asked[:1], labels), ks=())
    distance = ((questions[:1] - database) ** 2).sum(axis=1)
    precision, recall, _ = precision_recall_curve(labels == asked[0], -distance)
    expected = [precision[recall >= level - 1e-9].max() if level else precision[recall > 0].max() for level in LEVELS]
    np.testing.assert_allclose(scores.curve, expected, rtol=1e-9)


def test_the_interpolated_curve_of_codes_sees_whole_groups_only():
    # distances 0: one of two right; 1: one of one; 3: none of two, so recall 1 needs three items
    groups_of = np.array([[0, 0, 1, 3, 3]]), np.array([[True, False, True, False, False]])
    for groups in (count_groups(*groups_of, 8), sort_groups(*groups_of)):
        curve = interpolated_precision(groups, np.array([0.0, 0.5, 0.51, 1.0]))
        np.testing.assert_allclose(curve, [[2 / 3] * 4])
    codes = np.array([[0], [0], [1], [7], [7]], np.uint8)
    scores = measure_codes(codes[:1], codes, groups_of[1], ks=(3,))
    np.testing.assert_allclose(scores.curve, 2 / 3)


def test_neighbours_in_space_are_within_the_mean_distance_of_the_nth():
    questions, database, *_ = problem(5)
    apart = np.sqrt(((questions[:, None] - database[None]) ** 2).sum(axis=2))
    radius = np.sort(apart, axis=1)[:, 49].mean()
    np.testing.assert_array_equal(near_in_space(questions, database, 50)(slice(0, 30)), apart <= radius)


def test_the_interval_covers_the_mean_of_many_queries_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        (one,) = bootstrap(rng.exponential(size=(60, 1)), seed, resamples=200)
        assert one.low < one.mean < one.high
        covered += one.low <= 1 <= one.high
    assert 175 <= covered <= 198  # of 95 %, less what skewness costs


def test_a_result_is_written_with_its_protocol_and_intervals():
    questions, database, asked, labels = problem(6)
    scores = measure_codes(pack_bits(questions), pack_bits(database), same_label(asked, labels), bits=12, ks=(10,))
    written = scores.to_json()
    assert written["queries"] == 30
    assert written["items"] == 400
    low, high = written["measures"]["mAP@10"]["interval"]
    assert low < written["measures"]["mAP@10"]["mean"] < high
    assert written["measures"]["mAP@10"]["mean"] == pytest.approx(scores["mAP@10"])
    assert scores.estimates(seed=1)["mAP@10"] == scores.estimates(seed=1)["mAP@10"] != scores.estimates()["mAP@10"]


def test_leave_one_out_drops_only_the_item_itself():
    matrix = np.arange(16).reshape(4, 4)
    expected = np.array([np.delete(row, i) for i, row in enumerate(matrix)])
    np.testing.assert_array_equal(drop_diagonal(matrix), expected)


def test_bad_input_is_named():
    good, hits = np.zeros((2, 3)), np.zeros((2, 3), bool)
    with pytest.raises(ShapeError, match="one shape"):
        average_precision(good, hits[:, :2])
    with pytest.raises(ShapeError, match="int64"):
        average_precision(good, hits.astype(np.int64))
    with pytest.raises(DataError, match="NaN"):
        average_precision(np.full((2, 3), np.nan), hits)
    with pytest.raises(DataError, match="at least one"):
        average_precision(np.zeros((0, 3)), np.zeros((0, 3), bool))
    for k in (0, 4):
        with pytest.raises(UsageError, match="between 1 and the 3"):
            precision_at(good, hits, k)
    with pytest.raises(ShapeError, match="one width"):
        hamming_distances(np.zeros((2, 3), np.uint8), np.zeros((2, 4), np.uint8))
    with pytest.raises(ShapeError, match="square"):
        drop_diagonal(good)
    codes = np.zeros((3, 2), np.uint8)
    with pytest.raises(UsageError, match="between 0 and the 16 bits"):
        measure_codes(codes, codes, np.ones((3, 3), bool), ks=(1,), radius=17)
    with pytest.raises(ShapeError, match="2 bits are packed in 1 bytes"):
        measure_codes(codes, codes, np.ones((3, 3), bool), ks=(1,), bits=2)
    with pytest.raises(UsageError, match="the 2 items ranked"):
        measure_codes(codes, codes, np.ones((3, 3), bool), ks=(3,), own=np.arange(3))
    with pytest.raises(ShapeError, match="every query"):
        measure_codes(codes, codes, np.ones((3, 3), bool), ks=(1,), own=np.array([0, 1, 3]))
    with pytest.raises(ShapeError, match="relevance is bool"):
        measure_codes(codes, codes, np.ones((2, 3), bool), ks=(1,))
    with pytest.raises(UsageError, match="l2, cosine, ip"):
        measure_vectors(good, good, np.ones((2, 2), bool), ks=(1,), metric="manhattan")
    with pytest.raises(ShapeError, match="one width"):
        measure_vectors(good, good[:, :2], np.ones((2, 2), bool), ks=(1,))
    with pytest.raises(UsageError, match="among 2 items"):
        near_in_space(good, good, 3)
