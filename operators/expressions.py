"""The expression language of the pipeline file: Python's syntax, a small safe part of it.

Arithmetic (``+ - * / // %``), comparisons (chained too, ``in`` a list of constants, ``is None``),
``and``/``or``/``not``, ``a if c else b``, and the functions of `FUNCTIONS`. An expression is
parsed and typed once, by ``verdict check``, and compiled to a Python function.
"""

import ast
import difflib
import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from verdict.operators.errors import ExpressionError

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


class Kind(StrEnum):
    """The type of an expression's value."""

    NUMBER = "number"
    STRING = "string"
    BOOLEAN = "boolean"
    NONE = "None"


def hour(time: int) -> int:
    """Hour of the day in UTC, 0 to 23, of a time in milliseconds since the epoch.

    >>> hour(0), hour(86_399_999)
    (0, 23)
    """
    return time // HOUR_MS % 24


def weekday(time: int) -> int:
    """Day of the week in UTC, Monday 0 to Sunday 6, of a time in milliseconds since the epoch.

    >>> weekday(0)  # a Thursday
    3
    """
    return (time // DAY_MS + EPOCH_WEEKDAY) % 7


FUNCTIONS: Mapping[str, tuple[Callable[..., Any], int, int | None]] = {
    "hour": (hour, 1, 1),
    "weekday": (weekday, 1, 1),
    "log1p": (math.log1p, 1, 1),
    "abs": (abs, 1, 1),
    "min": (min, 2, None),
    "max": (max, 2, None),
}
"""Name -> function, fewest and most arguments. All take numbers and return one."""

INLINE: Mapping[str, str] = {
    "hour": f"time // {HOUR_MS} % 24",
    "weekday": f"(time // {DAY_MS} + {EPOCH_WEEKDAY}) % 7",
}
"""What a call of such a function is compiled to: the call would cost more than the arithmetic."""

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
ORDERING = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)

KNOWN = "known"
"""The compiled form's own function; an expression cannot call it, for it is none of `FUNCTIONS`."""


class Variable(NamedTuple):
    """What stands for a name: Python, and whether its value is certain not to be missing."""

    text: str
    certain: bool = False


MISSING_CAUSES = (TypeError, ZeroDivisionError, ValueError, OverflowError)
"""What an operand that is missing, or outside a function's domain, raises."""


class Expression:
    """One compiled expression.

    Parameters
    ----------
    source
        The text as it stands in the pipeline file.
    names
        Every name that may occur (a nested field by its dotted path) and its kind.

    Attributes
    ----------
    kind
        Of the value: number, string or boolean.
    reads
        The names that occur, in the order of their first occurrence.

    Raises
    ------
    ExpressionError
        The text is not of the language; the message says what to write instead.

    Examples
    --------
    >>> night = Expression("hour(event_time) < 6", {"event_time": Kind.NUMBER})
    >>> night({"event_time": 5 * 3_600_000})
    True
    >>> ratio = Expression("amount / limit", {"amount": Kind.NUMBER, "limit": Kind.NUMBER})
    >>> ratio({"amount": 5.0, "limit": None}) is None  # missing in, missing out
    True
    """

    def __init__(self, source: str, names: Mapping[str, Kind]) -> None:
        self.source = source
        typer = _Typer(source, names)
        try:
            tree = ast.parse(source.strip(), mode="eval")
            self.kind = typer.kind(tree.body)
            self._function = _compiled(source, tree.body)
        except (SyntaxError, ValueError) as error:
            raise ExpressionError(f"'{source}' is not an expression: {error}") from None
        except (RecursionError, MemoryError):
            raise ExpressionError(
                f"'{source[:60]}…' is nested too deeply: make several features of it"
            ) from None
        self.reads = tuple(typer.reads)

    def written(self, variable: Callable[[str], "Variable"]) -> str:
        """Write it as Python, to be compiled with others in `SCOPE`.

        It raises one of `MISSING_CAUSES` where `__call__` returns None.

        Parameters
        ----------
        variable
            What stands for a name.

        Examples
        --------
        >>> ratio = Expression("a / b", {"a": Kind.NUMBER, "b": Kind.NUMBER})
        >>> ratio.written({"a": Variable("x[0]"), "b": Variable("x[1]", True)}.__getitem__)
        'known(x[0]) / x[1]'
        """
        body = ast.parse(self.source.strip(), mode="eval").body
        return ast.unparse(_Variables(variable).visit(body))

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Evaluate; None where an operand is missing or outside a function's domain."""
        try:
            return self._function(values)
        except MISSING_CAUSES:
            return None


