"""The page that Prometheus reads: units, and a line in the docs for every metric."""

from pathlib import Path

from tests.pipelines.telemetry.test_meters import ANY, meter, scrape, value
from verdict.operators.meter import BOUNDS_NS
from verdict.pipelines.telemetry.page import AGE_BOUNDS_MS, COUNTERS, GAUGES, HISTOGRAMS
from verdict.pipelines.telemetry.server import serve

DOCS = Path(__file__).parents[3] / "docs" / "operations.md"


def test_units_are_seconds() -> None:
    found = meter()
    found.times.append(2_500_000)
    found.fold()
    found.aged(15)
    served = serve(ANY, found)
    page = scrape(served.port)
    served.close()
    assert value(page, "verdict_hop_seconds_sum") == 0.0025
    assert value(page, "verdict_hop_seconds_bucket", le="0.0025") == 1
    assert value(page, "verdict_hop_seconds_bucket", le="0.001") == 0
    assert value(page, "verdict_end_to_end_seconds_bucket", le="0.015") == 1
    assert value(page, "verdict_end_to_end_seconds_bucket", le="0.01") == 0
    assert (BOUNDS_NS[0], AGE_BOUNDS_MS[-1]) == (1_000, 3_600_000)


def test_every_metric_is_documented_with_its_labels() -> None:
    text = DOCS.read_text("utf-8")
    for name in COUNTERS:
        assert f"`verdict_{name}_total`" in text
    for name in (*GAUGES, *HISTOGRAMS):
        assert f"`verdict_{name}`" in text
    everything = {**COUNTERS, **GAUGES, **HISTOGRAMS}
    labels = {label for _, labels in everything.values() for label in labels}
    assert not labels & {"key", "id", "event", "customer"}
    assert labels >= {"action", "stage", "kind"}
