"""Frozen values with slots, made at once.

:func:`record` is ``dataclasses.dataclass(frozen=True, slots=True)`` without its price: the
standard one imports ``inspect`` and compiles source text for every class, a third of the
time of a command that only looks at something. Type checkers read a record as a dataclass,
and ``dataclasses.fields``, ``replace`` and ``asdict`` work on it.

    @record
    class Point:
        x: int
        y: int = 0
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself is not needed at run time, and this module is on every start-up path
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_):
        return lambda function: function


__all__ = ["FrozenRecord", "field", "mutable_record", "record", "replace"]

_MISSING = object()
_set = object.__setattr__


class FrozenRecord(AttributeError):
    """Somebody tried to change a record."""


class _Field:
    """How one field differs from the usual."""

    __slots__ = ("default", "default_factory", "hash", "repr")

    def __init__(self, default: Any, default_factory: Any, repr: bool, hash: bool) -> None:
        self.default = default
        self.default_factory = default_factory
        self.repr = repr
        self.hash = hash


def field(
    *,
    default: Any = _MISSING,
    default_factory: Callable[[], Any] | None = None,
    repr: bool = True,
    hash: bool = True,
) -> Any:
    """A field that is made anew for each record, left out of its text, or of its hash."""
    return _Field(default, default_factory, repr, hash)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class of annotated names a frozen value: init, repr, equality, hash, slots."""
    return _made(cls, frozen=True)


@dataclass_transform(field_specifiers=(field,))
def mutable_record(cls: type[T]) -> type[T]:
    """The same, of which names can be set again; it has no hash."""
    return _made(cls, frozen=False)


def replace(value: T, **changes: Any) -> T:
    """A record like ``value`` but for some names."""
    names: tuple[str, ...] = type(value).__match_args__  # type: ignore[attr-defined]
    return type(value)(**{name: getattr(value, name) for name in names} | changes)


def _made(cls: type[T], *, frozen: bool) -> type[T]:
    names = tuple(cls.__annotations__)
    given = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
    fields = {
        name: value if isinstance(value, _Field) else _Field(value, None, True, True)
        for name, value in ((name, given.get(name, _MISSING)) for name in names)
    }
    body = {
        name: value
        for name, value in cls.__dict__.items()
        if name not in given and name not in ("__dict__", "__weakref__")
    }
    body |= _methods(names, fields)
    body |= {"__setattr__": _refuse, "__delattr__": _refuse} if frozen else {"__hash__": None}
    body |= {"__slots__": names, "__match_args__": names, "__dataclass_fields__": _StandardFields(fields)}
    made: Any = type(cls)
    return made(cls.__name__, cls.__bases__, body)  # type: ignore[no-any-return]


def _methods(names: tuple[str, ...], fields: dict[str, _Field]) -> dict[str, Any]:
    shown = tuple(name for name in names if fields[name].repr)
    hashed = tuple(name for name in names if fields[name].hash)

    def __init__(self: object, *values: object, **named: object) -> None:  # noqa: N807
        for name, value in zip(names, values, strict=False):
            _set(self, name, value)
        if len(values) != len(names) or named:
            _set_rest(self, names, fields, len(values), named)

    def __repr__(self: object) -> str:  # noqa: N807
        listed = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({listed})"

    def __eq__(self: object, other: object) -> bool:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def __hash__(self: object) -> int:  # noqa: N807
        return hash(tuple(getattr(self, name) for name in hashed))

    def __reduce__(self: object) -> tuple[Any, ...]:  # noqa: N807
        return type(self), tuple(getattr(self, name) for name in names)

    return {
        "__init__": __init__,
        "__repr__": __repr__,
        "__eq__": __eq__,
        "__hash__": __hash__,
        "__reduce__": __reduce__,
    }


def _set_rest(
    self: object, names: tuple[str, ...], fields: dict[str, _Field], count: int, named: dict[str, object]
) -> None:
    """What was given by name, and the defaults of what was not given."""
    kind = type(self).__name__
    if count > len(names):
        raise TypeError(f"{kind} takes {len(names)} values, {count} were given")
    for name in names[count:]:
        if name in named:
            value = named.pop(name)
        elif (factory := fields[name].default_factory) is not None:
            value = factory()
        elif (value := fields[name].default) is _MISSING:
            raise TypeError(f"{kind}: no value for {name}")
        _set(self, name, value)
    for name in named:
        raise TypeError(f"{kind}: {name} is given twice" if name in names else f"{kind} has no {name}")


def _refuse(self: object, name: str, *_: object) -> None:
    raise FrozenRecord(f"{type(self).__name__}.{name} cannot be changed: records are values")


class _StandardFields:
    """``__dataclass_fields__``, made when somebody asks, for the tools of ``dataclasses``."""

    def __init__(self, fields: dict[str, _Field]) -> None:
        self._fields = fields

    def __get__(self, instance: object, owner: type) -> Any:
        import dataclasses

        def standard(name: str) -> Any:
            own = self._fields[name]
            default: dict[str, Any] = {}
            if own.default_factory is not None:
                default["default_factory"] = own.default_factory
            elif own.default is not _MISSING:
                default["default"] = own.default
            return dataclasses.field(repr=own.repr, hash=own.hash, **default)

        specification = [(name, owner.__annotations__[name], standard(name)) for name in self._fields]
        made = dataclasses.make_dataclass(owner.__name__, specification)
        return made.__dataclass_fields__  # type: ignore[attr-defined]
