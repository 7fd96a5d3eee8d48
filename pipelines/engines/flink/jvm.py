"""The JVM that PyFlink talks to: started with what verdict needs, and stopped by its id.

PyFlink would start one itself, but would wait for it idly, give it a pipe for its stderr that
nobody reads (once full, the JVM stands still), and keep no handle to stop it by.
"""

import contextlib
import importlib
import json
import logging
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from verdict.pipelines.engines.flink.java import beam_blocked, environment, java
from verdict.pipelines.errors import FlinkError

GATEWAY = "org.apache.flink.client.python.PythonGatewayServer"
PORT = "PYFLINK_GATEWAY_PORT"
"""Where PyFlink finds a JVM that runs already."""
STEP_S = 0.02
"""Seconds between two looks at something awaited."""
STARTING_S = 60.0
STOPPING_S = 15.0


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
