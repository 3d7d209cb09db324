"""Records behave as frozen dataclasses with slots do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys

import pytest

from onggi.record import FrozenRecord, field, mutable_record, record, replace


@record
class Point:
    """Two numbers and what is known of them."""

    x: int
    y: int = 0
    notes: dict[str, str] = field(default_factory=dict, hash=False)
    secret: str = field(default="", repr=False)

    @property
    def sum(self):
        return self.x + self.y


@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    x: int
    y: int = 0
    notes: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    secret: str = dataclasses.field(default="", repr=False)


@pytest.mark.parametrize(
    "arguments, named",
    [((1,), {}), ((1, 2), {}), ((), {"x": 1, "secret": "s"}), ((1, 2, {"a": "b"}, "s"), {})],
)
def test_as_the_standard_ones(arguments, named):
    ours, theirs = Point(*arguments, **named), Standard(*arguments, **named)
    assert dataclasses.astuple(ours) == dataclasses.astuple(theirs)
    assert repr(ours) == repr(theirs).replace("Standard", "Point")
    assert hash(ours) == hash(theirs)
    assert ours == Point(*arguments, **named)
    assert ours != theirs


@pytest.mark.parametrize(
    "arguments, named, words",
    [
        ((), {}, "Point: no value for x"),
        ((1, 2, {}, "", 5), {}, "Point takes 4 values, 5 were given"),
        ((1,), {"x": 2}, "Point: x is given twice"),
        ((1,), {"z": 2}, "Point has no z"),
    ],
)
def test_wrong_values(arguments, named, words):
    with pytest.raises(TypeError, match=words):
        Point(*arguments, **named)


def test_a_default_is_made_for_each():
    assert Point(1).notes is not Point(1).notes


def test_nothing_can_be_changed():
    point = Point(1)
    with pytest.raises(FrozenRecord, match="Point.x cannot be changed"):
        point.x = 2
    with pytest.raises(AttributeError):
        point.z = 2
    with pytest.raises(FrozenRecord):
        del point.x
    assert not hasattr(point, "__dict__")
    assert Point.__doc__ == "Two numbers and what is known of them."


def test_copies_and_pickles():
    point = Point(1, 2, {"a": "b"})
    assert copy.deepcopy(point) == point == pickle.loads(pickle.dumps(point))
    assert point.sum == 3


def test_the_tools_of_dataclasses():
    assert dataclasses.is_dataclass(Point)
    assert [entry.name for entry in dataclasses.fields(Point)] == ["x", "y", "notes", "secret"]
    assert dataclasses.replace(Point(1), y=5) == Point(1, 5)
    assert dataclasses.asdict(Point(1, notes={"a": "b"})) == {
        "x": 1,
        "y": 0,
        "notes": {"a": "b"},
        "secret": "",
    }


def test_another_with_some_changes():
    assert replace(Point(1, 2), y=5) == Point(1, 5)
    with pytest.raises(TypeError, match="Point has no z"):
        replace(Point(1), z=2)


def test_one_that_can_be_changed():
    @mutable_record
    class Counter:
        count: int = 0
        seen: list[str] = field(default_factory=list)

    counter = Counter()
    counter.count += 1
    counter.seen.append("a")
    assert counter == Counter(1, ["a"]) != Counter()
    with pytest.raises(AttributeError):
        counter.other = 1
    with pytest.raises(TypeError):
        hash(counter)


def test_a_match():
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_no_import_of_dataclasses():
    code = "import sys, onggi.record; print('dataclasses' in sys.modules, 'inspect' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False False\n"
