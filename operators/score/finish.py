"""The end of the last hop: look up, compute, score, decide, encode."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from operator import itemgetter
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.events.event import Event
from verdict.operators.expressions import Variable
from verdict.operators.features.formulas import Formulas
from verdict.operators.features.lookups import Lookups
from verdict.operators.meter import Meter
from verdict.operators.models.bundle import Bundle
from verdict.operators.models.card import Card
from verdict.operators.models.outputs import Scored
from verdict.operators.names import DECISIONS
from verdict.operators.policy.decide import SCORE, Decide, Verdict
from verdict.operators.records import avro as out
from verdict.operators.records.decision import NO_MONEY, PRESENT, amount_bytes
from verdict.operators.score.carry import Carry


class Finish:
    """From a `Carry` with every aggregate to the encoded decision.

    Parameters
    ----------
    formulas
        The features that need no state.
    bundle
        The champion.
    decide
        The policy.
    money
        Takes amount and currency out of an event; None where the pipeline names none.
    encode
        Encodes a decision, or keeps it as a `Row`; its features come in the order of ``names``.
    names
        Every feature's name in the order in which it becomes known: those of each hop, those that
        are looked up, then those of the event alone.
    order
        The same in the order of the record.
    field
        What stands for a field in Python over ``fields``.
    lookups
        The features that stand in tables, known after the hops'; None where there are none.
    """

    output: str = DECISIONS

    def __init__(
        self,
        formulas: Formulas,
        bundle: Bundle,
        decide: Decide,
        money: "Money | None",
        encode: Callable[..., Any],
        names: Sequence[str],
        order: Sequence[str],
        field: Callable[[str], Variable],
        lookups: Lookups | None = None,
    ) -> None:
        self._formulas = formulas
        self.lookups = lookups
        self._bundle = bundle
        self._decide = decide
        self._money = money
        self._encode = encode
        self._names = names
        self._order = order
        self._inputs = _taker(names, bundle.card.features)

        def variable(name: str) -> Variable:
            if name == SCORE:
                return Variable("score", True)
            if name in names:  # of an event that is scored, each has a value
                return Variable(f"features[{names.index(name)}]", True)
            return field(name)

        self._judge = decide.over("features, fields", variable)

    def __call__(self, carry: Carry, meter: Meter, timed: bool) -> Any:
        """Return the encoded decision; with ``timed``, tell the meter how long each step took.

        Raises
        ------
        BadRecord
            The event cannot be scored.
        """
        if self.lookups is not None:
            carry.features.extend(self.lookups(carry.event))
            if timed:
                meter.lap("lookups")
        carry.features.extend(self._formulas(carry.event.fields, carry.features))
        if timed:
            meter.lap("formulas")
        # Where a feature has no value, no model can score the event.
        known = None not in carry.features
        scored = self._bundle(self._inputs(carry.features)) if known else None
        if timed:
            meter.lap("score")
        [end] = self._concluded([carry], [scored], meter, timed)
        if isinstance(end, BadRecord):
            raise end
        return end

    def many(self, carries: Sequence[Carry], meter: Meter) -> list[Any | BadRecord]:
        """Do the same for many at once; an error stands in the place of what it kept from being."""
        timed = bool(carries) and meter.start()
        if self.lookups is not None:
            for carry in carries:
                carry.features.extend(self.lookups(carry.event))
            if timed:
                meter.lap("lookups", len(carries))
        formulas, inputs = self._formulas, self._inputs
        for carry in carries:
            features = carry.features
            features += formulas(carry.event.fields, features)
        if timed:
            meter.lap("formulas", len(carries))
        known = _known([carry.features for carry in carries])
        rows = [inputs(carry.features) for carry in compress(carries, known)]
        scores: Sequence[Scored | BadRecord | None] = self._bundle.many(rows)
        if timed:
            meter.lap("score", len(rows) or 1)
        if len(rows) < len(carries):
            of_rows = iter(scores)
            scores = [next(of_rows) if each else None for each in known]
        return self._concluded(carries, scores, meter, timed)

    @property
    def card(self) -> Card:
        """What the model says of itself."""
        return self._bundle.card

    @property
    def batches(self) -> bool:
        """Whether `many` makes the same bytes as one by one, and saves time."""
        return self._bundle.batches

    def _concluded(
        self,
        carries: Sequence[Carry],
        scores: Sequence[Scored | BadRecord | None],
        meter: Meter,
        timed: bool,
    ) -> list[Any | BadRecord]:
        """Decide, and encode the decisions; an event that is timed stands for all of them."""
        judge, encode, money_of, counts = self._judge, self._encode, self._money, meter.counts
        found: list[Any | BadRecord] = []
        for carry, scored in zip(carries, scores, strict=True):
            event, implausible, features, hops, _, _, repeated = carry
            event_id, time, _, fields, _ = event
            score: float | None
            classes: Sequence[float]
            known: Sequence[float | None] = features
            if type(scored) is tuple:
                score, classes = scored
                verdict = judge(features, fields, score, implausible)
            else:
                try:
                    verdict = self._without_score(features, fields, scored)
                except BadRecord as error:
                    found.append(error)
                    continue
                score, classes = None, ()
                known = [math.nan if value is None else value for value in features]
            counts["decisions", verdict[0]] += 1
            if repeated:
                counts[("repeated",)] += 1
            if timed:
                meter.lap("decide")
            money = NO_MONEY if money_of is None else money_of(event)
            found.append(
                encode(
                    event_id,
                    time,
                    hops,
                    money,
                    repeated,
                    score,
                    classes,
                    verdict,
                    implausible,
                    known,
                    fields,
                )
            )
            if timed:
                meter.lap("encode")
                timed = False
        return found

    def _without_score(
        self,
        features: Sequence[float | None],
        fields: Mapping[str, Any],
        error: Any,
    ) -> Verdict:
        """Decide an event that no model can score; raise the error of one that it failed on."""
        if isinstance(error, BadRecord):
            raise error
        found = dict(zip(self._names, features, strict=True))
        without = next(name for name in self._order if found[name] is None)
        return self._decide.missing({**fields, **found, SCORE: None}, without)


def _known(every: Sequence[Sequence[float | None]]) -> Sequence[bool]:
    """Say of each event whether all its features have a value.

    To add numbers up is a quarter of the work of looking for None among them.
    """
    try:
        for features in every:
            sum(features)  # type: ignore[arg-type]  # which None in it does not let be done
    except TypeError:
        return [None not in features for features in every]
    return [True] * len(every)


def _taker(
    names: Sequence[str], wanted: Sequence[str]
) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Compile a function that takes values by their places among the names, always as a tuple."""
    places = [names.index(name) for name in wanted]
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple([values[place] for place in places])


class Money:
    """Takes an event's amount and currency, and encodes them.

    Parameters
    ----------
    path, scale
        Where the amount is, and its decimal places.
    currency, currency_path
        The currency of all events; or, where that is None, where it is.
    """

    def __init__(
        self, path: str, scale: int, currency: str | None, currency_path: str | None
    ) -> None:
        self._path = path
        self._scale = scale
        self._currency = None if currency is None else PRESENT + out.text(currency)
        self._currency_path = currency_path or ""

    def __call__(self, event: Event) -> bytes:
        """Encode an event's money, or that it has none."""
        unscaled = event.units[self._path]
        if unscaled is None:
            return NO_MONEY
        amount = PRESENT + out.data(amount_bytes(unscaled, self._scale))
        if self._currency is not None:
            return amount + self._currency
        currency = event.fields[self._currency_path]
        return amount + (out.NULL if currency is None else PRESENT + out.text(currency))
