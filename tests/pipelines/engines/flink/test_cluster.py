"""The settings of a standalone cluster: a loss is noticed soon, a pause is no loss.

What such a cluster does is in `tests/integration/`.
"""

from pathlib import Path

from verdict.pipelines.engines.flink.cluster import configured, job_manager_options


def test_a_loss_is_noticed_before_another_process_is_up() -> None:
    found = configured(6123, 8081, Path("/tmp"))["heartbeat"]
    assert found["interval"] * found["rpc-failure-threshold"] <= 2000
    assert found["timeout"] <= 6000


def test_a_pause_is_no_loss() -> None:
    found = configured(6123, 8081, Path("/tmp"))["heartbeat"]
    assert found["timeout"] >= 5000
    assert found["timeout"] >= 5 * found["interval"]


def test_java_options_of_the_job_manager_are_those_of_the_file() -> None:
    settings = configured(6123, 8081, Path("/tmp"))
    assert "-XX:TieredStopAtLevel=1" in job_manager_options(settings)
    settings["env"]["java"]["opts"]["jobmanager"] = "-Da=1 -Db=2"
    assert job_manager_options(settings)[-2:] == ["-Da=1", "-Db=2"]


def test_metrics_are_there_where_ports_are_named() -> None:
    assert "metrics" not in configured(6123, 8081, Path("/tmp"))
    found = configured(6123, 8081, Path("/tmp"), "9250-9260")
    assert found["metrics"]["reporter"]["prom"]["port"] == "9250-9260"
