"""A Kafka broker on this machine, from nothing but Python wheels and pinned jars."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import copyfile
from string import Template
from typing import Any, Self

from verdict.pipelines.errors import LocalError
from verdict.pipelines.local.java import java_home, kafka_classpath, pinned
from verdict.pipelines.local.ports import HOST, free_ports, listens, ports_before
from verdict.pipelines.paths import cache_folder, replace_file, resource

# Few JIT compilations and the simplest collector, against the JVM's defaults on 2 cores: a start of
# 2.6 s and 3.3 s of CPU, not 3.8 and 6.8; 600,000 records of 150 bytes produced for 4 s of the
# broker's CPU, not 8. A local broker seldom lives long enough to earn back what C2 costs.
JVM = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dlog4j2.configurationFile=log4j2.properties",
)
STEP = 0.02
"""Seconds between two looks at something awaited."""
STOPPING = 15.0
"""Seconds a broker has to stop by itself, some 0.4 of which it needs."""
PR_SET_PDEATHSIG = 1
"""From Linux's ``prctl.h``: the signal that a process gets when its parent dies."""


class LocalKafka:
    """A Kafka broker of one node on 127.0.0.1, at free ports, with its data in a folder.

    Its own session keeps Ctrl-C from it: Python stops it. Started again in the same folder, it
    has its topics, and its ports when they are still free.

    Parameters
    ----------
    folder
        For its data, settings and logs.
    detach
        Whether it goes on when this process ends. Otherwise Linux kills it with the *thread* that
        started it, so start it from one that lives as long.
    java_options
        Further options of Java, which win over those of ours that they repeat.

    Examples
    --------
    >>> with LocalKafka(Path("/tmp/example")) as kafka:  # doctest: +SKIP
    ...     kafka.bootstrap
    '127.0.0.1:23456'
    """

    def __init__(
        self, folder: Path, *, detach: bool = False, java_options: Sequence[str] = ()
    ) -> None:
        self.folder = folder.absolute()
        self.detach = detach
        self._java_options = java_options
        self._ports: tuple[int, int] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        if self._ports is None:
            raise LocalError(f"{self.folder}: this broker was never started; call start().")
        return f"{HOST}:{self._ports[0]}"

    @property
    def pid(self) -> int:
        """Id of the broker's process."""
        if self._process is None:
            raise LocalError(f"{self.folder}: this broker does not run; call start().")
        return self._process.pid

    def start(self, timeout: float = 60.0) -> Self:
        """Start the broker and wait until it answers.

        Parameters
        ----------
        timeout
            Seconds, counted from when its process starts.

        Raises
        ------
        LocalError
            It died or did not answer in time; the message has the last lines of its log.
        """
        if self._process is not None and self._process.poll() is None:
            return self
        java = [str(java_home() / "bin" / "java"), *JVM, *self._java_options]
        java += ["-cp", kafka_classpath()]
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        (self.folder / "logs").mkdir(exist_ok=True)
        self._configure()
        log_start = _size(self.folder / "logs" / "kafka.log")
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(java)
        try:
            with (self.folder / "logs" / "console.log").open("wb") as console:
                self._process = subprocess.Popen(
                    [*java, f"-Dverdict.folder={self.folder}", "kafka.Kafka", "kraft.properties"],
                    cwd=self.folder,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=None if self.detach else _die_with_parent(),
                )
            self._wait(timeout, log_start)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Stop the broker and wait for its end; SIGKILL after 15 s."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the broker with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self, timeout: float = 60.0) -> Self:
        """Start the broker again, at the same ports and on the same data; stop it if it runs."""
        self.stop()
        return self.start(timeout)

    def release(self) -> str:
        """Let a detached broker go, no longer this object's to stop; return its address."""
        if self._process is not None:
            # Keeps Popen's finaliser from warning of a child left running.
            self._process.returncode = 0
            self._process = None
        return self.bootstrap

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _configure(self) -> None:
        """Write the settings, all paths relative: Kafka splits ``log.dirs`` at commas."""
        settings = self.folder / "kraft.properties"
        if self._ports is None:
            self._ports = ports_before(settings) or free_ports()
        template = Template(resource("deploy/local/kraft.properties").read_text())
        broker, controller = self._ports
        settings.write_text(template.substitute(broker_port=broker, controller_port=controller))
        copyfile(resource("deploy/local/log4j2.properties"), self.folder / "log4j2.properties")

    def _format(self, java: list[str]) -> None:
        """Make the data folder a broker's.

        ``bootstrap.checkpoint`` holds Kafka's feature levels and nothing of this broker: Kafka's
        tool, a JVM of 1.5 s, makes the first, and the others are copies.
        """
        data = self.folder / "data"
        version = pinned("kafka")[0].version
        checkpoint = cache_folder() / f"kafka-{version}-bootstrap.checkpoint"
        if checkpoint.exists():
            copyfile(checkpoint, data / "bootstrap.checkpoint")
            replace_file(
                data / "meta.properties",
                f"version=1\nnode.id=1\ncluster.id={_kafka_id()}\ndirectory.id={_kafka_id()}\n",
            )
            return
        tool = ["kafka.tools.StorageTool", "format", "-t", _kafka_id(), "-c", "kraft.properties"]
        done = subprocess.run(
            [*java, *tool],
            cwd=self.folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LocalError(f"{data}: Kafka cannot format this folder:\n{_last(done.stdout)}")
        replace_file(checkpoint, (data / "bootstrap.checkpoint").read_bytes())

    def _wait(self, timeout: float, log_start: int) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        assert self._process is not None
        deadline = time.monotonic() + timeout
        # librdkafka waits longer and longer between its tries: it is asked once the port is open.
        client: Any = None
        while True:
            if self._process.poll() is not None:
                raise LocalError(self._failure("died while starting", log_start))
            if time.monotonic() > deadline:
                raise LocalError(self._failure(f"did not answer in {timeout:g} s", log_start))
            if client is None and listens(self.bootstrap):
                client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
            with contextlib.suppress(KafkaException):
                if client is not None and client.list_topics(timeout=1.0).brokers:
                    return
            time.sleep(STEP)

    def _failure(self, what: str, log_start: int) -> str:
        logs = self.folder / "logs"
        text = (logs / "console.log").read_text(errors="replace")
        if (log := logs / "kafka.log").exists():
            whole = log.read_bytes()
            # A log that shrank was rolled over.
            text += whole[log_start if log_start <= len(whole) else 0 :].decode(errors="replace")
        return (
            f"{self.bootstrap}: the Kafka broker {what}. The last lines of {logs}:\n{_last(text)}"
        )


def _die_with_parent() -> Callable[[], None] | None:
    """Return what the child does before it becomes Java: ask Linux to end it with its parent."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before it could be asked for
            os._exit(1)

    return ask


def _environment() -> dict[str, str]:
    # In the C locale Java cannot open a jar in a folder with a non-ASCII name.
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _kafka_id() -> str:
    """Return a UUID as Kafka writes one: base64, with no ``-`` in front, as in an option."""
    return "A" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _last(text: str, lines: int = 12) -> str:
    """Return the last lines that are not a Java stack's frames or the runtime's warnings."""
    noise = re.compile(r"\s+(at |\.\.\. )|WARNING: ")
    return "\n".join([line for line in text.splitlines() if not noise.match(line)][-lines:])


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
