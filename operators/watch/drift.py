"""Drift of one number, window by window: PSI against the baseline, ADWIN over the means."""

import importlib
import math
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from verdict.operators.message import Emit
from verdict.operators.models.histogram import psi
from verdict.operators.names import DRIFT
from verdict.operators.records.streams import Encode
from verdict.operators.watch.bucket import Watched

MEMORY = 512
"""Windows whose means ADWIN sees; it is rebuilt from them as each window closes (about 2 us each),
so the state is plain numbers, and a restart or a new river changes nothing."""

LOADING = threading.Lock()
"""A Flink worker opens its operators in threads."""

ADWIN_GRACE = 4
"""Windows before ADWIN tests: each stands for hundreds of events, so few will do."""


class Drifts:
    """Judges the windows of each watched number.

    Parameters
    ----------
    pipeline
        Its name.
    watched
        What is watched.
    window
        Milliseconds.
    psi_alarm
        PSI from which a window is an alarm.
    adwin_delta
        ADWIN's confidence.
    min_events
        A window with fewer is ``sparse``: shown, not judged.
    encode
        Encodes a drift record.
    """

    def __init__(
        self,
        pipeline: str,
        watched: Sequence[Watched],
        window: int,
        psi_alarm: float,
        adwin_delta: float,
        min_events: int,
        encode: Encode,
    ) -> None:
        self._adwin = load_adwin()
        self._pipeline = pipeline
        self._watched: Mapping[str, Watched] = {item.name: item for item in watched}
        self._window = window
        self._psi_alarm = psi_alarm
        self._adwin_delta = adwin_delta
        self._min_events = min_events
        self._encode = encode

    def __call__(
        self, name: str, start: int, parts: Sequence[dict[str, Any]], memory: dict[str, Any]
    ) -> Emit:
        """Judge one window.

        Parameters
        ----------
        name
            Of the feature, or ``score``.
        start
            Of the window, milliseconds.
        parts
            The buckets' summaries, in their order.
        memory
            The number's own, changed in place: ``first`` window, ADWIN's ``means``, ``since`` when
            the alarm is on.
        """
        item = self._watched[name]
        after = [sum(cell) for cell in zip(*(part["counts"] for part in parts), strict=True)]
        missing = after[-1]
        known = sum(after) - missing
        mean, std = _moments(parts, known, item.mean)
        first = memory.setdefault("first", start)
        value = psi(item.expected, after) if item.expected else None
        detectors: list[str] = []
        if start < first + item.warm_up:
            state = "cold"
        elif sum(after) < self._min_events or mean is None:
            state = "sparse"
        else:
            if value is not None and value >= self._psi_alarm:
                detectors.append("psi")
            if self._shifted(memory, mean, item, known):
                detectors.append("adwin")
            state = "alarm" if detectors else "stable"
        if state == "alarm":
            memory.setdefault("since", start)
        elif state == "stable":
            memory.pop("since", None)
        record = {
            "pipeline": self._pipeline,
            "feature": name,
            "window_start": start,
            "window_end": start + self._window,
            "count": sum(after),
            "missing": missing,
            "mean": mean,
            "std": std,
            "state": state,
            "psi": value,
            "detectors": detectors,
            "since": memory.get("since"),
            "edges": list(item.edges),
            "before": list(item.expected),
            "after": after,
        }
        return Emit(DRIFT, name.encode(), self._encode(record))

    def _shifted(self, memory: dict[str, Any], mean: float, item: Watched, known: int) -> bool:
        """Feed ADWIN one window's mean, in standard errors from the baseline's mean.

        In that unit a stable stream has variance about 1 whatever the feature's scale; ADWIN's
        bound is meant for values of about that size.
        """
        error = item.std / math.sqrt(known)
        distance = (mean - item.mean) / error if error else 0.0
        means: list[float] = memory.setdefault("means", [])
        means.append(distance)
        del means[:-MEMORY]
        adwin = self._adwin(
            delta=self._adwin_delta, clock=1, grace_period=ADWIN_GRACE, min_window_length=2
        )
        shifted = False
        for value in means:
            adwin.update(value)
            shifted = adwin.drift_detected
        if shifted:  # ADWIN has dropped what lies before the shift; so does its memory
            del means[: -int(adwin.width)]
        return shifted


def _moments(
    parts: Sequence[dict[str, Any]], known: int, centre: float
) -> tuple[float | None, float | None]:
    if not known:
        return None, None
    total, squares = 0.0, 0.0
    for part in parts:
        total += part["sum"]
        squares += part["squares"]
    offset = total / known
    return centre + offset, math.sqrt(max(squares / known - offset * offset, 0.0))


def load_adwin() -> Any:
    """Import river's ``ADWIN`` without the package around it, which imports its data sets.

    With them come pandas and SciPy: 140 MB, a second of CPU, and three where scikit-learn is
    installed; each process that watches would pay them for one class.

    Examples
    --------
    >>> load_adwin()().width
    0.0
    """
    name = "river.drift"
    with LOADING:
        if name in sys.modules:
            return importlib.import_module(name).ADWIN
        river = importlib.import_module("river")
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(Path(folder) / "drift") for folder in river.__path__]
        try:
            return importlib.import_module(f"{name}.adwin").ADWIN
        finally:
            del sys.modules[name]  # whoever wants all of it may still import it
