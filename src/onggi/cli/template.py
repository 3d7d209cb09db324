"""Executing Go templates: what ``--format`` means.

Docker's functions (``json split join title lower upper pad truncate``) and Go's own, with
Go's texts for what goes wrong. Values are those of :mod:`onggi.cli.gofmt`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onggi.cli.gofmt import NO_VALUE, NoSuchField, Record, format_value, type_name
from onggi.cli.template_functions import FUNCTIONS, FunctionError, truth
from onggi.cli.template_lexer import TemplateSyntaxError, line_of
from onggi.cli.template_parser import Branch, Call, Command, Jump, Node, Operand, Pipeline, Template, parse

__all__ = ["TemplateError", "TemplateSyntaxError", "compile_template"]

Functions = Mapping[str, Callable[..., Any]]
_LAZY = ("and", "or")


class TemplateError(Exception):
    """A template that fails on a value; the text is Go's, without a prefix."""


class _Missing:
    """The entry a map does not have: prints NO_VALUE, is false, has no fields."""

    __slots__ = ()


MISSING = _Missing()


class _Leave(Exception):
    """``break`` (over=True) or ``continue``."""

    def __init__(self, over: bool) -> None:
        self.over = over


def compile_template(source: str, functions: Functions = FUNCTIONS) -> Callable[[Any], str]:
    """A function from a value to its text.

    Raises TemplateSyntaxError; the function raises TemplateError.
    """
    template = parse(source, functions)
    return lambda value: _Run(template, functions, value).text()


