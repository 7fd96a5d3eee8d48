"""What the pipeline file may say, one model at a time."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from verdict.pipelines.spec.decide import DecideSpec, Models, RuleSpec, Watch
from verdict.pipelines.spec.events import AmountSpec, Events, FieldCheck
from verdict.pipelines.spec.features import AggregateFeature, ExpressionFeature, PythonFeature
from verdict.pipelines.spec.settings import (
    FromEnvironment,
    FromFile,
    Metrics,
    Schemas,
    Settings,
    Topics,
)
from verdict.pipelines.spec.spec import Spec
from verdict.pipelines.spec.values import DURATION, UNITS_MS, milliseconds
from verdict.state.windows.aggregates import OPS

EVENTS = {"topic": "payments", "schema": "event.avsc", "id": "id", "time": "at"}
SPEC: dict[str, Any] = {
    "pipeline": "p",
    "events": EVENTS,
    "entities": {"card": "card"},
    "features": {"amount": "amount"},
    "model": "model",
}


@given(st.integers(1, 10_000), st.sampled_from(sorted(UNITS_MS)))
def test_a_duration_is_a_number_of_its_unit(number: int, unit: str) -> None:
    assert milliseconds(f"{number}{unit}") == number * UNITS_MS[unit]


@given(
    st.text().filter(lambda text: DURATION.fullmatch(text) is None)
    | st.integers()
    | st.floats()
    | st.none()
)
def test_anything_else_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="is no duration; write a whole number"):
        milliseconds(value)


@pytest.mark.parametrize("text", ["0s", "1.5h", "-1d", "1 h", "1w", "h", "", "1h30m", " 1h"])
def test_what_looks_like_a_duration_but_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no duration"):
        milliseconds(text)


def test_the_smallest_pipeline_has_defaults_for_the_rest() -> None:
    spec = Spec.model_validate(SPEC)
    assert spec.model == Models(champion=Path("model"))
    assert spec.features == {"amount": ExpressionFeature(expr="amount")}
    assert (spec.decide.otherwise, spec.watch.window) == ("approve", 3_600_000)
    assert spec.settings.state == Path(".verdict")


@pytest.mark.parametrize(
    ("written", "feature"),
    [
        ("hour(at) < 6", ExpressionFeature(expr="hour(at) < 6")),
        (1, ExpressionFeature(expr="1")),
        (True, ExpressionFeature(expr="True")),
        ({"expr": "a / b", "default": 0}, ExpressionFeature(expr="a / b", default=0)),
        (
            {"sum": "amount", "over": "7d", "by": "card"},
            AggregateFeature.model_validate({"sum": "amount", "over": "7d", "by": "card"}),
        ),
        (
            {"python": "f.py:distance", "reads": ["a.b"], "default": -1},
            PythonFeature(python="f.py:distance", reads=["a.b"], default=-1),
        ),
    ],
)
def test_a_feature_is_told_from_the_others_by_what_it_says(written: Any, feature: Any) -> None:
    assert Spec.model_validate({**SPEC, "features": {"f": written}}).features["f"] == feature


@pytest.mark.parametrize("op", OPS)
def test_an_aggregate_knows_its_op_and_argument(op: str) -> None:
    argument = "label" if op == "rate" else "amount"
    delay = {"delay": "1d"} if op == "rate" else {}
    feature = AggregateFeature.model_validate({op: argument, "over": "1h", "by": "card", **delay})
    assert (feature.op, feature.argument, feature.over) == (op, argument, 3_600_000)


def test_counting_all_events_has_no_argument() -> None:
    count = AggregateFeature.model_validate({"count": "*", "over": "1h", "by": "card"})
    assert count.argument is None


def test_a_feature_of_a_model_that_knows_what_is_missing_may_default_to_nan() -> None:
    default = ExpressionFeature.model_validate({"expr": "a", "default": math.nan}).default
    assert default is not None and math.isnan(default)


@pytest.mark.parametrize(
    ("model", "written", "says"),
    [
        (FieldCheck, {}, "say 'min', 'max' or 'allowed'"),
        (FieldCheck, {"outside": "review"}, "say 'min', 'max' or 'allowed'"),
        (FieldCheck, {"min": 2, "max": 1}, "'min' is above 'max'"),
        (FieldCheck, {"min": math.inf}, "finite"),
        (AmountSpec, {"field": "amount"}, "either 'currency' or 'currency_field'"),
        (AmountSpec, {"field": "a", "currency": "EUR", "currency_field": "b"}, "either 'currency'"),
        (AmountSpec, {"field": "a", "currency": "euro"}, "three capital letters"),
        (Events, {"topic": None}, "say either 'topic' or 'files'"),
        (Events, {"files": ["a.avro"]}, "say either 'topic' or 'files'"),
        (Events, {"topic": None, "files": []}, "events.files is an empty list"),
        (Events, {"topic": "my topic"}, "'my topic' will not do"),
        (Events, {"topic": ".."}, "'..' will not do"),
        (Events, {"topic": None, "files": ["a.avro"], "keyed_by": "card"}, "leave it out"),
        (AggregateFeature, {"over": "1h", "by": "card"}, "exactly one of count, sum, mean"),
        (
            AggregateFeature,
            {"sum": "a", "mean": "a", "over": "1h", "by": "card"},
            "exactly one of count, sum, mean",
        ),
        (PythonFeature, {"python": "f.py", "reads": []}, "write file.py:function"),
        (PythonFeature, {"python": "f.py:1a", "reads": []}, "write file.py:function"),
        (Models, {"champion": "a", "challengers": ["b", "b"]}, "challenger b stands twice"),
        (RuleSpec, {"name": "Far Away", "when": "a > 1"}, "'Far Away' will not do"),
        (
            DecideSpec,
            {"thresholds": [{"at": 0.5, "action": "a"}, {"at": 0.8, "action": "b"}]},
            "threshold 0.8 comes after 0.5",
        ),
        (
            DecideSpec,
            {"thresholds": [{"at": 0.5, "action": "a"}, {"at": 0.5, "action": "b"}]},
            "threshold 0.5 comes after 0.5",
        ),
        (DecideSpec, {"thresholds": [{"at": math.nan, "action": "a"}]}, "finite"),
        (
            DecideSpec,
            {"rules": [{"name": "a", "when": "b"}, {"name": "a", "when": "c"}]},
            "two rules are called 'a'",
        ),
        (Watch, {"psi_alarm": 0}, "greater than 0"),
        (Watch, {"adwin_delta": 1}, "less than 1"),
        (Watch, {"min_events": 0}, "greater than or equal to 1"),
        (Topics, {"drift": "decisions"}, "two of the topics are called 'decisions'"),
        (Topics, {"drift": "a/b"}, "'a/b' will not do"),
        (Schemas, {}, "say either 'registry' or 'folder'"),
        (Schemas, {"registry": "http://r", "folder": "f"}, "say either 'registry' or 'folder'"),
        (Spec, {"entities": {}}, "'entities' is empty"),
        (Spec, {"pipeline": "My Pipeline"}, "'My Pipeline' will not do"),
        (Spec, {"entities": {"Card": "card"}}, "'Card' will not do"),
        (Spec, {"events": {**EVENTS, "keyed_by": "shop"}}, "'shop', which is no entity"),
        (Spec, {"events": {**EVENTS, "topic": "drift"}}, "is the topic of an output, too"),
        (Spec, {"features": {"f": None}}, "write an expression, or an aggregate"),
        (Spec, {"features": {"f": ["a"]}}, "write an expression, or an aggregate"),
        (Settings, {"checkpoint_interval": 10}, "'10' is no duration"),
    ],
)
def test_what_cannot_be_meant_is_refused(model: Any, written: dict[str, Any], says: str) -> None:
    base = {Events: EVENTS, Spec: SPEC}.get(model, {})
    with pytest.raises(ValidationError) as refusal:
        model.model_validate({**base, **written})
    assert refusal.value.error_count() == 1
    assert says in str(refusal.value)


def test_client_settings_are_plain_values_or_secrets() -> None:
    kafka = Settings.model_validate(
        {
            "kafka": {
                "client.id": "a",
                "linger.ms": 5,
                "check.crcs": True,
                "sasl.username": {"env": "USER_NAME"},
                "sasl.password": {"file": "secret"},
            }
        }
    ).kafka
    assert list(kafka.values()) == [
        "a",
        5,
        True,
        FromEnvironment(env="USER_NAME"),
        FromFile(file=Path("secret")),
    ]
    assert kafka["check.crcs"] is True


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERDICT_TEST_SECRET", "hunter2")
    secret = FromEnvironment(env="VERDICT_TEST_SECRET").value()
    assert secret.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(secret)
    with pytest.raises(ValueError, match="the environment variable NOT_THERE is not set"):
        FromEnvironment(env="NOT_THERE").value()


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" hunter2\n")
    assert FromFile(file=tmp_path / "secret").value().get_secret_value() == "hunter2"
    with pytest.raises(ValueError, match=r"cannot read the secret .*No such file"):
        FromFile(file=tmp_path / "none").value()


def test_metrics_are_off_unless_asked_for() -> None:
    assert Settings().metrics is None
    assert Settings.model_validate({"metrics": {}}).metrics == Metrics(
        host="127.0.0.1", ports="9400-9409"
    )
    assert Metrics.model_validate({"ports": 9400}).ports == "9400"


@pytest.mark.parametrize("ports", ["", "0", "9409-9400", "9400-", "65536", "1-2-3", True, None])
def test_what_is_no_range_of_ports_is_refused(ports: Any) -> None:
    with pytest.raises(ValidationError, match="is no range of ports; write the first and last"):
        Metrics(ports=ports)


def test_headers_to_carry() -> None:
    events: dict[str, Any] = dict(EVENTS)
    assert Events(**events).carry == ["traceparent", "tracestate", "correlation-id", "reply-topic"]
    assert Events(**events, carry=[]).carry == []
    with pytest.raises(ValidationError, match="the header 'b' stands twice"):
        Events(**events, carry=["b", "a", "b"])
    for name in ("source", "", "two words", "für"):
        with pytest.raises(ValidationError, match="will not do; write at most 100 letters"):
            Events(**events, carry=[name])
