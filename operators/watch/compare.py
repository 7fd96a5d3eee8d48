"""Champion against challenger: who would have been treated otherwise, and what it is worth."""

import json
from collections.abc import Sequence
from typing import Any

from verdict.operators.message import Emit
from verdict.operators.names import COMPARISON
from verdict.operators.records.decision import AMOUNT_SCALE, amount_bytes
from verdict.operators.records.streams import Encode

MAX_CURRENCIES, MAX_CODE = 300, 16
"""Most currencies that amounts are added up in, and most characters of one; ISO 4217 has 180, of
three letters. Without a limit, a producer of garbage makes records that Kafka does not take."""


def add_amount(amounts: dict[str, int], currency: str, amount: int) -> None:
    """Add an amount to those of its currency; one currency too many is left out.

    >>> amounts = {"EUR": 5}
    >>> add_amount(amounts, "EUR", 2)
    >>> add_amount(amounts, "E" * 17, 2)
    >>> amounts
    {'EUR': 7}
    """
    if currency in amounts:
        amounts[currency] += amount
    elif len(amounts) < MAX_CURRENCIES and len(currency) <= MAX_CODE:
        amounts[currency] = amount


class Comparisons:
    """Keeps the running totals of each challenger.

    Parameters
    ----------
    pipeline
        Its name.
    window
        Milliseconds.
    encode
        Encodes a comparison record.
    """

    def __init__(self, pipeline: str, window: int, encode: Encode) -> None:
        self._pipeline = pipeline
        self._window = window
        self._encode = encode

    def __call__(
        self, name: str, start: int, parts: Sequence[dict[str, Any]], memory: dict[str, Any]
    ) -> Emit:
        """Add one window to the totals.

        Parameters
        ----------
        name
            The challenger, ``name:version``.
        start
            Of the window, milliseconds.
        parts
            The buckets' summaries, in their order.
        memory
            The challenger's own, changed in place.
        """
        pairs: dict[str, Any] = memory.setdefault("pairs", {})
        count = 0
        for part in parts:
            memory["difference"] = memory.get("difference", 0.0) + part["difference"]
            for pair, (seen, amounts) in part["pairs"].items():
                total = pairs.setdefault(pair, [0, {}])
                total[0] += seen
                count += seen
                for currency, amount in amounts.items():
                    add_amount(total[1], currency, amount)
        total = sum(pair[0] for pair in pairs.values())
        matrix = [(*json.loads(pair), *cell) for pair, cell in sorted(pairs.items())]
        agreed = sum(seen for champion, challenger, seen, _ in matrix if champion == challenger)
        record = {
            "pipeline": self._pipeline,
            "champion": parts[-1]["champion"],
            "challenger": name,
            "window_start": start,
            "window_end": start + self._window,
            "count": count,
            "total": total,
            "agreed": agreed,
            "agreement": agreed / total,
            "score_difference": memory["difference"] / total,
            "actions": [
                {
                    "champion": champion,
                    "challenger": challenger,
                    "count": seen,
                    "amounts": {
                        currency: amount_bytes(amount, AMOUNT_SCALE)
                        for currency, amount in sorted(amounts.items())
                    },
                }
                for champion, challenger, seen, amounts in matrix
            ],
        }
        return Emit(COMPARISON, name.encode(), self._encode(record))
