"""What was found as JSON, whose names users rely on."""

import json

from verdict.pipelines.parity.compare import Difference
from verdict.pipelines.parity.summary import ParitySummary
from verdict.pipelines.replay.past import ReplayCounts


def test_its_names_are_those_of_the_command_s_json() -> None:
    summary = ParitySummary(shown=[Difference("p", "e/0/1", "f", float("nan"), 1.0, "")])
    found = json.loads(json.dumps(summary.as_json()))
    assert list(found) == [
        "decisions",
        "repeats",
        "events",
        "compared",
        "equal",
        "differing",
        "differences",
        "without_event",
        "without_decision",
        "lost",
        "before_decisions",
        "undecided",
        "other_pipeline",
        "forced",
        "features",
        "shown",
    ]
    assert found["shown"] == [
        {
            "event_id": "p",
            "source": "e/0/1",
            "feature": "f",
            "decided": "nan",
            "replayed": 1.0,
            "why": "",
        }
    ]


def test_it_takes_what_became_of_the_events() -> None:
    summary = ParitySummary(lost=1)
    summary.take_replayed(ReplayCounts(9, 4, 3, 2, 1))
    assert (summary.events, summary.without_decision, summary.before_decisions) == (9, 4, 3)
    assert (summary.undecided, summary.forced, summary.lost) == (2, 1, 1)
