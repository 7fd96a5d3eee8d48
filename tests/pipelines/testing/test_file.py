"""A file of tests that cannot be right says where, and what was meant."""

from pathlib import Path

import pytest

from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec.load import load
from verdict.pipelines.testing.check import read

CARD_FRAUD = Path(__file__).parents[3] / "examples" / "card-fraud"
GOOD = """\
pipeline: {pipeline}
given:
  customer_id: c1
  channel: pos
  currency: EUR
  merchant_category: grocery
tests:
  - name: first
    given:
      terminal: {{country: FR}}
    events:
      - {{transaction_id: a, event_time: 2026-03-02T09:00:00Z, amount: 18.20, terminal: {{id: t}}}}
      - transaction_id: b
        event_time: 2026-03-02T09:00:00Z
        terminal: null
        amount: 5
    expect:
      - event: a
        features:
          customer_count_1h: 1
          customer_mean_1d: {{value: 18, tolerance: 0.5}}
        score: 0.1
        tolerance: 0.5
        action: approve
        rules: [large_amount]
      - {{event: b, dead_letter: implausible}}
"""


def write(folder: Path, old: str = "", new: str = "") -> Path:
    text = GOOD.format(pipeline=CARD_FRAUD / "pipeline.yaml")
    assert old in text
    path = folder / "pipeline_test.yaml"
    path.write_text(text.replace(old, new, 1) if old else text)
    return path


def read_cases(path: Path) -> None:
    """Read a file's cases, by the pipeline that it names."""
    file = read(path)
    file.cases(load(file.pipeline))


def test_a_right_file_is_read(tmp_path: Path) -> None:
    file = read(write(tmp_path))
    (case,) = file.cases(load(file.pipeline))
    assert (case.name, case.line) == ("first", 8)
    assert [(sent.id, sent.line) for sent in case.events] == [("a", 18), ("b", 26)]
    expected = case.events[0].expected
    assert expected is not None
    assert expected.features["customer_mean_1d"].tolerance == 0.5


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: first", "nmae: first", ":8: there is no setting 'tests.0.nmae'. Did you mean 'na"),
        ("event: a", "evnt: a", ":18: there is no setting 'tests.0.expect.0.evnt'. Did you mean"),
        ("event: a", "event: aa", ":18: no event of the test is 'aa'. Did you mean 'a'?"),
        ("event: b", "event: xyz", ":26: no event of the test is 'xyz'. There are: a, b."),
        ("event: b", "event: a", ":26: event 'a' comes once: too much is expected of it"),
        ("event: b", "event: 1.5", ":26: tests.0.expect.1.event: text is wanted, not 1.5"),
        (
            "customer_count_1h: 1",
            "customer_cuont_1h: 1",
            ":20: the pipeline has no feature 'customer_cuont_1h'. Did you mean 'customer_count_1h",
        ),
        ("customer_count_1h: 1", "customer_count_1h: one", ":20: tests.0.expect.0.features."),
        ("value: 18,", "valu: 18,", ":21: there is no setting 'tests.0.expect.0.features."),
        ("tolerance: 0.5\n", "tolerance: -1\n", ":23: tests.0.expect.0.tolerance: Input should be"),
        ("        score: 0.1\n", "", ":22: 'tolerance' is of the score: say which 'score', too"),
        ("action: approve", "action: aprove", ":24: nothing in the pipeline leads to the action "),
        ("action: approve", "action: null", ":24: 'action' is empty: say which, or leave it out"),
        ("[large_amount]", "[large]", ":25: the pipeline has no rule 'large'. There are: large_a"),
        ("large_amount]", "x]\n        dead_letter: y", ":26: a dead letter has no features, sco"),
        (", dead_letter: implausible", "", ":26: tests.0.expect.1: say what comes of it: featur"),
        ("channel: pos", "channel: post", ":4: event a: 'channel' is one of pos, online by the s"),
        ("country: FR", "country: 1", ":10: event a: 'terminal.country' is a string by the schem"),
        ("        amount: 5", "        amuont: 5", ":16: event b: the schema has no field 'amuon"),
        ("        amount: 5\n", "", ":13: event b: 'amount' is missing, and has no default in the"),
        ("given:\n  cust", "gievn:\n  cust", ":2: there is no setting 'gievn'. Did you mean 'giv"),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = write(tmp_path, old, new)
    with pytest.raises(SpecError) as caught:
        read_cases(path)
    assert any(message.startswith(f"{path}{says}") for message in caught.value.messages), str(
        caught.value
    )
    assert len(caught.value.messages) == len(set(caught.value.messages))


def test_all_mistakes_come_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "channel: pos", "channel: post")
    path.write_text(path.read_text().replace("event: b,", "event: c,").replace("l_a", "l_b"))
    with pytest.raises(SpecError) as caught:
        read_cases(path)
    lines = [int(message.split(":")[1]) for message in caught.value.messages]
    assert lines == sorted(lines)
    assert {4, 26} <= set(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tests: []", ":1: tests: List should have at least 1 item"),
        ("pipeline: x", ":1: 'tests' is missing"),
        ("tests:\n  - {name: a, events: [{id: 1}], expect: []}", ":2: tests.0.expect: List should"),
        ("tests:\n  - {name: a, events: [], expect: []}", ":2: tests.0.events: List should have"),
        (
            "tests:\n  - &a {name: a, events: [{x: 1}], expect: [{event: 1, action: b}]}\n  - *a",
            "two tests are called 'a'",
        ),
    ],
)
def test_a_file_that_tests_nothing_is_a_mistake(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "pipeline_test.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        read(path)
    assert says in str(caught.value)
