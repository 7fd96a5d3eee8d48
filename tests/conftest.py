"""What tests of every package may use."""

from collections.abc import Iterator

import pytest

from pipelines.local import LocalKafka


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A running broker for the whole session: give each test topics of its own."""
    with LocalKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker
