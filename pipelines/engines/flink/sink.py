"""A hop's Kafka sinks: what they deliver, and under which transactional ids."""

from verdict.pipelines.engines.flink.settings import EXACTLY_ONCE, FlinkSettings
from verdict.pipelines.engines.flink.uids import uid_prefix
from verdict.pipelines.topology import Hop, Job


def delivery(job: Job, hop: Hop, topic: str, settings: FlinkSettings) -> dict[str, str]:
    """Return the options of a hop's sink to one topic by which nothing is lost, nor counts twice.

    Examples
    --------
    >>> from pathlib import Path
    >>> hop = Hop("customer", True, operator=lambda: None)
    >>> job = Job("score", "p", ("events",), (hop,), ("decisions",))
    >>> settings = FlinkSettings("localhost:9092", Path("/f"), Path("/f/checkpoints"))
    >>> delivery(job, hop, "decided", settings)["sink.transactional-id-prefix"]
    'p/score/customer/decided'
    """
    if settings.delivery != EXACTLY_ONCE:
        return {"sink.delivery-guarantee": settings.delivery}
    # What starts under a prefix aborts what is open under it.
    beside = "silent/" if settings.silent is True else ""
    return {
        "sink.delivery-guarantee": EXACTLY_ONCE,
        # The topic, not the stream: a second run of the job, to topics of its own, would
        # otherwise abort the first one's transactions.
        "sink.transactional-id-prefix": f"{beside}{uid_prefix(job)}/{hop.name}/{topic}",
        # A few ids that are used again, and lingering transactions found by asking the broker.
        # INCREMENTING takes a new id with each checkpoint, which the broker remembers for a
        # week, and a start without state tries all of them.
        "sink.transaction-naming-strategy": "POOLING",
        "properties.transaction.timeout.ms": str(settings.transaction_timeout_ms),
    }
