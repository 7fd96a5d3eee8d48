"""The first hops of a job in a process of their own, so that a backfill has two cores.

It reads the events, runs them through those hops and sends what comes of them through a pipe. The
same operators see the same events in the same order, so the same bits come out.

Python's ``marshal`` carries them: both ends are this very interpreter, and pickle takes 9 us more
an event.
"""

import contextlib
import marshal
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from operators.decode import Event
from operators.labels import Label
from operators.message import NEXT, Message
from operators.score import Carry
from pipelines import errors
from pipelines.embedded import Output, Runner
from pipelines.errors import FileError, OperatorError, RegistryError
from pipelines.job import Job
from state.errors import VerdictError
from state.rocks import RocksStore

BATCH = 2_000
"""Events that are sent at once."""
COMMIT = 10
"""Batches whose state is kept in memory before it goes to RocksDB."""
WAITING = 2
"""Batches that wait to be taken."""
LENGTH = struct.Struct("<I")
EVENT, LABEL, OUTPUT, REST = "event", "label", "output", "rest"


@dataclass(frozen=True)
class Batch:
    """What came of some events in the first hops.

    Attributes
    ----------
    messages
        For the hops to come.
    outputs
        Of the first ones.
    events
        How many they were.
    read
        Bytes of the files that they were read from.
    """

    messages: Sequence[Message]
    outputs: Sequence[Output]
    events: int
    read: int


@dataclass(frozen=True)
class Rest:
    """What there is to say at the end: ``counts`` of the meters, and what ``told`` returned."""

    counts: Sequence[Mapping[tuple[str, ...], int]]
    told: Any


@dataclass(frozen=True)
class Work:
    """What the process does. It pickles.

    Attributes
    ----------
    job
        Its hops are the first ones.
    folder
        Of their state.
    messages
        Makes the job's input, in batches; called with what to call for each part of a file that was
        read, with its bytes.
    told
        Called at the end; what it returns pickles.
    """

    job: Job
    folder: Path
    messages: Callable[[Callable[[int], None]], Iterator[Message]]


def halves(job: Job) -> tuple[Job, Job] | None:
    """Cut a job's hops in two of about the same work; None where there is one keyed hop alone.

    >>> from pipelines.job import Hop
    >>> hops = [Hop(name, name != "decode", list) for name in ("decode", "card", "shop", "ip")]
    >>> first, second = halves(Job("score", "p", ("events",), tuple(hops), ("decisions",)))
    >>> [hop.name for hop in first.hops], [hop.name for hop in second.hops]
    (['decode', 'card', 'shop'], ['ip'])
    """
    keyed = [i for i, hop in enumerate(job.hops) if hop.keyed]
    if len(keyed) < 2:
        return None
    cut = keyed[(len(keyed) + 1) // 2]
    return replace(job, hops=job.hops[:cut]), replace(job, hops=job.hops[cut:])
