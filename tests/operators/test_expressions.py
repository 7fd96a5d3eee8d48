"""The expression language: what it computes is what Python computes; all else is refused."""

import math
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from verdict.operators.errors import ExpressionError
from verdict.operators.expressions import FUNCTIONS, MISSING_CAUSES, Expression, Kind, hour, weekday

pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning")  # Python's, of '1 is None'

NAMES = {
    "amount": Kind.NUMBER,
    "limit": Kind.NUMBER,
    "event_time": Kind.NUMBER,
    "terminal.floor": Kind.NUMBER,
    "flag": Kind.BOOLEAN,
    "channel": Kind.STRING,
    "terminal.country": Kind.STRING,
}
OF_KIND = {
    Kind.NUMBER: (int, float),  # a boolean is an int
    Kind.BOOLEAN: (bool,),
    Kind.STRING: (str,),
    Kind.NONE: (),
}
NUMBERS = st.integers(-(2**62), 2**62) | st.integers(-3, 3) | st.floats(-1e6, 1e6)
STRINGS = st.sampled_from(["", "FR", "online"])
VALUES = st.fixed_dictionaries(
    {
        "amount": NUMBERS,
        "limit": NUMBERS,
        "event_time": st.integers(-(2**45), 2**45),
        "terminal.floor": NUMBERS,
        "flag": st.booleans(),
        "channel": STRINGS,
        "terminal.country": STRINGS,
    }
)
WITH_NONE = st.builds(
    lambda values, missing: {**values, **dict.fromkeys(missing)},
    VALUES,
    st.sets(st.sampled_from(sorted(NAMES)), min_size=1),
)


def python(source: str, values: dict[str, Any]) -> Any:
    """Evaluate with Python itself; None where it raises what a missing operand raises."""
    scope: dict[str, Any] = {name: entry[0] for name, entry in FUNCTIONS.items()}
    terminal = {}
    for name, value in values.items():
        first, _, rest = name.partition(".")
        if rest:
            terminal[rest] = value
        else:
            scope[first] = value
    scope["terminal"] = SimpleNamespace(**terminal)
    try:
        return eval(source, scope)
    except MISSING_CAUSES:
        return None


def same(found: Any, expected: Any) -> bool:
    return type(found) is type(expected) and repr(found) == repr(expected)  # NaN equals NaN


# Expressions from the grammar


def joined(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda found: template.format(*found))


def listed(function: str, items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arguments = st.lists(items, min_size=2, max_size=3).map(", ".join)
    return arguments.map(lambda found: f"{function}({found})")


number: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        st.sampled_from([name for name, kind in NAMES.items() if kind is Kind.NUMBER]),
        st.sampled_from(["0", "1", "2.5", "1e3", "1_000", "0x1f", "(flag + True)"]),
        joined("({} {} {})", number, st.sampled_from(["+", "-", "*", "/", "//", "%"]), number),
        joined("{}{}", st.sampled_from(["-", "+"]), number),
        joined("({} if {} else {})", number, condition, number | st.just("None")),
        joined("{}({})", st.sampled_from(["abs", "log1p", "hour", "weekday"]), number),
        listed("min", number),
        listed("max", number),
    )
)
string = st.sampled_from(["channel", "terminal.country", "'FR'", '"online"', "''"])
condition: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["flag", "True", "False"]),
        joined("({} {} {})", number, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), number),
        joined("({} {} {} <= {})", number, st.sampled_from(["<", "!="]), number, number),
        joined("({} {} {})", string, st.sampled_from(["==", "!=", "<"]), string),
        joined("({} {} ['FR', 'BE'])", string, st.sampled_from(["in", "not in"])),
        joined("({} in (1, 2.5))", number),
        joined("({} {} None)", number | string, st.sampled_from(["is", "is not"])),
        joined("({} {} {})", condition, st.sampled_from(["and", "or"]), condition),
        joined("(not {})", condition | number),
    )
)


@settings(max_examples=200)
@given(number | condition | string, VALUES)
def test_it_computes_what_python_computes(source: str, values: dict[str, Any]) -> None:
    expression = Expression(source, NAMES)
    found = expression(values)
    assert same(found, python(source, values)), source
    assert found is None or isinstance(found, OF_KIND[expression.kind])
    assert all(name in source for name in expression.reads)


@settings(max_examples=200)
@given(number | condition | string, WITH_NONE)
def test_with_something_missing_it_has_no_value_or_pythons(
    source: str, values: dict[str, Any]
) -> None:
    found = Expression(source, NAMES)(values)
    assert found is None or same(found, python(source, values)), source


