"""verdict: a decision for every event. What this module names is the public API.

Everything else below `verdict` is the house's own and may move without notice; what is named here
is kept for one release with a warning before it goes. A name is imported when it is first asked
for, so that a worker, or pytest with our plugin, pays for no more than it uses.

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
    from verdict.operators.models.card import Output
    from verdict.pipelines.engines.embedded.from_files import run_files
    from verdict.pipelines.formats.avro_file import AvroFile, read_records
    from verdict.pipelines.history.backfill import batches
    from verdict.pipelines.history.backfill import write as write_backfill
    from verdict.pipelines.kafka.clients import default_bootstrap
    from verdict.pipelines.models.write import write as write_bundle
    from verdict.pipelines.spec.load import load
    from verdict.pipelines.spec.pipeline import Pipeline
    from verdict.state.errors import VerdictError

__all__ = [
    "AvroFile",
    "Output",
    "Pipeline",
    "VerdictError",
    "batches",
    "default_bootstrap",
    "load",
    "read_records",
    "run_files",
    "write_backfill",
    "write_bundle",
]

_FROM = {
    "AvroFile": ("verdict.pipelines.formats.events", "AvroFile"),
    "Output": ("verdict.operators.models.bundle", "Output"),
    "Pipeline": ("verdict.pipelines.spec.checks", "Pipeline"),
    "VerdictError": ("verdict.state.errors", "VerdictError"),
    "batches": ("verdict.pipelines.history.backfill", "batches"),
    "default_bootstrap": ("verdict.pipelines.kafka.clients", "default_bootstrap"),
    "load": ("verdict.pipelines.spec.checks", "load"),
    "read_records": ("verdict.pipelines.formats.events", "read_records"),
    "run_files": ("verdict.pipelines.engines.embedded.runner", "run_files"),
    "write_backfill": ("verdict.pipelines.history.backfill", "write"),
    "write_bundle": ("verdict.pipelines.models.write", "write"),
}
"""Public name -> the module that has it, and its name there."""


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'verdict' has no attribute '{name}'")
    module, attribute = _FROM[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
