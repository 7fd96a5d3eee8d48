"""The page that Prometheus reads: names, help, kinds and labels; not the values."""

import re
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from tests.pipelines.conftest import CARD_FRAUD
from verdict.operators.message import Message
from verdict.operators.names import EVENTS
from verdict.pipelines.engines.embedded.runner import Runner
from verdict.pipelines.jobs.score import score
from verdict.pipelines.spec.load import load
from verdict.pipelines.telemetry.meters import RunMeter
from verdict.pipelines.telemetry.server import Endpoint, serve
from verdict.state.store.rocks import RocksStore

MANY = 200


class Broker:
    """One that lags."""

    def lags(self, offsets: Mapping[str, int]) -> dict[tuple[str, int], int]:
        return {("transactions", 0): MANY - offsets.get("transactions/0", 0)}


def test_the_page_has_the_same_samples(
    golden: Callable[[str, str], None], generator: ModuleType, tmp_path: Path
) -> None:
    job = score(load(CARD_FRAUD / "pipeline.yaml"))
    store = RocksStore(tmp_path)
    runner = Runner(job, store, metered=True)
    world = generator.World(days=1, broken=0.1)
    for number, payment in zip(range(MANY), generator.transactions(world), strict=False):
        body = generator.encode(payment)
        runner(Message(EVENTS, payment.key, body, "transactions", 0, number, 0))
    meter = RunMeter(job, runner.meters, {}, Broker())
    meter.sent([1_000])
    served = serve(Endpoint("127.0.0.1", 0, 0), meter)
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    served.close()
    store.close()
    golden("metrics.txt", "\n".join(kept for line in lines if (kept := masked(line))) + "\n")


def masked(line: str) -> str:
    """Leave out what depends on the machine or the model, and a histogram.s buckets."""
    if "process_" in line or ("_bucket{" in line and 'le="+Inf"' not in line):
        return ""
    line = re.sub(r'sha256="[0-9a-f]+"', 'sha256="…"', line)
    return line if line.startswith("#") else re.sub(r" \S+$", " …", line)
