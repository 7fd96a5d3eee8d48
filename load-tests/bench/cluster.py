"""A standalone Flink cluster for one contestant: prints its address, runs until SIGTERM.

python cluster.py FOLDER TASK_MANAGERS

Each JVM notes its pauses in ``FOLDER/log``; `pauses` reads them.
"""

import signal
import sys
import threading
from pathlib import Path

from pauses import log_option

from verdict.pipelines.engines.flink.cluster import FlinkCluster
from verdict.pipelines.local.java import flink_jars


def main() -> None:
    """Start it, say where it is, wait."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    folder, task_managers = Path(sys.argv[1]), int(sys.argv[2])
    # The TaskManagers look for modules where this process does; this folder has none for them.
    sys.path.pop(0)
    options = [log_option(folder)]
    with FlinkCluster(folder, flink_jars(), task_managers, java_options=options) as cluster:
        print(cluster.address, flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