def _compiled(source: str, body: ast.expr) -> Callable[[Mapping[str, Any]], Any]:
    lambda_ = ast.Expression(
        ast.Lambda(
            args=ast.arguments([], [ast.arg("_")], None, [], [], None, []),
            body=_Variables(_looked_up).visit(body),
        )
    )
    # Of a tree that holds only what the visitors above let through.
    function: Callable[[Mapping[str, Any]], Any] = eval(  # noqa: S307
        compile(ast.fix_missing_locations(lambda_), f"<{source}>", "eval"), dict(SCOPE)
    )
    return function


def _looked_up(name: str) -> Variable:
    return Variable(f"_[{name!r}]")


def _known(value: Any) -> Any:
    """Return a value that is not missing.

    Python finds that None is not 5 and not 'FR'; here a comparison with what is missing has no
    value, as arithmetic with it has none.
    """
    if value is None:
        raise TypeError
    return value


SCOPE: Mapping[str, Any] = {
    "__builtins__": {},
    KNOWN: _known,
    **{name: entry[0] for name, entry in FUNCTIONS.items()},
}
"""What an expression can name when it is compiled, beside its own names."""


class _Typer:
    """Walks the tree, refuses what is not of the language, and infers each node's kind."""

    def __init__(self, source: str, names: Mapping[str, Kind]) -> None:
        self.source = source
        self.names = names
        self.reads: dict[str, None] = {}

    def refuse(self, why: str) -> ExpressionError:
        return ExpressionError(f"'{self.source}': {why}")

    def kind(self, node: ast.expr) -> Kind:
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise self.refuse(
                f"{type(node).__name__} is not of the expression language; use arithmetic, "
                f"comparisons, and/or/not, 'a if c else b' and {', '.join(FUNCTIONS)}"
            )
        kind: Kind = method(node)
        return kind

    def number(self, node: ast.expr, where: str) -> Kind:
        found = self.kind(node)
        if found not in (Kind.NUMBER, Kind.BOOLEAN):
            raise self.refuse(f"{where} takes numbers, but '{ast.unparse(node)}' is a {found}")
        return Kind.NUMBER

    def _Constant(self, node: ast.Constant) -> Kind:
        value = node.value
        if value is None:
            return Kind.NONE
        if isinstance(value, bool):
            return Kind.BOOLEAN
        if isinstance(value, int | float):
            return Kind.NUMBER
        if isinstance(value, str):
            return Kind.STRING
        raise self.refuse(f"a constant of type {type(value).__name__} is not of the language")

    def _Name(self, node: ast.Name | ast.Attribute) -> Kind:
        name = ast.unparse(node)
        if name not in self.names:
            close = difflib.get_close_matches(name, self.names, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise self.refuse(f"there is no '{name}'.{hint}")
        self.reads[name] = None
        return self.names[name]

    _Attribute = _Name

    def _BinOp(self, node: ast.BinOp) -> Kind:
        if not isinstance(node.op, ARITHMETIC):
            raise self.refuse(f"{type(node.op).__name__} is not of the language; use + - * / // %")
        self.number(node.left, "arithmetic")
        return self.number(node.right, "arithmetic")

    def _UnaryOp(self, node: ast.UnaryOp) -> Kind:
        if isinstance(node.op, ast.Not):
            self.kind(node.operand)
            return Kind.BOOLEAN
        if isinstance(node.op, ast.Invert):
            raise self.refuse("'~' is not of the language; write 'not'")
        return self.number(node.operand, "a sign")

    def _BoolOp(self, node: ast.BoolOp) -> Kind:
        for value in node.values:
            if self.kind(value) is not Kind.BOOLEAN:
                raise self.refuse(
                    f"'and' and 'or' join conditions, but '{ast.unparse(value)}' is none"
                )
        return Kind.BOOLEAN

    def _IfExp(self, node: ast.IfExp) -> Kind:
        self.kind(node.test)
        body, orelse = self.kind(node.body), self.kind(node.orelse)
        if Kind.NONE in (body, orelse):
            return body if orelse is Kind.NONE else orelse
        if body is not orelse:
            raise self.refuse(f"the two branches differ: {body} and {orelse}")
        return body

    def _Compare(self, node: ast.Compare) -> Kind:
        left: ast.expr = node.left
        left_kind = self.kind(left)
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.Is | ast.IsNot):
                if not (isinstance(right, ast.Constant) and right.value is None):
                    raise self.refuse("'is' compares with None alone; write '=='")
                right_kind = Kind.NONE
            elif isinstance(op, ast.In | ast.NotIn):
                right_kind = self._members(left, left_kind, right)
            else:
                right_kind = self.kind(right)
                if left_kind is not right_kind:
                    raise self.refuse(
                        f"'{ast.unparse(left)}' is a {left_kind} and '{ast.unparse(right)}' "
                        f"a {right_kind}: they do not compare"
                    )
                if isinstance(op, ORDERING) and left_kind is Kind.NONE:
                    raise self.refuse("None has no order; write 'is None'")
            left, left_kind = right, right_kind
        return Kind.BOOLEAN

    def _members(self, left: ast.expr, left_kind: Kind, right: ast.expr) -> Kind:
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise self.refuse("'in' takes a list of constants: country in ['FR', 'BE']")
        for item in right.elts:
            if not isinstance(item, ast.Constant) or self.kind(item) is not left_kind:
                raise self.refuse(
                    f"'{ast.unparse(left)}' is a {left_kind}; '{ast.unparse(item)}' in the list "
                    "is no constant of that kind"
                )
        return Kind.NONE

    def _Call(self, node: ast.Call) -> Kind:
        name = ast.unparse(node.func)
        if name not in FUNCTIONS:
            close = difflib.get_close_matches(name, FUNCTIONS, n=1)
            hint = f"did you mean {close[0]}()?" if close else f"there are {', '.join(FUNCTIONS)}"
            raise self.refuse(f"there is no function {name}(); {hint}")
        _, fewest, most = FUNCTIONS[name]
        if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
            raise self.refuse(f"{name}() takes plain arguments alone")
        if len(node.args) < fewest or (most is not None and len(node.args) > most):
            wanted = f"{fewest}" if most == fewest else f"at least {fewest}"
            raise self.refuse(f"{name}() takes {wanted} argument(s), not {len(node.args)}")
        for arg in node.args:
            self.number(arg, f"{name}()")
        return Kind.NUMBER


