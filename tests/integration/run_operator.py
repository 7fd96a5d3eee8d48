"""run_operator.py FOLDER JSON: `BatchOperator` over numbers; what it puts out is FOLDER/found."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)

from tests.integration import flink_operator  # noqa: E402
from verdict.pipelines.engines.flink.session import session_jvm  # noqa: E402
from verdict.pipelines.engines.flink.settings import FlinkSettings  # noqa: E402
from verdict.pipelines.local.java import flink_jars  # noqa: E402


def run(settings: FlinkSettings, asked: dict[str, Any]) -> list[Any]:
    """Run the job; its last element is an error, if it fails."""
    from pyflink.common import Configuration
    from pyflink.datastream import DataStream, StreamExecutionEnvironment
    from pyflink.table import StreamTableEnvironment

    from verdict.pipelines.engines.flink import graph, operator
    from verdict.pipelines.engines.flink.configure import configure

    operator.OPENING = flink_operator.OPENING
    configuration = Configuration()
    for name, value in configure(settings).items():
        configuration.set_string(name, value)
    # The base class would work a batch off once a second: here nothing but the operator does.
    configuration.set_string("python.fn-execution.bundle.time", "3600000")
    configuration.set_string("python.fn-execution.bundle.size", "1000000000")
    configuration.set_string("pipeline.auto-generate-uids", "true")
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    tables = StreamTableEnvironment.create(env)
    tables.execute_sql(
        "CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', "
        f"'rows-per-second' = '{asked['rate']}', 'fields.n.kind' = 'sequence', "
        f"'fields.n.start' = '0', 'fields.n.end' = '{asked['records'] - 1}')"
    )
    text = f"CAST(MOD(n, {asked['keys']}) AS STRING)"
    records = tables.to_append_stream(
        tables.sql_query(
            f"SELECT {text} AS `key`, 0 AS `src`, ENCODE({text}, 'UTF-8') AS `k`, X'01' AS `v`, "
            "0 AS `part`, n AS `off`, CAST(7 AS BIGINT) AS `ts` FROM numbers"
        ),
        operator.record_type(()),
    )
    job = flink_operator.job(getattr(flink_operator, asked["operator"]))
    hops = operator.Operators(job, env, ["topic"], asked["size"])
    counted = hops.hop(graph._by_key(records._j_data_stream), 0, "count", None)
    found: list[Any] = []
    try:
        with DataStream(counted).execute_and_collect() as rows:
            found += [pickle.loads(bytes(each % 256 for each in row[3])) for row in rows]
    except Exception as error:
        found.append(str(error))
    return found


def main() -> None:
    folder, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    settings = FlinkSettings(
        "none:9092",
        folder,
        folder / "checkpoints",
        flink_jars(),
        python_path=[ROOT],
        checkpoint_interval_ms=asked["checkpoints"],
        java_options=["-XX:TieredStopAtLevel=1"],
        restarts=asked["restarts"],
    )
    with session_jvm(settings) as jvm:
        jvm.connect()
        (folder / "found").write_bytes(pickle.dumps(run(settings, asked)))


if __name__ == "__main__":
    main()
