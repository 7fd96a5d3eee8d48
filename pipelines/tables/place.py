"""Where tables lie on this machine."""

from dataclasses import dataclass
from pathlib import Path

from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.paths import cache_folder
from verdict.pipelines.spec.features import LookupFeature
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.spec.settings import Settings

BOOTSTRAP = ("bootstrap.servers", "metadata.broker.list")


@dataclass(frozen=True)
class TablePlace:
    """What a hop has to be told to find its tables; it travels with the hop's factory.

    Attributes
    ----------
    pipeline
        The pipeline file, where the job was made.
    folder
        For tables, there.
    bootstrap
        ``host:port`` of Kafka's brokers; None where events and rows come from files.
    """

    pipeline: Path
    folder: Path
    bootstrap: str | None

    def home(self, pipeline: Path) -> Path:
        """Return the folder for tables where the hop runs.

        A cluster's worker has the pipeline from its package, and tables in its cache folder.
        """
        return self.folder if pipeline == self.pipeline else cache_folder() / "lookups"


def place(pipeline: Pipeline) -> TablePlace | None:
    """Return where a pipeline's tables are; None where no feature is looked up.

    Raises
    ------
    KafkaError
        ``settings.kafka`` is wrong.
    """
    if not features_by_table(pipeline):
        return None
    settings = pipeline.spec.settings
    from_files = pipeline.spec.events.files is not None
    return TablePlace(
        pipeline.path,
        pipeline.file(settings.state).absolute() / pipeline.spec.pipeline / "lookups",
        None if from_files else _servers(settings, pipeline.path.parent),
    )


def _servers(settings: Settings, folder: Path) -> str:
    """Return the brokers without a look at secrets, which may be where the hop runs alone."""
    told = {name: settings.kafka[name] for name in BOOTSTRAP if name in settings.kafka}
    return clients(settings.model_copy(update={"kafka": told}), folder).servers


def features_by_table(pipeline: Pipeline) -> dict[str, list[tuple[str, LookupFeature]]]:
    """Lookup -> its features."""
    found: dict[str, list[tuple[str, LookupFeature]]] = {}
    for name, feature in pipeline.spec.features.items():
        if isinstance(feature, LookupFeature):
            found.setdefault(feature.table, []).append((name, feature))
    return found


def names(pipeline: Pipeline) -> list[str]:
    """List the features that are looked up, in the order in which they become known."""
    return [name for features in features_by_table(pipeline).values() for name, _ in features]
