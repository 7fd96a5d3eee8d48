"""Logs: lines of JSON, text for a terminal, nothing that a record holds, no handler left behind."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from verdict.operators.names import EVENTS
from verdict.operators.score.hops import EntityHop
from verdict.pipelines.cli import app
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.telemetry import logs

LOGGER = logging.getLogger("verdict.pipelines.test")
KEYS = {"time", "level", "logger", "message", "pipeline", "job"}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def handlers() -> list[logging.Handler]:
    return [each for each in logging.getLogger().handlers if isinstance(each, logs._Stderr)]


def test_a_warning_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.to_stderr("card-fraud", "score"):
        LOGGER.info("unimportant")
        logging.getLogger("verdict.pipelines.kafka.clients").warning("retrying")
        LOGGER.warning("%d records\nin two lines", 3, extra={"fields": {"partition": 7}})
        logging.getLogger("somebody.else").error("ü")
    first, second = lines(capsys.readouterr().err)
    assert first.keys() == KEYS | {"partition"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert (first["level"], first["logger"]) == ("WARNING", "verdict.pipelines.test")
    assert (first["message"], first["partition"]) == ("3 records\nin two lines", 7)
    assert (first["pipeline"], first["job"]) == ("card-fraud", "score")
    assert (second["level"], second["message"]) == ("ERROR", "ü")
    assert handlers() == []


def test_an_exception_is_named_by_its_place_without_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with logs.to_stderr("p", "score"):
        try:
            raise KeyError("card-4711")
        except KeyError:
            LOGGER.exception("it failed")
        try:
            raise KafkaError("no broker answers")
        except KafkaError:
            LOGGER.exception("it failed")
    err = capsys.readouterr().err
    foreign, ours = lines(err)
    assert "4711" not in err
    assert foreign["error"].startswith("KeyError at test_logs.py:")
    assert foreign["stack"][0].endswith(
        "in test_an_exception_is_named_by_its_place_without_its_text"
    )
    assert ours["error"] == "KafkaError: no broker answers"


def test_a_person_at_a_terminal_gets_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    def fail() -> None:
        with logs.to_stderr("p", "score"):
            LOGGER.warning("careful")
            raise KafkaError("gone")

    with pytest.raises(KafkaError):
        fail()
    assert re.fullmatch(r"\S+Z WARNING verdict.pipelines.test: careful\n", capsys.readouterr().err)


def test_the_error_that_ends_a_run_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(logs.Logged), logs.to_stderr("p", "score"):
        raise KafkaError("gone")
    (line,) = lines(capsys.readouterr().err)
    assert (line["level"], line["message"]) == ("ERROR", "gone")
    assert handlers() == []


def test_the_newest_start_is_the_only_one() -> None:
    logs.start("p", "score")
    second = logs.start("p", "shadow")
    assert handlers() == [second]
    logs.stop()
    assert handlers() == []


def test_a_run_that_breaks_says_so_in_one_line_without_the_record(
    on_kafka: Callable[..., Any],
    verdict: Callable[..., Any],
    example: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = on_kafka(tmp_path, "broken-operator")
    key, value = next((k, v) for k, v in example.messages if k)
    producer = Producer(stage.clients.producer)
    producer.produce(stage.pipeline.topics[EVENTS], value, key)
    assert producer.flush(20) == 0

    def fail(_hop: Any, carry: Any, _state: Any) -> None:
        raise RuntimeError(f"no such entity: {carry.event.keys}")

    monkeypatch.setattr(EntityHop, "_extend", fail)
    ran = verdict("run", stage.file, "--bounded")
    assert ran.code == 1
    (line,) = lines(ran.err)
    assert line["message"].startswith(
        "broken-operator/score/customer failed on broken-operator-events/0/0: RuntimeError at "
    )
    assert key.decode() not in ran.err
    assert (line["pipeline"], line["job"]) == ("broken-operator", "score")
    verbose = verdict("-v", "run", stage.file, "--bounded")
    assert app.verbose and key.decode() in verbose.err
