"""A pipeline file, read and checked against its schema and its bundles."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from verdict.operators.errors import BundleError, SchemaError
from verdict.operators.events import schema as schemas
from verdict.operators.models import bundle as bundles
from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec import yaml_file
from verdict.pipelines.spec.check_features import (
    check_circles,
    check_decide,
    check_features,
    check_watch,
)
from verdict.pipelines.spec.check_fields import (
    check_amount,
    check_entities,
    check_events,
    check_labels,
    check_lookups,
    check_source,
    sources,
)
from verdict.pipelines.spec.checks import meant
from verdict.pipelines.spec.pipeline import FILE_SUFFIX, Pipeline, wrong_suffix
from verdict.pipelines.spec.spec import Spec


def load(path: Path | str) -> Pipeline:
    """Read a pipeline file and check all of it but the models.

    Raises
    ------
    SpecError
        One line a fault: file, line, what is wrong, what to write instead.

    Examples
    --------
    >>> from verdict.pipelines.paths import resource
    >>> pipeline = load(resource("init/pipeline.yaml"))
    >>> list(pipeline.spec.features)
    ['amount', 'card_count_1h']
    """
    path = Path(path)
    source = yaml_file.read(path)
    spec = yaml_file.parse(source, Spec)
    absolute = path.resolve()
    try:
        schema = schemas.load(absolute.parent / spec.events.schema_file)
    except SchemaError as error:
        raise source.error(("events", "schema"), str(error)) from None
    rows = {}
    for name, lookup in spec.lookups.items():
        if lookup.schema_file is not None:
            try:
                rows[name] = schemas.load(absolute.parent / lookup.schema_file)
            except SchemaError as error:
                raise source.error(("lookups", name, "schema"), str(error)) from None
    label_schema = None
    if spec.labels is not None:
        try:
            label_schema = schemas.load(absolute.parent / spec.labels.schema_file)
        except SchemaError as error:
            raise source.error(("labels", "schema"), str(error)) from None
    pipeline = Pipeline(absolute, spec, schema, source, rows, label_schema)
    faults = [fault for check in CHECKS for fault in check(pipeline, source)]
    if faults:
        raise _all(faults)
    return pipeline


def over(
    pipeline: Pipeline, files: Sequence[Path], labels: Sequence[Path] | None = None
) -> Pipeline:
    """Return the same pipeline over files instead of what its file names.

    Parameters
    ----------
    files
        Of events.
    labels
        Of labels; None for those that the pipeline file names, if it does.

    Raises
    ------
    SpecError
        A file's name does not end as its format wants.

    Examples
    --------
    >>> from verdict.pipelines.paths import resource
    >>> pipeline = load(resource("init/pipeline.yaml"))
    >>> over(pipeline, [Path("yesterday.jsonl")]).spec.events.files[0].name
    'yesterday.jsonl'
    """
    format_ = pipeline.spec.events.format
    for file in files:
        if file.suffix not in FILE_SUFFIX[format_]:
            raise SpecError([wrong_suffix(file, format_)])
    faults = list(sources(pipeline, pipeline.source, from_files=True))
    if faults:
        raise _all(faults)
    events = pipeline.spec.events.model_copy(
        update={"topic": None, "files": [file.resolve() for file in files]}
    )
    made = replace(pipeline, spec=pipeline.spec.model_copy(update={"events": events}))
    return made if labels is None else _labelled_by(made, labels)


def _labelled_by(pipeline: Pipeline, files: Sequence[Path]) -> Pipeline:
    given = pipeline.spec.labels
    if given is None:
        raise SpecError(
            [
                f"{pipeline.path}: there is no 'labels' section, which says how label files are to "
                "be read"
            ]
        )
    for file in files:
        if file.suffix not in FILE_SUFFIX[given.format]:
            raise SpecError([wrong_suffix(file, given.format, "labels")])
    labels = given.model_copy(update={"files": [file.resolve() for file in files]})
    return replace(pipeline, spec=pipeline.spec.model_copy(update={"labels": labels}))


def check_models(pipeline: Pipeline) -> list[bundles.Bundle]:
    """Load and verify every bundle of a pipeline, the champion first.

    Raises
    ------
    SpecError
        A bundle is refused, or asks for a feature that the pipeline does not compute.
    """
    source = pipeline.source
    loaded: list[bundles.Bundle] = []
    challengers: list[str] = []
    faults: list[SpecError] = []
    for index, folder in enumerate(pipeline.models):
        place = ("model", "champion") if index == 0 else ("model", "challengers", index - 1)
        try:
            bundle = bundles.load(folder)
        except BundleError as error:
            faults.append(source.error(place, str(error)))
            continue
        if index > 0:
            challengers.append(f"{bundle.card.name}:{bundle.card.version}")
            if challengers[-1] in challengers[:-1]:
                faults.append(source.error(place, f"two challengers are called {challengers[-1]}"))
        for name in bundle.card.features:
            if name not in pipeline.spec.features:
                hint = meant(name, pipeline.spec.features)
                message = f"model {bundle.card.name} asks for feature '{name}', which the pipeline"
                faults.append(source.error(place, f"{message} does not compute.{hint}"))
        loaded.append(bundle)
    if faults:
        raise _all(faults)
    return loaded


CHECKS = (
    check_events,
    check_amount,
    check_source,
    check_entities,
    check_lookups,
    check_labels,
    check_features,
    check_circles,
    check_decide,
    check_watch,
)


def _all(faults: Iterable[SpecError]) -> SpecError:
    """Put the errors of one file together, in the order of its lines."""
    return SpecError(sorted((text for fault in faults for text in fault.messages), key=_line))


def _line(message: str) -> int:
    parts = message.split(":", 2)
    return int(parts[1]) if len(parts) > 2 and parts[1].isdigit() else 0
