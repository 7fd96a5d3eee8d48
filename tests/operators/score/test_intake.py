"""From a raw record to what travels: what is plausible, and what is refused."""

from typing import Any

import pytest

from verdict.operators.score.intake import Plausible


@pytest.mark.parametrize(
    ("check", "value", "holds"),
    [
        (Plausible("f", 0.0, 1.0, None, True), 0.0, True),
        (Plausible("f", 0.0, 1.0, None, True), 1.0, True),
        (Plausible("f", 0.0, 1.0, None, True), -0.001, False),
        (Plausible("f", 0.0, 1.0, None, True), 1.001, False),
        (Plausible("f", 0.0, None, None, True), 1e300, True),
        (Plausible("f", None, 0.0, None, True), -1e300, True),
        (Plausible("f", 0.0, 1.0, None, True), None, True),
        (Plausible("f", None, None, frozenset({"a"}), True), "a", True),
        (Plausible("f", None, None, frozenset({"a"}), True), "A", False),
        (Plausible("f", None, None, frozenset({"a"}), True), None, True),
        (Plausible("f", 2.0, None, frozenset({1, 3}), True), 3, True),
        (Plausible("f", 2.0, None, frozenset({1, 3}), True), 1, False),
    ],
)
def test_plausible(check: Plausible, value: Any, holds: bool) -> None:
    assert check.holds(value) is holds
