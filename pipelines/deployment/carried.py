"""A job whose factories carry their pipeline with them."""

from dataclasses import dataclass, replace
from functools import partial

from verdict.operators.message import Operator
from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec.package import Package, unpack
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Job


def carried(job: Job, pipeline: Pipeline, package: Package) -> Job:
    """Return the job with the package inside its hops' factories.

    Parameters
    ----------
    job
        Of `pipelines.jobs.score`: each factory takes the pipeline file's path first.
    pipeline
        What it was made from.
    package
        The same pipeline, packed.
    """
    hops = []
    for hop in job.hops:
        factory = hop.operator
        if not isinstance(factory, partial) or factory.args[:1] != (pipeline.path,):
            raise SpecError(
                [f"hop '{hop.name}' of job '{job.name}' does not take the pipeline file first"]
            )
        hops.append(replace(hop, operator=Carried(package, factory)))
    return replace(job, hops=tuple(hops))


@dataclass(frozen=True)
class Carried:
    """The factory of a hop that has its pipeline with it.

    Attributes
    ----------
    package
        The pipeline.
    factory
        The hop's own, bound to the path of the pipeline file on the machine that packed it.
    """

    package: Package
    factory: "partial[Operator]"

    def __call__(self) -> Operator:
        """Make the operator from the unpacked pipeline."""
        own = self.factory
        made: Operator = own.func(unpack(self.package), *own.args[1:], **own.keywords)
        return made
