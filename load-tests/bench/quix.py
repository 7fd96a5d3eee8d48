"""The peer in Quix Streams: its consumer and producer, its Avro, its RocksDB state.

    python quix.py --bootstrap HOST:PORT --events TOPIC --decisions TOPIC --state FOLDER

Runs in a virtual environment of its own (``quix.txt``), for Quix Streams wants another release of
confluent-kafka. Its settings are its own defaults, but for two that cost it time and give nothing
that the others have: no changelog topic of the state, no logs.
"""

import argparse
from typing import Any

from handmade import Model, decision, features, schema
from quixstreams import Application, State
from quixstreams.models.serializers.avro import AvroDeserializer, AvroSerializer

HISTORY = "history"


def main() -> None:
    """Decide until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--events", required=True)
    parser.add_argument("--decisions", required=True)
    parser.add_argument("--state", required=True)
    asked = parser.parse_args()
    model = Model()

    def decide(event: dict[str, Any], state: State) -> dict[str, Any]:
        row, packed = features(event, state.get_bytes(HISTORY))
        state.set_bytes(HISTORY, packed)
        [score] = model([row])
        return decision(event, row, score)

    app = Application(
        broker_address=asked.bootstrap,
        consumer_group=asked.decisions,  # a new one each run, so that it reads all
        auto_offset_reset="earliest",
        state_dir=asked.state,
        use_changelog_topics=False,
        auto_create_topics=False,
        loglevel="ERROR",
        producer_extra_config={"acks": "all", "enable.idempotence": True, "linger.ms": 5},
    )
    events = app.topic(
        asked.events,
        key_deserializer="bytes",
        value_deserializer=AvroDeserializer(schema("payment.avsc")),
    )
    decisions = app.topic(
        asked.decisions,
        key_serializer="bytes",
        value_serializer=AvroSerializer(schema("decision.avsc")),
    )
    app.dataframe(events).apply(decide, stateful=True).to_topic(decisions)
    app.run()


if __name__ == "__main__":
    main()
