"""Tests of users' own are held against what the real score job decides."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from verdict.pipelines.engines.embedded.from_files import run_files
from verdict.pipelines.errors import SpecError
from verdict.pipelines.formats.avro_file import read_records
from verdict.pipelines.jobs import score
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.load import load, over
from verdict.pipelines.testing.check import read
from verdict.pipelines.testing.run import UNASKED, CheckedValue, Harness, Outcome

CARD_FRAUD = Path(__file__).parents[3] / "examples" / "card-fraud"
PAYMENTS = """\
  - name: {name}
    given: {{card_id: a}}
    events:
      - {{id: p1, time: 2026-01-05T09:00:00Z, amount: 1.10}}
      - {{id: p2, time: 2026-01-05T09:01:00Z, amount: 100}}
    expect:
      - {{event: p2, {expect}}}
"""


def outcomes(path: Path, pipeline: Path | None = None) -> dict[str, Outcome]:
    file = read(path)
    loaded = load(pipeline or file.pipeline)
    harness = Harness(loaded)
    return {case.name: harness.run(case) for case in file.cases(loaded)}


def differing(outcome: Outcome) -> list[str]:
    return [row.name for result in outcome.results for row in result.rows if row.differs]


@pytest.fixture
def ran(tiny: Path) -> Callable[[str], Outcome]:
    """Run one test of two payments with one card, for what it expects of the second."""

    def run(expect: str) -> Outcome:
        path = tiny / "pipeline_test.yaml"
        path.write_text("tests:\n" + PAYMENTS.format(name="one", expect=expect))
        return outcomes(path)["one"]

    return run


@pytest.mark.parametrize(
    "path", [CARD_FRAUD / "pipeline_test.yaml", resource("init/pipeline_test.yaml")]
)
def test_the_tests_that_come_with_pipelines_pass(path: Path) -> None:
    found = outcomes(path)
    assert len(found) >= 3
    assert {name: differing(outcome) for name, outcome in found.items() if not outcome.ok} == {}


@pytest.mark.parametrize(
    ("expect", "differs"),
    [
        ("features: {card_count_1h: 2, amount: 100}, action: approve, rules: []", []),
        ("features: {card_count_1h: 1}", ["card_count_1h"]),
        ("features: {card_count_1h: 2.0000000001}", []),
        ("features: {card_count_1h: 2.00000001}", ["card_count_1h"]),
        ("features: {card_count_1h: true}", ["card_count_1h"]),
        ("features: {card_count_1h: null}", ["card_count_1h"]),
        ("features: {card_count_1h: {value: 2.0000000001, tolerance: 0}}", ["card_count_1h"]),
        ("features: {amount: {value: 99.9, tolerance: 0.1}}", []),
        ("features: {amount: {value: 99.5, tolerance: 0.5}}", []),
        ("features: {amount: {value: 99.5, tolerance: 0.4}}", ["amount"]),
        ("score: 0.2689414", []),
        ("score: 0.26895", ["score"]),
        ("score: 0.3, tolerance: 0.05", []),
        ("score: 0.3, tolerance: 0.03", ["score"]),
        ("score: null", ["score"]),
        ("action: review", ["action"]),
        ("dead_letter: implausible", ["dead letter"]),
    ],
)
def test_what_is_named_is_held_against_the_decision(
    ran: Callable[[str], Outcome], expect: str, differs: list[str]
) -> None:
    outcome = ran(expect)
    (result,) = outcome.results  # nothing is expected of p1
    assert (result.event, result.line) == ("p2", 8)
    assert differing(outcome) == differs
    assert outcome.ok == (not differs)


def test_a_result_has_all_that_the_decision_has(ran: Callable[[str], Outcome]) -> None:
    (result,) = ran("score: 0.3, tolerance: 0.05, action: review").results
    score = result.rows[2]
    assert score.actual == pytest.approx(0.2689414)
    assert result.rows == (
        CheckedValue("amount", UNASKED, 100.0),
        CheckedValue("card_count_1h", UNASKED, 2.0),
        CheckedValue("score", 0.3, score.actual, False, 0.05),
        CheckedValue("action", "review", "approve", True),
        CheckedValue("rules", UNASKED, []),
        CheckedValue("because", UNASKED, "otherwise"),
    )


@pytest.mark.parametrize(
    ("rules", "differs"),
    [("[slow, big]", []), ("[big]", ["rules"]), ("[big, odd]", ["rules"]), ("[]", ["rules"])],
)
def test_rules_are_all_that_fired_in_any_order(
    tiny: Path, ran: Callable[[str], Outcome], rules: str, differs: list[str]
) -> None:
    pipeline = tiny / "pipeline.yaml"
    fired = (
        "  rules:\n    - {name: big, when: amount > 50}\n    - {name: slow, when: amount > 60}\n"
    )
    pipeline.write_text(pipeline.read_text() + fired + "    - {name: odd, when: amount > 1000}\n")
    assert differing(ran(f"rules: {rules}")) == differs


def test_every_test_has_a_state_of_its_own(tiny: Path) -> None:
    path = tiny / "pipeline_test.yaml"
    expect = "features: {card_count_1h: 2}"
    path.write_text(
        "tests:\n" + "".join(PAYMENTS.format(name=name, expect=expect) for name in "abc")
    )
    assert all(outcome.ok for outcome in outcomes(path).values())


def test_a_dead_letter_that_nobody_expects_fails(tiny: Path) -> None:
    path = tiny / "pipeline_test.yaml"
    path.write_text(
        "tests:\n" + PAYMENTS.format(name="one", expect="action: approve").replace("1.10", "ten")
    )
    dead, decided = outcomes(path)["one"].results
    assert (dead.event, dead.line, dead.ok) == ("p1", 5, False)
    assert dead.rows[0] == CheckedValue("dead letter", "decision", "wrong-type", True)
    assert "field 'amount' has the wrong type" in dead.rows[1].actual
    assert decided.ok


def test_an_event_that_is_sent_again_may_have_two_expectations(tiny: Path) -> None:
    pipeline, path = tiny / "pipeline.yaml", tiny / "pipeline_test.yaml"
    event = "{id: p1, time: 2026-01-05T09:00:00Z, card_id: a, amount: 1}"
    text = (
        f"tests:\n  - name: again\n    events: [{event}, {event}]\n    expect:\n"
        "      - {event: p1, features: {card_count_1h: 1}}\n"
        "      - {event: p1, features: {card_count_1h: 1}}\n"
    )
    path.write_text(text)
    first, second = outcomes(path)["again"].results
    assert (first.ok, second.ok) == (True, False)
    assert (first.line, second.line) == (5, 6)
    pipeline.write_text(pipeline.read_text().replace("entities:", "  dedupe: 1h\nentities:"))
    assert outcomes(path)["again"].ok


def test_a_feature_without_value_is_null_and_so_is_the_score(tiny: Path) -> None:
    pipeline, path = tiny / "pipeline.yaml", tiny / "pipeline_test.yaml"
    text = pipeline.read_text().replace("amount: amount", "amount: 1 / (amount - 100)")
    pipeline.write_text(text + "  missing: review\n")
    schema = tiny / "event.avsc"
    schema.write_text(schema.read_text().replace('"amount"', '"amount_"'))
    pipeline.write_text(pipeline.read_text().replace("(amount -", "(amount_ -"))
    expect = "features: {amount: null}, score: null, action: review"
    tests = "tests:\n" + PAYMENTS.format(name="one", expect=expect).replace(
        "amount: 1", "amount_: 1"
    )
    path.write_text(tests)
    (result,) = outcomes(path)["one"].results
    assert result.ok
    assert math.isnan(result.rows[0].actual)
    assert result.rows[2] == CheckedValue("score", None, None)
    path.write_text(tests.replace("amount: null", "amount: 3").replace("score: null", "score: 1"))
    assert differing(outcomes(path)["one"]) == ["amount", "score"]


def test_the_decisions_are_those_of_a_run_from_files(example: Any, tmp_path: Path) -> None:
    """A week of the example's payments, written as a test, bit for bit."""
    pipeline = over(example.pipeline, [example.events])
    run_files(
        [score.score(pipeline)],
        [example.events],
        pipeline.schema,
        pipeline.topics,
        tmp_path / "state",
        tmp_path / "out",
    )
    decided = list(read_records(tmp_path / "out/decisions.avro"))[:200]
    events = {record["transaction_id"]: record for record in read_records(example.events)}
    last = max(record["event_time"] for record in decided)
    lines = ["tests:", "  - name: a week", "    events:"]
    for record in events.values():
        if record["event_time"] <= last:
            fields = {**record, "event_time": record["event_time"].isoformat()}
            lines.append(f"      - {as_yaml(fields)}")
    lines.append("    expect:")
    for decision in decided:
        features = {
            name: f"{{value: {value!r}, tolerance: 0}}"
            for name, value in decision["features"].items()
        }
        wanted = {
            "event": repr(decision["event_id"]),
            "features": as_yaml(features, str),
            "score": repr(decision["score"]),
            "tolerance": "0",
            "action": decision["action"],
            "rules": f"[{', '.join(decision['rules'])}]",
        }
        lines.append(f"      - {as_yaml(wanted, str)}")
    path = tmp_path / "pipeline_test.yaml"
    path.write_text("\n".join(lines))
    file = read(path)
    (case,) = file.cases(example.pipeline)
    found = {result.event: result for result in Harness(example.pipeline).run(case).results}
    for decision in decided:
        rows = found[decision["event_id"]].rows
        assert not [row for row in rows if row.differs]
        assert {row.name: row.actual for row in rows[:15]} == decision["features"]


