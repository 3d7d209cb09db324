"""Go templates as a tree.

Grammar::

    list     = { text | action | if | range | with | define | call | "break" | "continue" } ;
    if       = "if" pipeline list { "else" "if" pipeline list } [ "else" list ] "end" ;
    with     = "with" pipeline list { "else" "with" pipeline list } [ "else" list ] "end" ;
    range    = "range" pipeline list [ "else" list ] "end" ;
    define   = "define" string list "end" ;   call = "template" string [ pipeline ] ;
    block    = "block" string pipeline list "end" ;
    pipeline = [ variable [ "," variable ] ( ":=" | "=" ) ] command { "|" command } ;
    command  = operand { operand } ;
    operand  = term { field } ;
    term     = field | variable | name | number | string | char | "(" pipeline ")" ;
"""

from __future__ import annotations

from collections.abc import Collection

from onggi.cli.template_lexer import TemplateSyntaxError, Token, line_of, tokenize

__all__ = ["Branch", "Call", "Command", "Node", "Operand", "Pipeline", "Template", "parse"]


class Operand:
    """One value: ``kind`` is dot, field, variable, name, constant, nil or pipeline.

    ``names`` are the fields taken from it, ``value`` is the constant, the function or
    variable name, or the Pipeline; ``text`` is its source, ``position`` the one errors name.
    """

    __slots__ = ("kind", "names", "position", "text", "value")

    def __init__(self, kind: str, value: object, text: str, position: int) -> None:
        self.kind = kind
        self.value = value
        self.text = text
        self.position = position
        self.names: list[str] = []


class Command:
    """A function and its arguments, or one value."""

    __slots__ = ("operands",)

    def __init__(self, operands: list[Operand]) -> None:
        self.operands = operands

    @property
    def text(self) -> str:
        """As errors quote it."""
        return " ".join(operand.text for operand in self.operands)


class Pipeline:
    """Commands, each given the value of the one before as its last argument."""

    __slots__ = ("assigns", "commands", "variables")

    def __init__(self, commands: list[Command], variables: list[str], assigns: bool) -> None:
        self.commands = commands
        self.variables = variables
        self.assigns = assigns

    @property
    def text(self) -> str:
        """As errors quote it."""
        return " | ".join(command.text for command in self.commands)


class Branch:
    """``if``, ``with`` or ``range`` (``kind``)."""

    __slots__ = ("kind", "otherwise", "pipeline", "then")

    def __init__(self, kind: str, pipeline: Pipeline, then: list[Node], otherwise: list[Node]) -> None:
        self.kind = kind
        self.pipeline = pipeline
        self.then = then
        self.otherwise = otherwise


class Call:
    """``template "name" pipeline``."""

    __slots__ = ("name", "pipeline", "position")

    def __init__(self, name: str, pipeline: Pipeline | None, position: int) -> None:
        self.name = name
        self.pipeline = pipeline
        self.position = position


class Jump(str):
    """``break`` or ``continue``."""

    __slots__ = ()


Node = str | Pipeline | Branch | Call | Jump


class Template:
    """A parsed template with those it defines. ``source`` serves error positions."""

    __slots__ = ("defined", "nodes", "source")

    def __init__(self, source: str, nodes: list[Node], defined: dict[str, list[Node]]) -> None:
        self.source = source
        self.nodes = nodes
        self.defined = defined


def parse(source: str, functions: Collection[str]) -> Template:
    """Parse ``source``, which may call ``functions``. Raises TemplateSyntaxError with Go's text."""
    parser = _Parser(source, functions)
    nodes, stop = parser.block()
    if stop != "eof":
        parser.fail(f"unexpected {{{{{stop}}}}}")
    return Template(source, nodes, parser.defined)