class _Run:
    """One execution: output so far and the variables in scope, innermost last."""

    def __init__(self, template: Template, functions: Functions, value: Any) -> None:
        self._template = template
        self._functions = functions
        self._value = value
        self._out: list[str] = []
        self._variables: list[tuple[str, Any]] = [("$", value)]

    def text(self) -> str:
        """Run it all."""
        self._nodes(self._template.nodes, self._value)
        return "".join(self._out)

    def _fail(self, position: int, quoted: str, reason: str) -> TemplateError:
        source = self._template.source
        column = position - (source.rfind("\n", 0, position) + 1)
        return TemplateError(
            f'template: :{line_of(source, position)}:{column}: executing "" at <{quoted}>: {reason}'
        )

    # --- nodes ----------------------------------------------------------------------------

    def _nodes(self, nodes: list[Node], dot: Any) -> None:
        depth = len(self._variables)
        for node in nodes:
            if isinstance(node, Jump):
                raise _Leave(node == "break")
            if isinstance(node, str):
                self._out.append(node)
            elif isinstance(node, Pipeline):
                value = self._pipeline(node, dot)
                if not node.variables:
                    self._out.append(NO_VALUE if value is MISSING else format_value(value))
            elif isinstance(node, Branch):
                self._branch(node, dot)
            else:
                self._call(node, dot)
        del self._variables[depth:]

    def _branch(self, node: Branch, dot: Any) -> None:
        depth = len(self._variables)
        if node.kind == "range":
            self._range(node, dot)
        else:
            value = self._pipeline(node.pipeline, dot)
            holds = value is not MISSING and truth(value)
            inner = value if node.kind == "with" and holds else dot
            self._nodes(node.then if holds else node.otherwise, inner)
        del self._variables[depth:]

    def _range(self, node: Branch, dot: Any) -> None:
        pipeline = node.pipeline
        value = self._commands(pipeline, dot)
        items = self._items(value, pipeline)
        if not items:
            self._nodes(node.otherwise, dot)
        depth = len(self._variables)
        for key, item in items:
            pair = (item,) if len(pipeline.variables) == 1 else (key, item)
            for name, part in zip(pipeline.variables, pair, strict=False):
                self._set(name, part, assigns=pipeline.assigns)
            try:
                self._nodes(node.then, item)
            except _Leave as leave:
                if leave.over:
                    break
            finally:
                del self._variables[depth:]

    def _items(self, value: Any, pipeline: Pipeline) -> list[tuple[Any, Any]]:
        if value is None or value is MISSING:
            return []
        if isinstance(value, Mapping):
            return [(key, value[key]) for key in sorted(value)]
        if isinstance(value, list | tuple):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            return [(index, index) for index in range(value)]
        operand = pipeline.commands[0].operands[0]
        raise self._fail(operand.position, pipeline.text, f"range can't iterate over {format_value(value)}")

    def _call(self, node: Call, dot: Any) -> None:
        nodes = self._template.defined.get(node.name)
        if nodes is None:
            raise self._fail(
                node.position, f'{{{{template "{node.name}"}}}}', f'template "{node.name}" not defined'
            )
        value = None if node.pipeline is None else self._pipeline(node.pipeline, dot)
        outer, self._variables = self._variables, [("$", value)]
        self._nodes(nodes, value)
        self._variables = outer

    # --- values ---------------------------------------------------------------------------

    def _set(self, name: str, value: Any, *, assigns: bool) -> None:
        if assigns:
            for index in range(len(self._variables) - 1, -1, -1):
                if self._variables[index][0] == name:
                    self._variables[index] = (name, value)
                    return
        self._variables.append((name, value))

    def _pipeline(self, pipeline: Pipeline, dot: Any) -> Any:
        value = self._commands(pipeline, dot)
        for name in pipeline.variables:
            self._set(name, value, assigns=pipeline.assigns)
        return value

    def _commands(self, pipeline: Pipeline, dot: Any) -> Any:
        final: tuple[Any, ...] = ()
        for command in pipeline.commands:
            final = (self._command(command, dot, final),)
        return final[0]

    def _command(self, command: Command, dot: Any, final: tuple[Any, ...]) -> Any:
        first, *rest = command.operands
        if first.kind == "name":
            return self._function(command, rest, dot, final)
        if first.kind == "nil":
            raise self._fail(first.position, first.text, "nil is not a command")
        method = self._method(first, dot) if len(rest) + len(final) == 1 else None
        if method is not None:
            return method(*(self._operand(argument, dot) for argument in rest), *final)
        value = self._operand(first, dot)
        if rest or final:
            if first.names:
                reason = f"{first.names[-1]} is not a method but has arguments"
            else:
                reason = f"can't give argument to non-function {first.text}"
            raise self._fail(first.position, first.text, reason)
        return value

    def _method(self, operand: Operand, dot: Any) -> Callable[[Any], Any] | None:
        """What ``.Label "name"`` calls, where the value has it."""
        if operand.kind != "field" or len(operand.names) != 1 or not isinstance(dot, Record):
            return None
        return dot.methods.get(operand.names[0])

    def _function(self, command: Command, arguments: list[Operand], dot: Any, final: tuple[Any, ...]) -> Any:
        name = command.operands[0].text
        position = command.operands[0].position
        if name in _LAZY:
            return self._and_or(name, arguments, dot, final, command)
        values = [self._operand(argument, dot) for argument in arguments] + list(final)
        try:
            return self._functions[name](*[None if value is MISSING else value for value in values])
        except FunctionError as error:
            raise self._fail(position, command.text, f"error calling {name}: {error}") from None
        except TypeError:
            reason = f"wrong number of args for {name}: got {len(values)}"
            raise self._fail(position, name, reason) from None

    def _and_or(
        self, name: str, arguments: list[Operand], dot: Any, final: tuple[Any, ...], command: Command
    ) -> Any:
        """The first argument that decides, the others unevaluated; else the last."""
        value: Any = MISSING
        for argument in arguments:
            value = self._operand(argument, dot)
            if truth(None if value is MISSING else value) == (name == "or"):
                return value
        if final:
            return final[0]
        if not arguments:
            operand = command.operands[0]
            raise self._fail(
                operand.position, name, f"wrong number of args for {name}: want at least 1 got 0"
            )
        return value

    def _operand(self, operand: Operand, dot: Any) -> Any:
        kind = operand.kind
        if kind in ("dot", "field"):
            value = dot
        elif kind == "variable":
            value = next(value for name, value in reversed(self._variables) if name == operand.value)
        elif kind == "pipeline":
            assert isinstance(operand.value, Pipeline)
            value = self._pipeline(operand.value, dot)
        elif kind == "name":
            return self._function(Command([operand]), [], dot, ())
        else:
            value = operand.value
        for name in operand.names:
            value = self._field(value, name, operand)
        return value

    def _field(self, value: Any, name: str, operand: Operand) -> Any:
        if isinstance(value, Record):
            try:
                return value.field(name)
            except NoSuchField as error:
                raise self._fail(operand.position, operand.text, str(error)) from None
        if isinstance(value, Mapping):
            return value.get(name, MISSING)
        if value is None or value is MISSING:
            reason = f"nil pointer evaluating interface {{}}.{name}"
        else:
            reason = f"can't evaluate field {name} in type {type_name(value)}"
        raise self._fail(operand.position, operand.text, reason)
