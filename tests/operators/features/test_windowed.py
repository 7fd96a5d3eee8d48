"""From an event and its entity's history to numbers."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.operators.errors import BadRecord, ExpressionError, FunctionError
from verdict.operators.events.event import Event
from verdict.operators.events.schema import parse
from verdict.operators.expressions import Kind
from verdict.operators.features.columns import WindowedFeature, kinds, reads
from verdict.operators.features.formulas import Formula, Formulas, filled, in_order
from verdict.operators.features.functions import load_function
from verdict.operators.features.windowed import EntityFeatures
from verdict.operators.labels.label import Label
from verdict.state.store.keyed import MemoryState

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
SCHEMA = parse(
    {
        "type": "record",
        "name": "T",
        "fields": [
            {"name": "amount", "type": ["null", DECIMAL]},
            {"name": "distance", "type": ["null", "double"]},
            {"name": "items", "type": ["null", "long"]},
            {"name": "channel", "type": ["null", "string"]},
        ],
    }
)
MINUTE = 60_000


def event(time: int, **fields: Any) -> Event:
    values = {"distance": None, "items": None, "channel": None, "amount": None, **fields}
    cents = None if values["amount"] is None else round(values["amount"] * 100)
    return Event("e", time, ("c",), values, {"amount": cents, "items": values["items"]})


def feature(op: str, argument: str | None, default: float | None = None) -> WindowedFeature:
    return WindowedFeature(f"{op}_{argument}", op, argument, MINUTE, default)


# Aggregates of an entity


def test_decimals_and_integers_are_logged_exactly_and_expressions_as_doubles() -> None:
    features = EntityFeatures(
        [
            feature("count", None),
            feature("sum", "amount"),
            feature("mean", "amount"),
            feature("max", "items"),
            feature("sum", "distance * 2"),
            feature("count", "channel == 'online'"),
            feature("sum", "channel == 'online'"),
        ],
        SCHEMA,
        allowed_lateness=0,
    )
    state = MemoryState()
    for index in range(9):
        features(event(index, amount=0.1, items=index, distance=0.1, channel="pos"), state)
    found, seq, late, _ = features(
        event(9, amount=0.1, items=-5, distance=0.1, channel="online"), state
    )
    assert found == [10.0, 1.0, 0.1, 8.0, 2.0, 10.0, 1.0]
    assert (seq, late) == (10, False)


def test_a_null_counts_as_an_event_and_not_as_a_value() -> None:
    features = EntityFeatures(
        [
            feature("count", None),
            feature("count", "amount"),
            feature("count", "channel == 'online'"),
            feature("mean", "distance", default=-1.0),
        ],
        SCHEMA,
        allowed_lateness=0,
    )
    state = MemoryState()
    assert features(event(0), state)[0] == [1.0, 0.0, 0.0, -1.0]
    assert features(event(1, amount=5.0, distance=0.5), state)[0] == [2.0, 1.0, 0.0, 0.5]


@pytest.mark.parametrize("typed", [False, True])
def test_what_json_leaves_out_is_missing_though_the_schema_does_not_let_it_be_null(
    typed: bool,
) -> None:
    schema = parse(
        {"type": "record", "name": "T", "fields": [{"name": "items", "type": "long"}]},
    )
    asked = [WindowedFeature("s", "sum", "items", MINUTE, None)]
    features, state = EntityFeatures(asked, schema, 0, typed), MemoryState()
    assert features(Event("a", 1, ("c",), {}, {"items": 5}), state)[0] == [5.0]
    if not typed:
        assert features(Event("b", 2, ("c",), {}, {"items": None}), state)[0] == [5.0]
    assert features(Event("c", 3, ("c",), {}, {"items": 2}), state)[0] == [7.0]


def test_a_mean_of_nothing_without_a_default_has_no_value() -> None:
    features = EntityFeatures([feature("mean", "distance")], SCHEMA, allowed_lateness=0)
    assert features(event(0), MemoryState())[0] == [None]


def test_what_overflows_is_missing() -> None:
    features = EntityFeatures(
        [feature("sum", "distance", default=-1.0), feature("sum", "distance * 10", default=-2.0)],
        SCHEMA,
        allowed_lateness=0,
    )
    state = MemoryState()
    assert features(event(0, distance=1e308), state)[0] == [1e308, 0.0]  # 1e309 is no value
    assert features(event(1, distance=1e308), state)[0] == [-1.0, 0.0]
    product = " * ".join(["items"] * 20)
    features = EntityFeatures([feature("sum", product)], SCHEMA, allowed_lateness=0)
    assert features(event(0, items=2**62), MemoryState())[0] == [0.0]


def test_late_events_are_flagged_and_counted_in_their_place() -> None:
    features = EntityFeatures([feature("sum", "items")], SCHEMA, allowed_lateness=10)
    state = MemoryState()
    features(event(100_000, items=1), state)
    assert features(event(99_990, items=10), state) == ([10.0], 2, True, ())
    assert features(event(100_000, items=100), state) == ([111.0], 3, False, ())


def test_a_late_event_within_the_lateness_sees_its_whole_window() -> None:
    features = EntityFeatures([feature("sum", "items")], SCHEMA, allowed_lateness=10)
    state = MemoryState()
    for time, items in ((39_990, 1), (39_991, 10), (100_000, 100)):
        features(event(time, items=items), state)
    assert features(event(99_990, items=1_000), state)[0] == [1_010.0]


def test_an_entity_without_aggregates_counts_its_sequence() -> None:
    features, state = EntityFeatures([], SCHEMA, allowed_lateness=0), MemoryState()
    assert [features(event(time), state) for time in (5, 9, 7)] == [
        ([], 1, False, ()),
        ([], 2, False, ()),
        ([], 3, True, ()),
    ]


def test_an_event_without_the_entity_takes_the_defaults() -> None:
    features = EntityFeatures(
        [feature("count", None, default=0.0), feature("mean", "amount", default=7.5)], SCHEMA, 0
    )
    assert features.defaults == [0.0, 7.5]


def test_a_look_sees_what_the_event_saw_and_logs_nothing() -> None:
    features = EntityFeatures(
        [feature("sum", "items"), feature("mean", "distance", default=7.5)],
        SCHEMA,
        allowed_lateness=0,
    )
    state = MemoryState()
    assert features.look(event(100, items=3), state) == ([0.0, 7.5], 0, False, ())
    assert state.head is None
    features(event(100, items=3), state)
    first = features(event(200, items=4), state)
    head = state.head
    assert features.look(event(200, items=4), state) == first == ([7.0, 7.5], 2, False, ())
    assert features.look(event(100, items=3), state) == ([3.0, 7.5], 2, True, ())
    assert state.head == head


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 30_000), st.none() | st.integers(-(10**6), 10**6)), max_size=30
    )
)
def test_windows_are_what_a_recomputation_gives(steps: list[tuple[int, int | None]]) -> None:
    asked = [feature(op, "items", default=-1.0) for op in ("count", "sum", "mean", "min", "max")]
    features, state = EntityFeatures(asked, SCHEMA, allowed_lateness=0), MemoryState()
    seen: list[tuple[int, int | None]] = []
    time = 0
    for gap, items in steps:
        time += gap
        seen.append((time, items))
        found = features(event(time, items=items), state).values
        inside = [value for at, value in seen if time - MINUTE < at and value is not None]
        expected = [len(inside), sum(inside), -1.0, -1.0, -1.0]
        if inside:
            expected[2:] = [sum(inside) / len(inside), min(inside), max(inside)]
        assert found == expected


def test_only_events_on_which_the_condition_holds_count() -> None:
    def asked(op: str, argument: str | None, where: str | None) -> WindowedFeature:
        return WindowedFeature(f"{op}_{argument}_{where}", op, argument, MINUTE, None, where)

    online, dear = "channel == 'online'", "amount > 10"
    features, state = (
        EntityFeatures(
            [
                asked("count", None, online),
                asked("count", None, dear),
                asked("sum", "amount", online),
                asked("sum", "amount", None),
                asked("max", "distance", dear),
                asked("distinct", "channel", None),
                asked("distinct", "channel", dear),
                asked("distinct", "items", None),
                asked("time_since_last", None, online),
            ],
            SCHEMA,
            allowed_lateness=0,
        ),
        MemoryState(),
    )
    rows: list[dict[str, Any]] = [
        {"channel": "online", "amount": 5.0, "distance": 1.5, "items": 2**53},
        {"channel": "pos", "amount": 20.0, "distance": 0.5, "items": 2**53 + 1},
        {"channel": None, "amount": None, "distance": 9.0},
        {"channel": "online", "amount": 0.1},
    ]
    found = [features(event(1_000 * i, **row), state).values for i, row in enumerate(rows)]
    assert found == [
        [1.0, 0.0, 5.0, 5.0, None, 1.0, 0.0, 1.0, None],
        [1.0, 1.0, 5.0, 25.0, 0.5, 2.0, 1.0, 2.0, 1.0],
        [1.0, 1.0, 5.0, 25.0, 0.5, 2.0, 1.0, 2.0, 2.0],
        [2.0, 1.0, 5.1, 25.1, 0.5, 2.0, 1.0, 2.0, 3.0],
    ]


def test_features_that_share_an_argument_share_what_is_kept() -> None:
    asked = [feature("sum", "amount"), feature("mean", "amount"), feature("count", None)]
    alone, state = EntityFeatures(asked[:1], SCHEMA, 0), MemoryState()
    alone(event(0, amount=1.0), state)
    both, other = EntityFeatures(asked, SCHEMA, 0), MemoryState()
    both(event(0, amount=1.0), other)
    assert len(other.head or b"") - len(state.head or b"") < 8
    found = both(event(1, amount=2.0), state)  # what was kept for the one serves the other
    assert (found.values, found.cold) == ([3.0, 1.5, 2.0], ())


def test_an_entity_that_was_there_before_is_cold() -> None:
    old, new = (
        EntityFeatures([feature("count", None), *more], SCHEMA, 0)
        for more in ([], [feature("sum", "items")])
    )
    state = MemoryState()
    old(event(0, items=1), state)
    assert new(event(1, items=1), state).cold == (1,)
    assert new(event(1, items=1), MemoryState()).cold == ()


def test_reads_lists_fields_by_value_and_as_exact_integers() -> None:
    asked = [
        feature("count", None),
        feature("sum", "amount"),
        feature("sum", "distance / items"),
        feature("max", "items"),
    ]
    assert reads(asked, SCHEMA) == (["distance", "items"], ["amount", "items"])


def test_an_argument_that_does_not_exist() -> None:
    with pytest.raises(ExpressionError, match="Did you mean 'amount'"):
        EntityFeatures([feature("sum", "amuont")], SCHEMA, 0)


def test_kinds() -> None:
    assert kinds(SCHEMA)["amount"] is Kind.NUMBER
    assert kinds(SCHEMA)["channel"] is Kind.STRING


# Features of the event alone


def test_formulas_in_order_with_their_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def half(fields):\n    return fields['distance'] / 2\n")
    formulas = Formulas(
        [
            Formula("online", None, expression="channel == 'online'"),
            Formula("per_item", 9.0, expression="amount / items"),
            Formula("half", None, function=f"{file}:half", reads=("distance",)),
        ],
        SCHEMA,
    )
    assert formulas.names == ["online", "per_item", "half"]
    assert formulas({"channel": "online", "amount": 3.0, "items": 0, "distance": 1.0}) == [
        1.0,
        9.0,
        0.5,
    ]


def test_a_derived_feature_reads_others_with_their_defaults() -> None:
    formulas = [
        Formula("ratio", None, expression="amount / (mean_1d + 1)"),
        Formula("z", -1.0, expression="(amount - mean_1d) / std_1d"),
        Formula("high", None, expression="ratio > 2 and z > 1"),
    ]
    derived = Formulas(formulas, SCHEMA, before=["mean_1d", "std_1d"])
    assert derived({"amount": 9.0}, [2.0, 3.5]) == [3.0, 2.0, 1.0]
    assert derived({"amount": 9.0}, [2.0, 0.0]) == [3.0, -1.0, 0.0]
    assert derived({"amount": 9.0}, [None, 0.0]) == [None, -1.0, None]


def test_a_formula_that_reads_itself_in_a_circle() -> None:
    a, b = Formula("a", None, expression="b + 1"), Formula("b", None, expression="a + 1")
    with pytest.raises(ValueError, match=r"^(a <- b <- a|b <- a <- b)$"):
        in_order([a, b], {"a": ["b"], "b": ["a"]})


def test_what_is_missing_is_never_silently_zero() -> None:
    formulas = Formulas([Formula("online", None, expression="channel == 'online'")], SCHEMA)
    assert formulas({"channel": None}) == [None]


NUMBERS = st.none() | st.floats() | st.integers(-(10**300), 10**300)


@given(st.fixed_dictionaries(dict.fromkeys(("distance", "items", "amount"), NUMBERS)))
def test_all_at_once_or_one_by_one_makes_no_difference(fields: dict[str, Any]) -> None:
    texts = ["distance / items", "amount", "min(items, 5) if amount > 3 else None", "items == 4"]
    formulas = [Formula(f"f{i}", [None, 7.0][i % 2], expression=t) for i, t in enumerate(texts)]
    found = [Formulas([formula], SCHEMA)(fields)[0] for formula in formulas]
    assert Formulas(formulas, SCHEMA)(fields) == found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (True, 1.0),
        (0.0, 0.0),
        (None, 5.0),
        (math.nan, 5.0),
        (math.inf, 5.0),
        (-math.inf, 5.0),
        (10**400, 5.0),
    ],
)
def test_filled(value: float | None, expected: float) -> None:
    assert filled(value, 5.0) == expected
    assert filled(value, None) == (None if expected == 5.0 else expected)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return fields['nope']", "feature 'mine' raised KeyError: 'nope'"),
        ("return 'high'", "feature 'mine' raised ValueError"),
        ("return [1]", "feature 'mine' raised TypeError"),
        ("return 10 ** 400", "feature 'mine' raised OverflowError"),
    ],
)
def test_a_function_that_fails_makes_a_bad_record(tmp_path: Path, body: str, message: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def mine(fields):\n    {body}\n")
    formulas = Formulas([Formula("mine", None, function=f"{file}:mine")], SCHEMA)
    with pytest.raises(BadRecord, match=message) as caught:
        formulas({"amount": 1.0})
    assert (caught.value.stage, caught.value.kind) == ("features", "function-error")


@pytest.mark.parametrize("body", ["return None", "return float('nan')"])
def test_a_function_may_have_no_value(tmp_path: Path, body: str) -> None:
    (tmp_path / "mine.py").write_text(f"def mine(fields):\n    {body}\n")
    formula = Formula("mine", None, function=f"{tmp_path}/mine.py:mine")
    assert Formulas([formula], SCHEMA)({}) == [None]


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (None, "gone.py:f", "there is no Python file .*gone.py"),
        ("def f(fields): ...", "mine.py:g", "mine.py has no function 'g'"),
        ("f = 5", "mine.py:f", "mine.py has no function 'f'"),
        ("import nothing_of_this_name", "mine.py:f", "does not import: ModuleNotFoundError"),
        ("def f(:", "mine.py:f", "does not import: SyntaxError"),
        ("", "mine.txt:f", "there is no Python file"),
    ],
)
def test_a_function_that_does_not_load(
    tmp_path: Path, content: str | None, target: str, message: str
) -> None:
    if content is not None:
        (tmp_path / target.partition(":")[0]).write_text(content)
    with pytest.raises(FunctionError, match=message):
        load_function(f"{tmp_path}/{target}")


def test_a_function_gets_the_fields(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(fields): return fields['terminal.id'] == 't1'")
    function = load_function(f"{tmp_path}/mine.py:f")
    fields: Mapping[str, Any] = {"terminal.id": "t1"}
    assert function(fields) is True


def test_labels_find_their_events_by_id_and_time() -> None:
    """A terminal's risk: the share of its events, online ones too, that turned out to be fraud."""
    hour = 3_600_000
    asked = [
        WindowedFeature(name, op, "label", 10 * hour, None, where, 5 * hour, labelled=True)
        for name, op, where in (
            ("risk", "rate", None),
            ("online_risk", "rate", "channel == 'online'"),
            ("told", "count", None),
        )
    ]
    features, state = EntityFeatures(asked, SCHEMA_OF_LABELS, hour), MemoryState()
    assert features.labelled

    def pay(number: int, channel: str) -> list[float | None]:
        event = Event(f"e{number}", number * hour, ("c", "t"), {"channel": channel}, {})
        return features(event, state).values

    def label(number: int, positive: bool) -> str:
        at = number * hour
        return features.label(
            Label(f"e{number}", at, ("c", "t"), positive, at + 2 * hour, "bank", 0), state
        )

    for number, channel in enumerate(("online", "shop", "online", "shop")):
        assert pay(number, channel) == [None, None, 0.0]
    assert [label(0, True), label(1, True), label(2, False)] == ["taken"] * 3
    assert label(0, True) == "repeated"
    remembered = features.remembered(state)
    assert [each["positive"] for each in remembered["labels"]] == [True, True, False]
    assert pay(6, "shop") == [2 / 2, 1 / 1, 2.0]  # those of 0 and 1 o'clock
    assert pay(8, "shop") == [2 / 4, 1 / 2, 3.0]
    assert label(3, True) == "late"
    assert pay(9, "shop") == [2 / 4, 1 / 2, 3.0]


SCHEMA_OF_LABELS = parse(
    {"type": "record", "name": "T", "fields": [{"name": "channel", "type": "string"}]}
)
