"""The settings that a pipeline may have: each one that is listed, librdkafka takes."""

import logging
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from tests.pipelines.kafka.kafka_samples import SAMPLES, make
from verdict.pipelines.kafka import clients as module
from verdict.pipelines.kafka.settings import ALIASES, OURS, SETTINGS, reference


def test_the_table_is_whole() -> None:
    assert set(SAMPLES) == set(SETTINGS)
    assert all(setting in sample for setting, sample in SAMPLES.items())
    assert set(ALIASES.values()) <= set(SETTINGS)
    assert not set(ALIASES) & set(SETTINGS)
    assert not set(OURS) & set(SETTINGS)
    for each in (*SETTINGS, *ALIASES, *OURS):
        assert f"`{each}`" in reference()


@pytest.mark.parametrize("setting", SETTINGS)
def test_librdkafka_takes_every_setting(
    setting: str, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = make(SAMPLES[setting], keys)
    taken = {"consumer": made.consumer, "producer": made.producer, "admin": made.admin}
    of = {"all": set(taken)}.get(SETTINGS[setting].takes, {SETTINGS[setting].takes})
    assert {kind for kind, config in taken.items() if setting in config} == of
    # A setting that a client has no use for would be warned of.
    consumer = Consumer({**made.consumer, "group.id": "g"})
    consumer.poll(0)
    consumer.close()
    Producer(made.producer).poll(0)
    assert "CONFWARN" not in caplog.text


def test_aliases_are_librdkafkas_own() -> None:
    for alias in ALIASES:
        sample = SAMPLES[ALIASES[alias]]
        value = sample[ALIASES[alias]]
        if isinstance(value, str | int):
            Producer({alias: str(value), "logger": module.LOGGER})
