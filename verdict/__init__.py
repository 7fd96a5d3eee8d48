"""verdict: a decision for every event. What this module names is the public API.

docs/api.md lists it. Everything else below `verdict` is the house's own and may move without
notice; what is named here is kept for one release with a warning before it goes. A name is imported
when it is first asked for, so that a worker, or pytest with our plugin, pays for no more than it
uses.

Examples
--------
>>> import verdict
>>> verdict.load  # doctest: +ELLIPSIS
<function load at ...>
>>> sorted(set(dir(verdict)) & {"load", "run_files", "write_bundle"})
['load', 'run_files', 'write_bundle']
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verdict.operators.models.bundle import Bundle
    from verdict.operators.models.bundle import load as load_bundle
    from verdict.operators.models.card import Output
    from verdict.pipelines.engines.embedded.from_files import paced, run_files
    from verdict.pipelines.formats.avro_file import AvroFile, read_records
    from verdict.pipelines.history.backfill import batches
    from verdict.pipelines.history.backfill import write as write_backfill
    from verdict.pipelines.jobs.catalog import jobs
    from verdict.pipelines.kafka.clients import default_bootstrap
    from verdict.pipelines.local.broker import LocalKafka
    from verdict.pipelines.models.write import write as write_bundle
    from verdict.pipelines.outputs.tail import output_decoder
    from verdict.pipelines.spec.load import load, over
    from verdict.pipelines.spec.pipeline import Pipeline
    from verdict.state.errors import VerdictError

__all__ = [
    "AvroFile",
    "Bundle",
    "LocalKafka",
    "Output",
    "Pipeline",
    "VerdictError",
    "batches",
    "default_bootstrap",
    "jobs",
    "load",
    "load_bundle",
    "output_decoder",
    "over",
    "paced",
    "read_records",
    "run_files",
    "write_backfill",
    "write_bundle",
]

_FROM = {
    "AvroFile": ("verdict.pipelines.formats.avro_file", "AvroFile"),
    "Bundle": ("verdict.operators.models.bundle", "Bundle"),
    "LocalKafka": ("verdict.pipelines.local.broker", "LocalKafka"),
    "Output": ("verdict.operators.models.card", "Output"),
    "Pipeline": ("verdict.pipelines.spec.pipeline", "Pipeline"),
    "VerdictError": ("verdict.state.errors", "VerdictError"),
    "batches": ("verdict.pipelines.history.backfill", "batches"),
    "default_bootstrap": ("verdict.pipelines.kafka.clients", "default_bootstrap"),
    "jobs": ("verdict.pipelines.jobs.catalog", "jobs"),
    "load": ("verdict.pipelines.spec.load", "load"),
    "load_bundle": ("verdict.operators.models.bundle", "load"),
    "output_decoder": ("verdict.pipelines.outputs.tail", "output_decoder"),
    "over": ("verdict.pipelines.spec.load", "over"),
    "paced": ("verdict.pipelines.engines.embedded.from_files", "paced"),
    "read_records": ("verdict.pipelines.formats.avro_file", "read_records"),
    "run_files": ("verdict.pipelines.engines.embedded.from_files", "run_files"),
    "write_backfill": ("verdict.pipelines.history.backfill", "write"),
    "write_bundle": ("verdict.pipelines.models.write", "write"),
}
"""Public name -> the module that has it, and its name there."""


if not TYPE_CHECKING:  # which would take it for a promise that every name is there

    def __getattr__(name: str) -> Any:
        if name not in _FROM:
            raise AttributeError(f"module 'verdict' has no attribute '{name}'")
        module, attribute = _FROM[name]
        value = getattr(importlib.import_module(module), attribute)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
