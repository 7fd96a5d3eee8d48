"""One server does for a process, and where no port is to be had events are decided all the same."""

import logging
import socket
from collections.abc import Iterator

import pytest

from tests.pipelines.telemetry.test_meters import (
    ANY,
    meter,
    scrape,
    value,
)
from verdict.pipelines.telemetry.server import Endpoint, serve


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_hops_of_a_process_share_a_server_that_ends_with_the_last_of_them() -> None:
    one, two = serve(ANY, meter("first")), serve(ANY, meter("last"))
    assert one.port == two.port
    assert sum(name == "verdict_events_total" for name, _ in scrape(one.port)) == 2
    one.close()
    one.close()
    assert sum(name == "verdict_events_total" for name, _ in scrape(two.port)) == 1
    two.close()
    with pytest.raises(OSError, match="refused"):
        scrape(two.port)
    again = serve(ANY, meter())
    assert scrape(again.port)
    again.close()


def test_a_hop_that_comes_again_takes_the_place_of_one_that_was_never_closed() -> None:
    lost, found = meter(), meter()
    lost.times.append(5)
    lost.fold()
    old, new = serve(ANY, lost), serve(ANY, found)
    assert value(scrape(new.port), "verdict_events_total") == 0
    old.close()
    assert value(scrape(new.port), "verdict_events_total") == 0
    new.close()


def test_the_first_free_port_of_the_range_is_taken(taken: int) -> None:
    served = serve(Endpoint("127.0.0.1", taken, min(taken + 20, 65_535)), meter())
    assert served.port is not None and served.port > taken
    assert scrape(served.port)
    served.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "203.0.113.1", "no.such.host.invalid"])
def test_where_no_port_is_to_be_had_it_goes_on_and_says_so(
    host: str, taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        served = serve(Endpoint(host, taken, taken), meter())
    assert served.port is None
    (record,) = caplog.records
    assert record.getMessage().startswith(f"no metrics are served at {host}:{taken}-{taken}: ")
    served.close()
