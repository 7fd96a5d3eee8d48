"""Flink's REST API, as far as verdict asks it, and what its error texts mean."""

import contextlib
import json
import re
import urllib.error
import urllib.request
from typing import Any

from pipelines.errors import FlinkError

TIMEOUT_S = 5.0
ENDED = ("FINISHED", "CANCELED", "FAILED", "SUSPENDED")


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
        entries = self.get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        return str(entries[0]["stacktrace"]) if entries else ""

    def _ask(self, path: str, method: str) -> dict[str, Any]:
        request = urllib.request.Request(f"http://{self.address}{path}", method=method)
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
    """Find the message of the first cause in a Java stack trace.

    Examples
    --------
    >>> cause_of(
    ...     "JobExecutionException: Job execution failed.\\n\\tat a.B.c(B.java:1)\\n"
    ...     "Caused by: pemja.core.PythonException: <class 'ValueError'>: no amount\\n"
    ...     "\\tat /x/decode.process_element(decode.py:7)\\n"
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
