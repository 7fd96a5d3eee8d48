"""Names that stand in topics, state, metrics and on the command line.

Each is a `str`, and is compared, pickled and written as one. What follows from a name is made from
here: the settings of ``topics`` and their page, which streams `verdict tail` knows and which stages
`verdict dlq`, the file of a stream's schema.
"""

from enum import StrEnum


class _Name(StrEnum):
    """Shown as the text that it is, in errors as well.

    >>> Stream.DRIFT, f"{Stream.DRIFT}", Stream.DRIFT == "drift"
    ('drift', 'drift', True)
    """

    __repr__ = str.__repr__


class Stream(_Name):
    """A stream that verdict writes, in Avro: to a topic named in ``topics``.

    Attributes
    ----------
    about
        What a record of it is.
    always
        Whether every pipeline has it; `Pipeline.topics` says which one has the others.
    """

    about: str
    always: bool

    def __new__(cls, name: str, about: str = "", always: bool = True) -> "Stream":
        """Make a member: its value is its name."""
        made = str.__new__(cls, name)
        made._value_, made.about, made.always = name, about, always
        return made

    DECISIONS = "decisions", "One decision an event."
    DEAD_LETTERS = "dead-letters", "What could not be decoded, validated or scored."
    SHADOW_SCORES = "shadow-scores", "Each challenger's score and action beside the champion's."
    DRIFT = "drift", "The state of each window of each feature, with its alarms."
    COMPARISON = "comparison", "Running totals of champion against challenger."
    STATE_ANSWERS = (
        "state-answers",
        "What became of the commands: the record of every erasure.",
        False,
    )
    ENTITY_LABELS = (
        "entity-labels",
        "Labels with their events' times and keys, from the job ``labels`` to the job ``score``.",
        False,
    )

    @property
    def schema(self) -> str:
        """The file of its schema in ``avro/``, named for one record, without ``.avsc``.

        >>> Stream.STATE_ANSWERS.schema
        'state-answer'
        """
        return self.removesuffix("s")


class InputStream(_Name):
    """A stream that others write, in a form that the pipeline file describes; commands in JSON."""

    EVENTS = "events"
    LABELS = "labels"
    STATE_COMMANDS = "state-commands"


class Stage(_Name):
    """Where a record failed."""

    DECODE = "decode"
    VALIDATE = "validate"
    FEATURES = "features"
    SCORE = "score"
    JOIN = "join"


class BadKind(_Name):
    """What is wrong with a record, as a word to count by: the kind of its dead letter.

    Attributes
    ----------
    stage
        Where that is found.

    Examples
    --------
    >>> BadKind.NOT_AVRO, BadKind.NOT_AVRO.stage
    ('not-avro', 'decode')
    """

    stage: Stage

    def __new__(cls, name: str, stage: Stage) -> "BadKind":
        """Make a member: its value is its name."""
        made = str.__new__(cls, name)
        made._value_, made.stage = name, stage
        return made

    TOMBSTONE = "tombstone", Stage.DECODE
    EMPTY = "empty", Stage.DECODE
    NOT_AVRO = "not-avro", Stage.DECODE
    SURPLUS_BYTES = "surplus-bytes", Stage.DECODE
    NOT_JSON = "not-json", Stage.DECODE
    NOT_A_RECORD = "not-a-record", Stage.DECODE
    WIRE_FORMAT = "wire-format", Stage.DECODE
    UNKNOWN_SCHEMA = "unknown-schema", Stage.DECODE
    SCHEMA_MISMATCH = "schema-mismatch", Stage.DECODE
    BAD_COMMAND = "bad-command", Stage.DECODE
    MISSING_FIELD = "missing-field", Stage.VALIDATE
    MISSING_KEY = "missing-key", Stage.VALIDATE  # of a lookup's row, for which there is no letter
    WRONG_TYPE = "wrong-type", Stage.VALIDATE
    TIME_RANGE = "time-range", Stage.VALIDATE
    TIME_IN_SECONDS = "time-in-seconds", Stage.VALIDATE
    AHEAD = "ahead", Stage.VALIDATE
    TOO_LARGE = "too-large", Stage.VALIDATE
    KEY_MISMATCH = "key-mismatch", Stage.VALIDATE
    IMPLAUSIBLE = "implausible", Stage.VALIDATE
    ID_REUSED = "id-reused", Stage.VALIDATE
    NO_LABEL = "no-label", Stage.VALIDATE
    NO_VALUE = "no-value", Stage.FEATURES
    FUNCTION_ERROR = "function-error", Stage.FEATURES
    MODEL_ERROR = "model-error", Stage.SCORE
    NOT_FINITE = "not-finite", Stage.SCORE
    TOO_MANY = "too-many", Stage.JOIN


class JobName(_Name):
    """What runs as one."""

    SCORE = "score"
    SHADOW = "shadow"
    WATCH = "watch"
    LABELS = "labels"
    BACKFILL = "backfill"


EVENTS, LABELS = InputStream.EVENTS, InputStream.LABELS
STATE_COMMANDS, STATE_ANSWERS = InputStream.STATE_COMMANDS, Stream.STATE_ANSWERS
DECISIONS, DEAD_LETTERS = Stream.DECISIONS, Stream.DEAD_LETTERS
SHADOW_SCORES, DRIFT, COMPARISON = Stream.SHADOW_SCORES, Stream.DRIFT, Stream.COMPARISON
ENTITY_LABELS = Stream.ENTITY_LABELS

ROWS = "rows"
"""The output of a backfill: a `Row` for each event."""

SCORE_JOB, SHADOW_JOB, WATCH_JOB = JobName.SCORE, JobName.SHADOW, JobName.WATCH
LABELS_JOB, BACKFILL_JOB = JobName.LABELS, JobName.BACKFILL
