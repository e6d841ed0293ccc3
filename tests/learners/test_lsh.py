"""Random hyperplanes: how often bits differ is the angle."""

from __future__ import annotations

import numpy as np
import pytest

from mmfeat.errors import SettingsError
from mmfeat.learner import default_batches, start, train, transform
from mmfeat.learners.lsh import Lsh

BITS = 20_000


@pytest.mark.parametrize("angle", [0.2, 0.7, 1.9])
@pytest.mark.parametrize("centre", [False, True])
def test_bits_differ_as_often_as_the_angle_says(angle: float, centre: bool) -> None:
    """P(bit differs) = angle / pi (Charikar 2002), within four standard deviations; about the mean where it is centred."""
    x = np.array([[1, 0], [np.cos(angle), np.sin(angle)]], np.float32)
    if centre:
        x = np.concatenate([x, -x]) + np.float32(7)
    learner = Lsh(bits=BITS, centre=centre)
    codes = transform(learner, train(learner, start(learner, x), default_batches(learner, x)), x) > 0
    wanted = angle / np.pi
    assert abs((codes[0] != codes[1]).mean() - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / BITS)


def test_a_code_has_a_bit() -> None:
    with pytest.raises(SettingsError, match="bits=0"):
        Lsh(bits=0)