class _Argument(ast.NodeTransformer):
    """Turns the one name of what `INLINE` has into a call's argument."""

    def __init__(self, argument: ast.expr) -> None:
        self._argument = argument

    def visit_Name(self, _node: ast.Name) -> ast.expr:
        return self._argument


class _Variables(ast.NodeTransformer):
    """Turns every name, dotted or not, into what stands for it.

    A missing value ends the evaluation, but where the name is held against None.
    """

    def __init__(self, variable: Callable[[str], Variable]) -> None:
        self._variable = variable

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._known(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self._known(node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        node.args = [self.visit(arg) for arg in node.args]
        inline = INLINE.get(ast.unparse(node.func))
        if inline is None:
            return node
        body: ast.expr = _Argument(node.args[0]).visit(ast.parse(inline, mode="eval").body)
        return body

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if isinstance(node.ops[0], ast.Is | ast.IsNot) and isinstance(
            node.left, ast.Name | ast.Attribute
        ):
            node.left = self._plain(self._variable(ast.unparse(node.left)))
            return node
        return self.generic_visit(node)

    def _known(self, node: ast.expr) -> ast.expr:
        variable = self._variable(ast.unparse(node))
        plain = self._plain(variable)
        if variable.certain:
            return plain
        return ast.Call(ast.Name(KNOWN, ast.Load()), [plain], [])

    @staticmethod
    def _plain(variable: Variable) -> ast.expr:
        return ast.parse(variable.text, mode="eval").body