@pytest.mark.parametrize(
    "source",
    [
        "channel",
        "channel == 'FR'",
        "channel != 'FR'",
        "channel in ['FR']",
        "channel not in ['FR']",
        "not channel",
        "amount + 1",
        "amount == 1",
        "amount != 1",
        "-amount > 1",
        "not amount > 1",
        "flag and amount > 1",
        "1 if flag else 0",
        "flag or True",
        "max(amount, 1)",
        "terminal.country != 'FR'",
    ],
)
def test_missing_in_missing_out(source: str) -> None:
    assert Expression(source, NAMES)(dict.fromkeys(NAMES)) is None


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("amount is None", True),
        ("terminal.country is not None", False),
        ("not amount is None", False),
        ("amount is None or amount > 5", True),
        ("amount is not None and amount > 5", False),
        ("0 if amount is None else amount", 0),
    ],
)
def test_is_none_sees_what_is_missing(source: str, value: Any) -> None:
    assert same(Expression(source, NAMES)(dict.fromkeys(NAMES)), value)


@pytest.mark.parametrize(
    "source", ["1 / 0", "1 % 0", "1 // 0", "1e300 % 0", "log1p(-1)", "hour(1e308 * 10)"]
)
def test_outside_a_functions_domain_there_is_no_value(source: str) -> None:
    value = Expression(source, NAMES)({})
    assert value is None or math.isnan(value)


def test_names_are_read_in_the_order_of_their_first_occurrence() -> None:
    source = "limit + amount > terminal.floor and limit > 0 and flag"
    assert Expression(source, NAMES).reads == ("limit", "amount", "terminal.floor", "flag")


def test_a_field_may_be_called_as_a_function_is() -> None:
    names = {"hour": Kind.NUMBER, "known": Kind.NUMBER, "_": Kind.NUMBER}
    assert Expression("hour(hour) + known + _", names)({"hour": 3_600_000, "known": 1, "_": 5}) == 7


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_hour_and_weekday_are_utcs(time: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time)
    assert (hour(time), weekday(time)) == (moment.hour, moment.weekday())


# What is refused

REFUSED = [
    # another part of Python
    ("lambda: 1", "Lambda is not of the expression language; use arithmetic"),
    ("(lambda: 1)()", "there is no function"),
    ("[x for x in [1, 2]]", "ListComp is not of"),
    ("max(x for x in [1, 2])", "at least 2"),
    ("max(1, (x for x in [1]))", "GeneratorExp is not of"),
    ("(y := 1)", "NamedExpr is not of"),
    ("f'{amount}'", "JoinedStr is not of"),
    ("amount ** 2", r"Pow is not of the language; use \+ - \* / // %"),
    ("1 << 70", "LShift is not of"),
    ("amount | 2", "BitOr is not of"),
    ("amount @ limit", "MatMult is not of"),
    ("~amount", "write 'not'"),
    ("amount[0]", "Subscript is not of"),
    ("[1, 2][0]", "Subscript is not of"),
    ("[1, 2]", "List is not of"),
    ("1, 2", "Tuple is not of"),
    ("{1: 2}", "Dict is not of"),
    ("{1}", "Set is not of"),
    ("*amount", "not an expression|Starred is not of"),
    ("1j", "a constant of type complex"),
    ("b'x'", "a constant of type bytes"),
    ("...", "a constant of type ellipsis"),
    ("await amount", "Await is not of|not an expression"),
    ("(yield 1)", "Yield is not of"),
    # no expression at all
    ("", "is not an expression"),
    ("   ", "is not an expression"),
    ("amount limit", "is not an expression"),
    ("amount > ", "is not an expression"),
    ("amount = 1", "is not an expression"),
    ("1; 2", "is not an expression"),
    ("import os", "is not an expression"),
    ("amount\n> 5\n", "is not an expression"),
    ("amount\0", "is not an expression"),
    ("'\ud800'", "is not an expression"),
    ("9" * 5000, "is not an expression"),
    # names and functions that do not exist
    ("amuont > 5", "there is no 'amuont'. Did you mean 'amount'?"),
    ("terminal.contry == 'FR'", "Did you mean 'terminal.country'?"),
    ("terminal", "there is no 'terminal'"),
    ("hours(event_time)", r"there is no function hours\(\); did you mean hour\(\)\?"),
    ("sqrt(amount)", r"no function sqrt\(\); there are hour, weekday, log1p, abs, min, max"),
    ("hour", "there is no 'hour'"),
    ("_", "there is no '_'"),
    ("known(amount)", r"no function known\(\)"),
    ("len(channel)", r"no function len\(\)"),
    ("pow(9, 9)", r"no function pow\(\)"),
    ("eval('1')", r"no function eval\(\)"),
    ("open('x')", r"no function open\(\)"),
    ("__import__('os')", r"no function __import__\(\)"),
    ("__builtins__", "there is no '__builtins__'"),
    # ways out of the box
    ("amount.real", "there is no 'amount.real'"),
    ("amount.__class__", "there is no 'amount.__class__'"),
    ("().__class__.__base__", "there is no"),
    ("''.join", "there is no"),
    ("'{0.x}'.format(amount)", "there is no function"),
    ("abs.__self__", "there is no 'abs.__self__'"),
    ("hour.__globals__", "there is no 'hour.__globals__'"),
    ("hour.__call__(1)", "there is no function hour.__call__"),
    ("min(amount, limit).real", "there is no 'min"),
    ("(amount if flag else limit).real", "there is no"),
    ("abs(amount)(1)", "there is no function"),
    # arguments
    ("min(amount, limit, key=abs)", r"min\(\) takes plain arguments alone"),
    ("max(*[1, 2])", r"max\(\) takes plain arguments alone"),
    ("max(1, **channel)", r"max\(\) takes plain arguments alone"),
    ("min(amount)", r"min\(\) takes at least 2 argument\(s\), not 1"),
    ("abs()", r"abs\(\) takes 1 argument\(s\), not 0"),
    ("hour(1, 2)", r"hour\(\) takes 1 argument\(s\), not 2"),
    # kinds
    ("'a' * 99999999", "arithmetic takes numbers, but ''a'' is a string"),
    ("amount * 'a'", "arithmetic takes numbers"),
    ("channel + channel", "arithmetic takes numbers, but 'channel' is a string"),
    ("channel % amount", "arithmetic takes numbers"),
    ("-channel", "a sign takes numbers"),
    ("-None", "a sign takes numbers, but 'None' is a None"),
    ("abs(channel)", r"abs\(\) takes numbers, but 'channel' is a string"),
    ("amount == 'FR'", "'amount' is a number and ''FR'' a string: they do not compare"),
    ("channel > 1", "they do not compare"),
    ("flag == 1", "they do not compare"),
    ("amount == None", "they do not compare"),
    ("None < None", "None has no order; write 'is None'"),
    ("amount is 5", "'is' compares with None alone; write '=='"),
    ("amount is limit", "'is' compares with None alone"),
    ("channel in 'online'", "'in' takes a list of constants"),
    ("channel in terminal.country", "'in' takes a list of constants"),
    ("channel in ['FR', 5]", "'5' in the list is no constant of that kind"),
    ("amount in [limit]", "'limit' in the list is no constant of that kind"),
    ("amount in [-1]", "'-1' in the list is no constant of that kind"),
    ("amount and flag", "'and' and 'or' join conditions, but 'amount' is none"),
    ("flag or channel", "'and' and 'or' join conditions, but 'channel' is none"),
    ("1 if flag else 'a'", "the two branches differ: number and string"),
    ("amount > 5 > channel", "they do not compare"),
]


