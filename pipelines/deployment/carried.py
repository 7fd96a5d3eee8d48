"""A job whose hops carry their pipeline's files with them."""

from dataclasses import replace

from verdict.pipelines.errors import SpecError
from verdict.pipelines.jobs.plan import HopPlan
from verdict.pipelines.spec.package import Package
from verdict.pipelines.topology import Job


def carried(job: Job, package: Package) -> Job:
    """Return the job with a package inside its hops' plans.

    Parameters
    ----------
    job
        Of `pipelines.jobs`.
    package
        The files of the pipeline that it was made from.

    Raises
    ------
    SpecError
        A hop is not made by a plan.
    """
    hops = []
    for hop in job.hops:
        if not isinstance(hop.operator, HopPlan):
            raise SpecError(
                [
                    f"hop '{hop.name}' of job '{job.name}' is not made by a HopPlan, so it can "
                    "carry no package; make it as pipelines.jobs does"
                ]
            )
        hops.append(replace(hop, operator=replace(hop.operator, package=package)))
    return replace(job, hops=tuple(hops))
