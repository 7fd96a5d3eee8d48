"""What a hop is made of, where it runs."""

from collections.abc import Callable
from dataclasses import dataclass

from verdict.operators.message import Operator
from verdict.pipelines.spec.package import Package, relocated, unpack
from verdict.pipelines.spec.pipeline import Pipeline


@dataclass(frozen=True)
class HopPlan:
    """The factory of a hop: the pipeline as it was checked, and what makes an operator of it.

    It pickles. The worker that calls it reads no pipeline file: it loads models, Python functions
    and schemas by id, and connects to what the hop asks, there and then.

    Attributes
    ----------
    make
        Makes the operator: a function of a module, or such a function with choices bound by name.
    pipeline
        `Pipeline.for_hops` of what the job was made from.
    package
        Its files, where the worker has not those of the machine that made the job.
    """

    make: Callable[[Pipeline], Operator]
    pipeline: Pipeline
    package: Package | None = None

    def __call__(self) -> Operator:
        """Make the operator."""
        if self.package is None:
            return self.make(self.pipeline)
        return self.make(relocated(self.pipeline, unpack(self.package)))
