"""Names that stand in topics, state and metrics: streams, jobs, outputs."""

DECISIONS = "decisions"
DEAD_LETTERS = "dead-letters"
SHADOW_SCORES = "shadow-scores"
DRIFT = "drift"
COMPARISON = "comparison"


LABELS, ENTITY_LABELS = "labels", "entity-labels"
"""The streams: as others send them, and with their events' times and keys."""


ROWS = "rows"
"""The output of a backfill: a `Row` for each event."""


STATE_COMMANDS, STATE_ANSWERS = "state-commands", "state-answers"


EVENTS = "events"


LABEL_STREAMS = frozenset((LABELS, ENTITY_LABELS))


SCORE_JOB, SHADOW_JOB, WATCH_JOB, LABELS_JOB = "score", "shadow", "watch", "labels"
BACKFILL_JOB = "backfill"