@pytest.mark.parametrize(("source", "message"), REFUSED, ids=[source[:30] for source, _ in REFUSED])
def test_refused(source: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        Expression(source, NAMES)


NESTED = [("1 + ", ""), ("-", ""), ("not ", ""), ("(", ")"), ("abs(", ")"), ("1 if 1 else ", "")]


@pytest.mark.parametrize(("before", "after"), NESTED)
def test_nested_too_deeply(before: str, after: str) -> None:
    for depth in (2_000, 30_000):
        with pytest.raises(ExpressionError, match="nested"):
            Expression(before * depth + "1" + after * depth, NAMES)
    for depth in range(50, 1_000, 50):  # about where the stack ends
        try:
            value = Expression(before * depth + "1" + after * depth, NAMES)({})
        except ExpressionError as error:
            assert "nested" in str(error)
        else:
            assert value in (0, 1, depth + 1)


def test_a_long_sum_is_not_too_deep() -> None:
    assert Expression(" + ".join(["amount"] * 100), NAMES)({"amount": 2}) == 200


WORDS = "and or not if else in is None True lambda for x 1 0 'a' f'{x}' known _ yield await 1e999"
SIGNS = "( ) [ ] { } . , : ; = + - * / % < > ! @ ~ ^ & | ** == != := -> // << __class__"
TOKENS = st.sampled_from([*NAMES, *FUNCTIONS, *WORDS.split(), *SIGNS.split(), "__import__('os')"])


@settings(max_examples=500)
@given(st.lists(TOKENS, min_size=1, max_size=8).map(" ".join) | st.text(max_size=12), VALUES)
@example("amount is None is None", {})
@example("None in [None]", {})
@example("0 if None else None", {})
def test_what_is_not_refused_is_what_python_computes(source: str, values: dict[str, Any]) -> None:
    values = {**dict.fromkeys(NAMES, 1), "channel": "a", "terminal.country": "b", **values}
    try:
        expression = Expression(source, NAMES)
    except ExpressionError:
        return
    found = expression(values)
    assert same(found, python(source.strip(), values)), source
    assert found is None or isinstance(found, OF_KIND[expression.kind])
