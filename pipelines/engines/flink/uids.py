"""Stable uids and names for every transformation of a job's Flink program.

Flink keeps state under the uid of its operator. SQL's planner gives uids and names with numbers
that count all of a program's nodes, so they shift when an output is added. Here each is made from
the job value alone: pipeline, job, hop, and the part that the transformation plays.
"""

import re
from collections.abc import Mapping
from typing import Any

from verdict.pipelines.errors import FlinkError
from verdict.pipelines.topology import Job

SOURCE_TABLE = re.compile(r"\binput_(\d+)\b")
SINK_TABLE = re.compile(r"\bhop_(\d+)_output_(\d+)\b")
ROLES: Mapping[str, str] = {
    "DataStreamToTable": "rows",
    "Calc": "select",
    "Union": "union",
    "SinkConversion": "records",
    "Partition": "key",
    "ConstraintEnforcer": "constraints",
}
"""What SQL's planner and Java's key selector call a transformation -> what it is called here."""


def uid_prefix(job: Job) -> str:
    """Return what all uids of a job begin with.

    Examples
    --------
    >>> uid_prefix(Job("score", "card-fraud", (), (), ()))
    'card-fraud/score'
    """
    return f"{job.pipeline}/{job.name}"


def hop_uid(job: Job, hop: str) -> str:
    """Return the uid of a hop's operator, under which its state is kept.

    Examples
    --------
    >>> hop_uid(Job("score", "card-fraud", (), (), ()), "customer")
    'card-fraud/score/customer'
    """
    return f"{uid_prefix(job)}/{hop}"


def name_all(job: Job, environment: Any, hops: Mapping[int, str]) -> list[str]:
    """Give every transformation of a program its uid and name; return the uids.

    Parameters
    ----------
    job
        What the program is of.
    environment
        Java's ``StreamExecutionEnvironment``, in which the whole program is registered.
    hops
        Id of a Java transformation -> the hop that it is.

    Raises
    ------
    FlinkError
        Two transformations would have one uid: SQL's planner makes what this does not know.
    """
    namer = _Namer(job, hops)
    for transformation in environment.getTransformations():
        namer.walk(transformation)
    return list(namer.given)


class _Namer:
    def __init__(self, job: Job, hops: Mapping[int, str]) -> None:
        self._job = job
        self._hops = hops
        self._seen: set[int] = set()
        self._unions = 0
        self.given: dict[str, str] = {}

    def walk(self, end: Any) -> None:
        """Name a sink or a hop, and all before it up to the next hop or the sources."""
        found = SINK_TABLE.search(end.getName())
        if found:
            hop = self._job.hops[int(found[1])].name
            place = f"{hop}/sink/{self._job.outputs[int(found[2]) - 1]}"
            self._give(end, place)
            self._before(end, place)
        elif end.getId() in self._hops:
            hop = self._hops[end.getId()]
            self._give(end, hop)
            self._before(end, f"{hop}/in")
        # Anything else is registered besides, as the conversion before a hop is: a hop leads to it.

    def _before(self, transformation: Any, place: str) -> None:
        """Name what comes before, up to the hop or the sources that it comes from."""
        for before in transformation.getInputs():
            if before.getId() in self._hops or before.getId() in self._seen:
                continue
            if source := SOURCE_TABLE.search(before.getName()):
                self._give(before, f"source/{self._job.inputs[int(source[1])]}")
                continue
            role = _role(before.getName())
            inputs = list(before.getInputs())
            reads = SOURCE_TABLE.search(inputs[0].getName()) if role == "select" else None
            if reads:
                self._give(before, f"source/{self._job.inputs[int(reads[1])]}/{role}")
            elif role == "union":
                # Two streams at a time, and no operator: numbers that shift harm nothing.
                self._unions += 1
                self._give(before, f"{place}/{role}/{self._unions}")
            else:
                self._give(before, f"{place}/{role}")
            self._before(before, place)

    def _give(self, transformation: Any, place: str) -> None:
        uid = f"{uid_prefix(self._job)}/{place}"
        name = transformation.getName()
        if uid in self.given:
            raise FlinkError(
                f"{uid} would be the uid of both {self.given[uid]!r} and {name!r}: this release of "
                "Flink plans a job otherwise than the one that verdict was made for; install "
                "apache-flink as constraints.txt pins it"
            )
        self.given[uid] = name
        self._seen.add(transformation.getId())
        transformation.setUid(uid)
        transformation.setName(uid)


def _role(name: str) -> str:
    """Name a part by what the planner calls it, without the planner's number.

    >>> _role("Calc[12]"), _role("WatermarkAssigner[3]")
    ('select', 'watermarkassigner')
    """
    plain = re.sub(r"\[\d+\]$", "", name)
    return ROLES.get(plain, re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-"))


def stateful(job: Job) -> list[str]:
    """List the uids that keep state: sources their offsets, sinks their transactions.

    Examples
    --------
    >>> from verdict.pipelines.topology import Hop
    >>> hops = (Hop("decode", False, lambda: None), Hop("card", True, lambda: None))
    >>> stateful(Job("score", "p", ("events",), hops, ("decisions",)))[:2]
    ['p/score/source/events', 'p/score/card']
    """
    sinks = [f"{hop.name}/sink/{output}" for hop in job.hops for output in job.outputs]
    return [
        *(f"{uid_prefix(job)}/source/{stream}" for stream in job.inputs),
        *(hop_uid(job, hop.name) for hop in job.hops if hop.keyed),
        *(f"{uid_prefix(job)}/{sink}" for sink in sinks),
    ]