class _Parser:
    """Recursive descent over one token of look-ahead."""

    def __init__(self, source: str, functions: Collection[str]) -> None:
        self._source = source
        self._tokens = tokenize(source)
        self._functions = functions
        self._variables = ["$"]
        self._loops = 0
        self._last = 0
        self._next = next(self._tokens)
        self.defined: dict[str, list[Node]] = {}

    def fail(self, reason: str) -> None:
        """Raise with the line of the token just read."""
        raise TemplateSyntaxError(line_of(self._source, self._last), reason)

    def _take(self) -> Token:
        token = self._next
        self._last = token.position
        if token.kind != "eof":
            self._next = next(self._tokens)
        return token

    def _at_sign(self, *signs: str) -> bool:
        return self._next.kind == "sign" and self._next.text in signs

    # --- lists of nodes -------------------------------------------------------------------

    def block(self) -> tuple[list[Node], str]:
        """Nodes up to ``end``, ``else`` or the end of the source; which of them it was."""
        nodes: list[Node] = []
        while True:
            token = self._next
            if token.kind == "eof":
                self._take()
                return nodes, "eof"
            if token.kind == "text":
                nodes.append(self._take().text)
            elif token.kind == "keyword" and token.text in ("end", "else"):
                self._take()
                if token.text == "end":
                    self._close()
                return nodes, token.text
            elif token.kind == "keyword":
                self._control(self._take(), nodes)
            else:
                nodes.append(self._pipeline("command"))
                self._close()

    def _inner(self) -> tuple[list[Node], str]:
        depth = len(self._variables)
        nodes, stop = self.block()
        if stop == "eof":
            self.fail("unexpected EOF")
        del self._variables[depth:]
        return nodes, stop

    def _close(self) -> None:
        token = self._take()
        if token.kind != "close":
            self.fail(f"unexpected {_shown(token)} in end" if token.kind != "eof" else "unexpected EOF")

    def _control(self, keyword: Token, nodes: list[Node]) -> None:
        word = keyword.text
        if word in ("if", "with", "range"):
            nodes.append(self._branch(word))
        elif word in ("break", "continue"):
            if not self._loops:
                self.fail(f"{{{{{word}}}}} outside {{{{range}}}}")
            self._close()
            nodes.append(Jump(word))
        elif word == "template":
            nodes.append(self._call(keyword))
        else:
            self._define(keyword, nodes)

    def _branch(self, word: str) -> Branch:
        depth = len(self._variables)
        pipeline = self._pipeline(word)
        self._close()
        self._loops += word == "range"
        then, stop = self._inner()
        self._loops -= word == "range"
        otherwise: list[Node] = []
        if stop == "else":
            if self._next.kind == "keyword" and self._next.text == word and word != "range":
                self._take()
                otherwise = [self._branch(word)]
            else:
                self._close()
                otherwise, stop = self._inner()
                if stop == "else":
                    self.fail("expected end; found {{else}}")
        del self._variables[depth:]
        return Branch(word, pipeline, then, otherwise)

    def _name(self, clause: str) -> str:
        token = self._take()
        if token.kind != "string":
            self.fail(f"unexpected {_shown(token)} in {clause}")
        return unquote(token.text)

    def _call(self, keyword: Token) -> Call:
        name = self._name("template clause")
        pipeline = None if self._next.kind == "close" else self._pipeline("template clause")
        self._close()
        return Call(name, pipeline, keyword.position)

    def _define(self, keyword: Token, nodes: list[Node]) -> None:
        name = self._name(f"{keyword.text} clause")
        pipeline = self._pipeline("block clause") if keyword.text == "block" else None
        self._close()
        outer, self._variables = self._variables, ["$"]
        self.defined[name], stop = self._inner()
        self._variables = outer
        if stop != "end":
            self.fail("unexpected {{else}} in define clause")
        if pipeline is not None:
            nodes.append(Call(name, pipeline, keyword.position))

    # --- pipelines ------------------------------------------------------------------------

    def _pipeline(self, context: str) -> Pipeline:
        variables, assigns, first = self._declaration(context)
        commands = [self._command(context, first)]
        while self._at_sign("|"):
            self._take()
            commands.append(self._command(context, None))
        for command in commands[1:]:
            if command.operands[0].kind in ("constant", "nil", "dot"):
                self.fail(f"non executable command in pipeline stage {commands.index(command) + 1}")
        if variables and not assigns:
            self._variables.extend(variables)
        return Pipeline(commands, variables, assigns)

    def _declaration(self, context: str) -> tuple[list[str], bool, Token | None]:
        """``$a [, $b] := ``; a variable that only begins an expression is handed back."""
        if self._next.kind != "variable":
            return [], False, None
        first = self._take()
        variables = [first.text]
        if self._at_sign(",") and context == "range":
            self._take()
            second = self._take()
            if second.kind != "variable":
                self.fail("range can only initialize variables")
            variables.append(second.text)
        if not self._at_sign(":=", "="):
            return [], False, first
        assigns = self._take().text == "="
        if assigns:
            for name in variables:
                self._known(name)
        return variables, assigns, None

    def _command(self, context: str, first: Token | None) -> Command:
        operands = [self._operand(first)] if first is not None else []
        while True:
            token = self._next
            if token.kind == "close" or self._at_sign("|", ")"):
                break
            if token.kind == "eof":
                self.fail("unexpected EOF")
            if operands and not token.spaced:
                self._take()
                self.fail(f"unexpected {_shown(token)} in operand")
            operands.append(self._operand(self._take()))
        if not operands:
            self._last = self._next.position
            self.fail(
                f"missing value for {context}"
                if context != "("
                else "missing value for parenthesized pipeline"
            )
        return Command(operands)

    def _operand(self, token: Token) -> Operand:
        operand = self._term(token)
        begin = token.position
        if self._next.kind == "field" and not self._next.spaced:
            if operand.kind in ("constant", "nil"):
                self.fail(f"unexpected . after term {operand.text!r}".replace("'", '"'))
            operand.position = self._next.position
        while self._next.kind == "field" and not self._next.spaced and len(self._next.text) > 1:
            operand.names.append(self._take().text[1:])
        end = self._next.position
        if operand.kind == "name" and operand.names:
            self.fail(f"unexpected <.{operand.names[0]}> in operand")
        operand.text = (
            self._source[begin:end].rstrip() if operand.kind != "pipeline" else self._parenthesised(operand)
        )
        return operand

    @staticmethod
    def _parenthesised(operand: Operand) -> str:
        assert isinstance(operand.value, Pipeline)
        return f"({operand.value.text})" + "".join("." + name for name in operand.names)

    def _term(self, token: Token) -> Operand:
        kind, text, at = token.kind, token.text, token.position
        if kind == "field":
            operand = Operand("field" if len(text) > 1 else "dot", None, text, at)
            operand.names = [text[1:]] if len(text) > 1 else []
            return operand
        if kind == "variable":
            return Operand("variable", self._known(text), text, at)
        if kind == "name":
            return self._word(text, at)
        if kind == "number":
            return Operand("constant", self._number(text), text, at)
        if kind == "string":
            return Operand("constant", unquote(text), text, at)
        if kind == "char":
            return Operand("constant", ord(unquote('"' + text[1:-1] + '"')), text, at)
        if kind == "sign" and text == "(":
            pipeline = self._pipeline("(")
            if not self._at_sign(")"):
                self.fail("unclosed left paren")
            self._take()
            return Operand("pipeline", pipeline, text, at)
        self.fail(f"unexpected {_shown(token)} in operand")
        raise AssertionError

    def _word(self, text: str, at: int) -> Operand:
        if text in ("true", "false"):
            return Operand("constant", text == "true", text, at)
        if text == "nil":
            return Operand("nil", None, text, at)
        if text not in self._functions:
            self.fail(f'function "{text}" not defined')
        return Operand("name", text, text, at)

    def _known(self, name: str) -> str:
        if name not in self._variables:
            self.fail(f'undefined variable "{name}"')
        return name

    def _number(self, text: str) -> int | float:
        try:
            return int(text, 0)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                self.fail(f"bad number syntax: {_quoted(text)}")
                raise AssertionError from None


def _shown(token: Token) -> str:
    if token.kind == "eof":
        return "EOF"
    return f"<{token.text}>" if token.kind in ("keyword", "name", "field") else _quoted(token.text)


def _quoted(text: str) -> str:
    from onggi.cli.gofmt import quote

    return quote(text)


def unquote(literal: str) -> str:
    """The value of a Go string literal, quoted or raw."""
    if literal[0] == "`":
        return literal[1:-1]
    if "\\" not in literal:
        return literal[1:-1]
    from onggi.cli.gofmt import unescape

    return unescape(literal[1:-1])
