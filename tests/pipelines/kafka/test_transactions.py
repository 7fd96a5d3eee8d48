"""What transactions ask of a broker, on a real one."""

import pytest

from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka import transactions
from verdict.pipelines.kafka.clients import Clients, clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.settings import Settings


def made(kafka: LocalKafka, **settings: int) -> Clients:
    given = {name.replace("_", "."): value for name, value in settings.items()}
    return clients(Settings(kafka={"bootstrap.servers": kafka.bootstrap, **given}))


def test_default_is_the_most_that_a_broker_allows_by_default(kafka: LocalKafka) -> None:
    assert transactions.broker_limit_ms(made(kafka)) == transactions.DEFAULT_MS
    assert transactions.check(made(kafka), 10_000) == 900_000
    assert transactions.check(made(kafka, transaction_timeout_ms=60_000), 10_000) == 60_000


def test_more_than_the_broker_allows_is_refused(kafka: LocalKafka) -> None:
    with pytest.raises(KafkaError) as caught:
        transactions.check(made(kafka, transaction_timeout_ms=900_001), 10_000)
    said = str(caught.value)
    assert said.startswith("a transaction may last 900,001 ms, but the broker at 127.0.0.1:")
    assert "allows 900,000 ms (transaction.max.timeout.ms)" in said
    assert "write settings.kafka 'transaction.timeout.ms: 900000' or less" in said


def test_transaction_outlasts_a_checkpoint_interval(kafka: LocalKafka) -> None:
    with pytest.raises(KafkaError, match=r"10,000 ms apart, and may last 10,000 ms: the broker"):
        transactions.check(made(kafka, transaction_timeout_ms=10_000), 10_000)
