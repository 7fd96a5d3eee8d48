"""Flink's REST API, as far as verdict asks it, and what its error texts mean."""

import contextlib
import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from verdict.pipelines.errors import FlinkError

TIMEOUT_S = 5.0
LOOK_S = 0.1
"""Seconds between two looks at something that the cluster does."""
ENDED = ("FINISHED", "CANCELED", "FAILED", "SUSPENDED")


class Slots(NamedTuple):
    """How many tasks a cluster can run, and how many more."""

    total: int
    free: int


class Rest:
    """The REST API of a JobManager.

    Parameters
    ----------
    address
        ``host:port``.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str) -> dict[str, Any]:
        """Return what the cluster answers at a path.

        Raises
        ------
        FlinkError
            It does not answer in 5 s, or refuses.
        """
        return self._ask(path, "GET")

    def cancel(self, job_id: str) -> None:
        """Ask for a job's end; its last checkpoint stays."""
        self._ask(f"/jobs/{job_id}?mode=cancel", "PATCH")

    def state(self, job_id: str) -> str:
        """Return a job's state: ``RUNNING``, ``RESTARTING``, ``FINISHED`` and so on."""
        return str(self.get(f"/jobs/{job_id}")["state"])

    def failure(self, job_id: str) -> str:
        """Return the text of a job's last failure; empty where there was none."""
        return next(iter(self.failures(job_id)), "")

    def jobs(self, name: str) -> dict[str, str]:
        """Return the jobs of a name that have not ended: id -> state."""
        found = self.get("/jobs/overview")["jobs"]
        return {
            job["jid"]: job["state"]
            for job in found
            if job["name"] == name and job["state"] not in ENDED
        }

    def slots(self) -> Slots:
        """Return how many slots there are."""
        found = self.get("/overview")
        return Slots(found["slots-total"], found["slots-available"])

    def tasks(self, job_id: str) -> dict[str, int]:
        """Count a job's tasks by their state: ``{"RUNNING": 5}``."""
        counts: dict[str, int] = {}
        for vertex in self.get(f"/jobs/{job_id}")["vertices"]:
            for state, count in vertex["tasks"].items():
                if count:
                    counts[state] = counts.get(state, 0) + count
        return counts

    def failures(self, job_id: str) -> list[str]:
        """Return the texts of a job's failures, the newest first."""
        entries = self.get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        return [str(entry["stacktrace"]) for entry in entries]

    def checkpoints(self, job_id: str) -> int:
        """Count the checkpoints that a job has completed since it was submitted."""
        return int(self.get(f"/jobs/{job_id}/checkpoints")["counts"]["completed"])

    def checkpoint(self, job_id: str) -> None:
        """Ask for a checkpoint now; `checkpoints` tells when it is complete."""
        self._ask(f"/jobs/{job_id}/checkpoints", "POST", {"checkpointType": "CONFIGURED"})

    def stop(self, job_id: str, folder: Path, seconds: float) -> Path:
        """Stop a job with a savepoint, and return the savepoint's folder.

        Parameters
        ----------
        job_id
            The job.
        folder
            That the savepoint's folder is made in.
        seconds
            How long it may take.

        Raises
        ------
        FlinkError
            There is no savepoint: the job goes on, unless the time was over.
        """
        asked = {
            "targetDirectory": folder.absolute().as_uri(),
            "drain": False,
            # RocksDB's own files: as fast as a checkpoint, however much state there is.
            "formatType": "NATIVE",
        }
        request = self._ask(f"/jobs/{job_id}/stop", "POST", asked)["request-id"]
        deadline = time.monotonic() + seconds
        while True:
            found = self.get(f"/jobs/{job_id}/savepoints/{request}")
            if found["status"]["id"] == "COMPLETED":
                break
            if time.monotonic() > deadline:
                raise FlinkError(
                    f"job {job_id} on {self.address} has no savepoint after {seconds:g} s; look at "
                    "its checkpoints, which take as long: 'verdict plan' says how large they are"
                )
            time.sleep(LOOK_S)
        operation = found["operation"]
        if "location" not in operation:
            text = str(operation.get("failure-cause", {}).get("stack-trace", ""))
            raise FlinkError(
                f"job {job_id} on {self.address} made no savepoint, and goes on: {cause_of(text)}",
                text,
            )
        while self.state(job_id) not in ENDED:
            if time.monotonic() > deadline:
                raise FlinkError(f"job {job_id} on {self.address} does not end; cancel it")
            time.sleep(LOOK_S)
        return Path(unquote(urlsplit(str(operation["location"])).path))

    def _ask(self, path: str, method: str, body: Any = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{self.address}{path}",
            data,
            {} if data is None else {"Content-Type": "application/json"},
            method=method,
        )
        try:
            # No proxy: a cluster is asked where it is.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            with contextlib.suppress(ValueError, KeyError, IndexError):
                text = json.loads(text)["errors"][0]
            raise FlinkError(f"{self.address}{path}: {text.splitlines()[0]}", text) from None
        except (OSError, ValueError) as error:
            raise FlinkError(
                f"{self.address}: no Flink cluster answers ({error}); is its JobManager up, and "
                "is this its REST port?"
            ) from None


def cause_of(text: str) -> str:
    r"""Find the message of the first cause in a Java stack trace.

    Examples
    --------
    >>> cause_of(
    ...     "JobExecutionException: Job execution failed.\n\tat a.B.c(B.java:1)\n"
    ...     "Caused by: pemja.core.PythonException: <class 'ValueError'>: no amount\n"
    ...     "\tat /x/decode.process_element(decode.py:7)\n"
    ... )
    'ValueError: no amount'
    """
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("Caused by: ")] or [0]
    message: list[str] = []
    for line in lines[starts[-1] :]:
        if message and re.match(r"\s+at |\s+\.\.\. ", line):
            break
        message.append(line)
    cause = "\n".join(message).removeprefix("Caused by: ").strip()
    cause = cause.removeprefix("pemja.core.PythonException: ")
    cause = re.sub(r"^<class '(?:[\w.]*\.)?(\w+)'>: ", r"\1: ", cause)
    cause = cause.removeprefix("FlinkError: ")  # which says all by itself
    return re.sub(r"^(?:[a-z]\w*\.)+([\w$]+): ", r"\1: ", cause) or "no cause given"