def as_yaml(fields: dict[str, Any], say: Callable[[Any], str] = lambda v: repr(str(v))) -> str:
    shown = []
    for name, value in fields.items():
        inner = as_yaml(value) if isinstance(value, dict) else say(value)
        shown.append(f"{name}: {'null' if value is None else inner}")
    return "{" + ", ".join(shown) + "}"


def test_confluent_asks_no_registry(variant: Callable[..., Path], tmp_path: Path) -> None:
    """Neither for the events' schemas nor for the decisions': at that address there is none."""
    file = variant(
        tmp_path / "pipeline.yaml",
        events={"format": "confluent"},
        settings={"schemas": {"registry": "http://127.0.0.1:9"}, "output_format": "confluent"},
    )
    shutil.copy(CARD_FRAUD / "pipeline_test.yaml", tmp_path)
    found = outcomes(tmp_path / "pipeline_test.yaml", file)
    assert all(outcome.ok for outcome in found.values())


def test_a_model_that_is_refused_is_said(tiny: Path) -> None:
    (tiny / "model" / "model.onnx").write_bytes(b"none")
    with pytest.raises(SpecError, match=r"pipeline\.yaml:12: "):
        outcomes(tiny / "pipeline_test.yaml")


def test_nothing_is_left_behind(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = sorted(tiny.rglob("*"))
    outcomes(tiny / "pipeline_test.yaml")
    assert sorted(tiny.rglob("*")) == before
    assert list(temporary.iterdir()) == []
