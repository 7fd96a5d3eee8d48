"""The training set of a pipeline: its features, by the operators that compute them live."""

import pickle
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from operators.score import FEATURES
from pipelines import jobs
from pipelines.embedded import BATCH, Runner
from pipelines.files import read_events
from pipelines.pipeline import Pipeline
from pipelines.streams import EVENTS
from state.rocks import RocksStore


class FeatureRow(NamedTuple):
    """The features of one event, as the pipeline would have had them when it decided."""

    event_id: str
    event_time: int
    features: dict[str, float]


def feature_rows(pipeline: Pipeline, files: Sequence[Path]) -> Iterator[FeatureRow]:
    """Compute every event's features, in the order of the events; dead letters are left out.

    Parameters
    ----------
    pipeline
        Its models need not exist yet.
    files
        Of events.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = RocksStore(Path(folder) / "state")
        runner: Runner | None = None
        try:
            over = pipeline.over(files).keeping(Path(folder))
            runner = Runner(jobs.features(over), store)
            for number, message in enumerate(read_events(files, pipeline.schema, EVENTS), 1):
                for output in runner(message):
                    if output.stream == FEATURES:
                        yield FeatureRow(*pickle.loads(output.value))
                if number % BATCH == 0:
                    store.commit({})
        finally:
            if runner is not None:
                runner.close()
            store.close()
