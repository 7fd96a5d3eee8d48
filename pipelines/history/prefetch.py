"""The first hops of a job in a process of their own, so that a backfill has two cores.

It reads the events, runs them through those hops and sends what comes of them through a pipe. The
same operators see the same events in the same order, so the same bits come out.
"""

import contextlib
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO, Any

from verdict.operators.message import Message
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.engines.garbage import spared
from verdict.pipelines.errors import FileError, OperatorError, RegistryError
from verdict.pipelines.history.packing import Part, packed, unpacked
from verdict.pipelines.topology import Job
from verdict.state.errors import VerdictError

WAITING = 16
"""Parts that wait to be taken, so that neither process waits for the other's slowest moments."""
ROOM = 1 << 20
"""Bytes of a pipe: some parts, so that whoever sends one need not wait until it is read."""
LENGTH = struct.Struct("<I")
BEGIN = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from verdict.pipelines.history.prefetch import main; main()"
)
PART, END, FAILED = b"p", b"e", b"f"
"""What is sent: what came of some events, the end, an error."""
SAID = {error.__name__: error for error in (FileError, RegistryError)}
"""Errors that are raised here as they were there; any other is an `OperatorError`."""


def halves(job: Job) -> tuple[Job, Job] | None:
    """Cut a job's hops in two of about the same work; None where one alone is keyed.

    >>> from verdict.pipelines.topology import Hop
    >>> hops = tuple(Hop(name, name != "decode", list) for name in ("decode", "card", "shop", "ip"))
    >>> first, second = halves(Job("score", "p", ("events",), hops, ("decisions",)))
    >>> [hop.name for hop in first.hops], [hop.name for hop in second.hops]
    (['decode', 'card', 'shop'], ['ip'])
    """
    keyed = [index for index, hop in enumerate(job.hops) if hop.keyed]
    if len(keyed) < 2:
        return None
    cut = keyed[(len(keyed) + 1) // 2]
    return replace(job, hops=job.hops[:cut]), replace(job, hops=job.hops[cut:])


class Prefetch:
    """A process that works ahead; its parts are there to be iterated over.

    Parameters
    ----------
    work
        What it does: it pickles.

    Raises
    ------
    VerdictError
        As the function does.
    OperatorError
        It ended otherwise, or was killed.
    """

    def __init__(self, work: Callable[[], Iterator[Part]]) -> None:
        # A session of its own, so that Ctrl-C is not for it: it ends when nobody reads any more.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", BEGIN],  # nothing of the folder that it is started in
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pipesize=ROOM,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended; what it sent says why
            pickle.dump(sys.path, self._process.stdin)
            pickle.dump(work, self._process.stdin)
            self._process.stdin.close()
        self._parts: queue.Queue[tuple[bytes, bytes]] = queue.Queue(WAITING)
        self._closed = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        kind = b""
        assert self._process.stdout is not None
        while kind not in (END, FAILED):
            try:
                kind, data = _received(self._process.stdout)
            except Exception as error:  # else whoever waits would wait for ever
                self._process.kill()
                kind, data = FAILED, pickle.dumps(("", f"{type(error).__name__}: {error}"))
            while not self._closed:
                with contextlib.suppress(queue.Full):
                    self._parts.put((kind, data), timeout=0.1)
                    break
            if self._closed:
                return

    def __iter__(self) -> Iterator[tuple[list[Message], list[OutputRecord], Any]]:
        while True:
            kind, data = self._parts.get()
            if kind == PART:
                yield unpacked(data)
                continue
            if kind == END:
                return
            if data:
                name, text = pickle.loads(data)
                raise SAID.get(name, OperatorError)(text)
            code = self._process.wait()
            why = ", perhaps for want of memory" if code < 0 else "; what it said is above"
            raise OperatorError(f"the process of the first hops ended with code {code}{why}")

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _received(pipe: IO[bytes]) -> tuple[bytes, bytes]:
    start = pipe.read(1 + LENGTH.size)
    if len(start) < 1 + LENGTH.size:
        return FAILED, b""
    (length,) = LENGTH.unpack_from(start, 1)
    data = pipe.read(length)
    return (start[:1], data) if len(data) == length else (FAILED, b"")


def _send(pipe: IO[bytes], kind: bytes, data: bytes) -> None:
    pipe.write(kind + LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def main() -> None:
    """Do the work of whoever started this process."""
    work: Callable[[], Iterator[Part]] = pickle.load(sys.stdin.buffer)
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints, in whatever language, shall not print into the pipe
    sys.stdout = sys.stderr
    with contextlib.suppress(BrokenPipeError):  # nobody reads any more
        try:
            with spared():
                for part in work():
                    _send(pipe, PART, packed(part))
            _send(pipe, END, b"")
        except VerdictError as error:
            _send(pipe, FAILED, pickle.dumps((type(error).__name__, str(error))))
    with contextlib.suppress(BrokenPipeError):
        pipe.close()
