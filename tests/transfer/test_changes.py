from __future__ import annotations

import pytest

from onggi.errors import InvalidArgument
from onggi.transfer.changes import apply_changes

# Instruction → what dockerd 20.10 makes of it; tests/compat/test_import.py asks it anew.
ACCEPTED = {
    "CMD": {"Cmd": ["/bin/sh", "-c"]},
    "cmd a b": {"Cmd": ["/bin/sh", "-c", "a b"]},
    'CMD [ "a" ,  "b" ]': {"Cmd": ["a", "b"]},
    'CMD ["a\\n<"]': {"Cmd": ["a\n<"]},
    "CMD [x]": {"Cmd": ["/bin/sh", "-c", "[x]"]},
    "CMD ['x']": {"Cmd": ["/bin/sh", "-c", "['x']"]},
    'CMD a $HOME "q"': {"Cmd": ["/bin/sh", "-c", 'a $HOME "q"']},
    "ENTRYPOINT []": {"Entrypoint": None},
    "ENTRYPOINT": {"Entrypoint": None},
    'ENTRYPOINT ["e"]': {"Entrypoint": ["e"]},
    'ENV a=$b c="$a"': {"Env": ["a=", "c="]},
    "ENV a b $x": {"Env": ["a=b "]},
    "ENV a=b=c": {"Env": ["a=b=c"]},
    'ENV a="b" "c"=d': {"Env": ["a=b", "c=d"]},
    "ENV a='$x' b=\\$x": {"Env": ["a=$x", "b=$x"]},
    'ENV a b="c d"': {"Env": ["a=b=c d"]},
    "ENV A=1\\\n B=2": {"Env": ["A=1", "B=2"]},
    "ENV a=b\\ c": {"Env": ["a=b c"]},
    'LABEL "a b"=c\\ d': {"Labels": {"a b": "c d"}},
    "LABEL a b c": {"Labels": {"a": "b c"}},
    "EXPOSE 80-82 1.2.3.4:80:90": {"ExposedPorts": {"80/tcp": {}, "81/tcp": {}, "82/tcp": {}, "90/tcp": {}}},
    "EXPOSE 80/tcp/x": {"ExposedPorts": {"80/tcp": {}}},
    "EXPOSE 80/SCTP [::1]:1:2": {"ExposedPorts": {"80/sctp": {}, "2/tcp": {}}},
    "EXPOSE $UNDEF": {"ExposedPorts": {}},
    'VOLUME ["/a","/b"]': {"Volumes": {"/a": {}, "/b": {}}},
    "VOLUME a b": {"Volumes": {"a": {}, "b": {}}},
    "USER ${UNDEF:-z}": {"User": "z"},
    "USER a b": {"User": "a b"},
    "WORKDIR /a/../b/": {"WorkingDir": "/a/../b/"},
    "WORKDIR rel": {"WorkingDir": "/rel"},
    "ONBUILD cmd x": {"OnBuild": ["cmd x"]},
    "HEALTHCHECK NONE": {"Healthcheck": {"Test": ["NONE"]}},
    'HEALTHCHECK CMD ["a","b"]': {"Healthcheck": {"Test": ["CMD", "a", "b"]}},
    "HEALTHCHECK --interval=5s --retries=2 CMD a b": {
        "Healthcheck": {"Test": ["CMD-SHELL", "a b"], "Interval": 5 * 10**9, "Retries": 2}
    },
}

REFUSED = {
    "RUN x": "run is not a valid change command",
    "FOO x": "foo is not a valid change command",
    "#c": "file with no instructions",
    "": "file with no instructions",
    "ENV": "ENV requires at least one argument",
    "ENV a": "ENV must have two arguments",
    "ENV =x": "ENV names can not be blank",
    "ENV a= b": 'Syntax error - can\'t find = in "b". Must be of the form: name=value',
    "EXPOSE": "EXPOSE requires at least one argument",
    "EXPOSE x": "Invalid containerPort: x",
    "EXPOSE 99999": "Invalid containerPort: 99999",
    "EXPOSE 80/foo": "Invalid proto: foo",
    "VOLUME": "VOLUME requires at least one argument",
    "VOLUME $UNDEF": "VOLUME specified can not be an empty string",
    "USER": "USER requires exactly one argument",
    "WORKDIR $PATH": "cannot normalize nothing",
    'CMD ["x", 1]': "when using JSON array syntax, arrays must be comprised of strings only",
    "ONBUILD": "ONBUILD requires at least one argument",
    "ONBUILD FROM x": "FROM isn't allowed as an ONBUILD trigger",
    "ONBUILD ONBUILD RUN x": "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    "HEALTHCHECK": "HEALTHCHECK requires at least one argument",
    "HEALTHCHECK CMD": "Missing command after HEALTHCHECK CMD",
    "HEALTHCHECK X": 'Unknown type "X" in HEALTHCHECK (try CMD)',
    "HEALTHCHECK NONE x": "HEALTHCHECK NONE takes no arguments",
    "HEALTHCHECK --foo=1 CMD x": "Unknown flag: foo",
    "HEALTHCHECK --retries=0 CMD x": "--retries must be at least 1 (not 0)",
    "HEALTHCHECK --interval=5 CMD x": 'time: missing unit in duration "5"',
    "HEALTHCHECK --interval=0.1ms CMD x": 'Interval "interval" cannot be less than 1ms',
    "ENV a=${b!c}": "failed to process \"${b!c}\": missing ':' in substitution",
    "STOPSIGNAL 9": "stopsignal is not a valid change command",
}


@pytest.mark.parametrize("change", ACCEPTED)
def test_accepted(change: str) -> None:
    assert apply_changes([change], "20.10") == ACCEPTED[change]


@pytest.mark.parametrize("change", REFUSED)
def test_refused_in_dockers_words(change: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        apply_changes([change], "20.10")
    assert str(caught.value) == REFUSED[change]


def test_lines_see_the_variables_of_the_lines_before() -> None:
    changes = [
        "ENV x=1",
        "ENV x=2 y=$x",
        "LABEL l=${x}${y:+set}${z-unset}",
        "WORKDIR /a",
        "WORKDIR $x",
        "ENV x=3",
    ]
    assert apply_changes(changes, "28") == {
        "Env": ["x=3", "y=1"],
        "Labels": {"l": "2setunset"},
        "WorkingDir": "/a/2",
    }


def test_no_changes_and_newer_words() -> None:
    assert apply_changes([], "20.10") == {}
    assert apply_changes(["STOPSIGNAL SIGKILL"], "28") == {"StopSignal": "SIGKILL"}
    assert apply_changes(["STOPSIGNAL RTMIN+3", "STOPSIGNAL 9"], "28") == {"StopSignal": "9"}
    with pytest.raises(InvalidArgument, match="invalid signal: FOO"):
        apply_changes(["STOPSIGNAL FOO"], "28")
    with pytest.raises(InvalidArgument, match="Unknown flag: start-interval"):
        apply_changes(["HEALTHCHECK --start-interval=1s CMD x"], "20.10")
    check = apply_changes(["HEALTHCHECK --start-interval=1s CMD x"], "28")
    assert check["Healthcheck"]["StartInterval"] == 10**9
