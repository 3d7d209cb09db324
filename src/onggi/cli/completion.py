"""Shell completion: three small scripts that ask ``onggi __complete WORDS…`` for candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onggi.cli.command import Command, Program
from onggi.cli.output import Output
from onggi.cli.session import Failure, Session

__all__ = ["complete", "run"]

_BASH = """\
_onggi() {
    local IFS=$'\\n'
    COMPREPLY=($(onggi __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    local word="${COMP_WORDS[COMP_CWORD]}"
    [[ $word == *:* ]] && declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$word"
}
complete -o default -F _onggi onggi
"""
_ZSH = """\
#compdef onggi
_onggi() {
    local -a candidates
    candidates=("${(@f)$(onggi __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -a candidates
}
compdef _onggi onggi
"""
_FISH = """\
function __onggi_complete
    set -l words (commandline -opc) (commandline -ct)
    onggi __complete $words[2..-1] 2>/dev/null
end
complete -c onggi -f -a '(__onggi_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def run(session: Session) -> int:
    """Print the script of a shell."""
    shell = session.arguments[0]
    if shell not in _SCRIPTS:
        raise Failure(f"Error: no completion for {shell} (bash, zsh or fish)")
    session.out.write(_SCRIPTS[shell])
    return 0


def complete(program: Program, words: Sequence[str], out: Output) -> int:
    """One candidate a line for the last of ``words``; errors give none."""
    *before, current = words or [""]
    candidates = sorted(set(_candidates(program, before, current)))
    out.write("".join(f"{word}\n" for word in candidates if word.startswith(current)))
    return 0


def _candidates(program: Program, before: list[str], current: str) -> Iterator[str]:
    plain = [word for word in before if not word.startswith("-")]
    if not plain:
        yield from (f"--{flag.name}" for flag in program.flags) if current.startswith("-") else program.top()
        return
    group = program.group(plain[0])
    if group is not None and len(plain) == 1:
        yield from (word for word, _ in program.members(group))
        return
    command = program.find(" ".join(plain[:2]) if group is not None else plain[0])
    if command is None:
        return
    if current.startswith("-"):
        yield from (f"--{flag.name}" for flag in command.flags)
        return
    yield from _arguments(program, command)


def _arguments(program: Program, command: Command) -> Iterator[str]:
    if command.completes == "shell":
        yield from _SCRIPTS
    elif command.completes == "command":
        yield from program.top()
    elif command.completes in ("image", "repository", "mount"):
        yield from _image_names()


def _image_names() -> Iterator[str]:
    """Names out of repositories.json alone: nothing else is read, so it is quick."""
    import onggi
    from onggi.errors import OnggiError

    try:
        for image in onggi.open().images.list():
            yield from image.tags or [image.id.short]
    except OnggiError:
        return
