"""The shadow job's operator: every challenger scores what the champion decided."""

from collections.abc import Iterable, Sequence
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.message import Emit, Message
from verdict.operators.meter import Meter
from verdict.operators.models.bundle import Bundle
from verdict.operators.names import SHADOW_SCORES, BadKind, JobName
from verdict.operators.policy.decide import SCORE, Decide
from verdict.operators.records.dead_letter import Refusals, present
from verdict.operators.records.streams import Decode, Encode
from verdict.state.store.keyed import KeyedState


class Shadow:
    """Scores each decision with each challenger, from the features that the decision records.

    A challenger that fails on a record makes a dead letter of this job; the decision stands.
    A producer's repeat, and an event that could not be scored, are left out.

    Parameters
    ----------
    pipeline
        Its name.
    challengers
        Their bundles.
    decide
        The policy, the same for every model.
    decode, encode, encode_dead
        Of a decision, a shadow score, a dead letter.
    """

    def __init__(
        self,
        pipeline: str,
        challengers: Sequence[Bundle],
        decide: Decide,
        decode: Decode,
        encode: Encode,
        encode_dead: Encode,
    ) -> None:
        self.meter = Meter()
        self.models = tuple(bundle.card for bundle in challengers)
        """What the models that it asks say of themselves."""
        self._pipeline = pipeline
        self._challengers = challengers
        self._decide = decide
        self._decode = decode
        self._encode = encode
        self._refuse = Refusals(pipeline, JobName.SHADOW, encode_dead, self.meter)

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Return each challenger's score; none of a decision that is repeated or has no score."""
        try:
            decision = self._decode(present(message.value))
        except BadRecord as error:
            return [self._refuse(message, error)]
        if decision["repeated"] or decision["score"] is None:
            return ()  # the first decision of the id stands; what no model can score has no rival
        return [self._score(message, decision, bundle) for bundle in self._challengers]

    def _score(self, message: Message, decision: dict[str, Any], bundle: Bundle) -> Emit:
        features = decision["features"]
        card = bundle.card
        try:
            missing = [name for name in card.features if name not in features]
            if missing:
                raise BadRecord(
                    BadKind.NO_VALUE,
                    f"the decision lacks '{missing[0]}', which {card.name} asks for",
                )
            score, _ = bundle([features[name] for name in card.features])
            values = {**decision["fields"], **features, SCORE: score}
            missing = [name for name in self._decide.reads if name not in values]
            if missing:  # an older release of the pipeline made it, with other rules
                raise BadRecord(
                    BadKind.NO_VALUE, f"the decision lacks '{missing[0]}', which rules read"
                )
            verdict = self._decide(values, score, decision["implausible"])
        except BadRecord as error:
            return self._refuse(message, error)
        record = {
            "pipeline": self._pipeline,
            "event_id": decision["event_id"],
            "event_time": decision["event_time"],
            "amount": decision["amount"],
            "currency": decision["currency"],
            "champion": {
                **decision["model"],
                "score": decision["score"],
                "action": decision["action"],
                "because": decision["because"],
            },
            "challenger": {
                "name": card.name,
                "version": card.version,
                "sha256": card.sha256,
                "score": score,
                "action": verdict.action,
                "because": verdict.because,
            },
        }
        return Emit(SHADOW_SCORES, message.key or b"", self._encode(record))
