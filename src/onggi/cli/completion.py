"""Shell completion: three small scripts that ask ``onggi __complete WORD…`` for candidates.

The words are those after ``onggi``, the last one being typed (it may be empty). The answer
is one candidate a line, ``word TAB description``, or the single line ``:file`` or
``:directory``, which leaves the matter to the shell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from onggi.cli.command import Command, Program
from onggi.cli.flags import Flag
from onggi.cli.output import Output
from onggi.cli.session import Failure, Session

__all__ = ["complete", "run"]

# Readline ends words at ":" and "=" too: the line is split at spaces here, and what stands
# before the last such mark is taken off the candidates again.
_BASH = """\
_onggi() {
    local line="${COMP_LINE:0:COMP_POINT}" words current candidates head
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current="${words[-1]}"
    mapfile -t candidates < <(onggi __complete "${words[@]:1}" 2>/dev/null)
    if [[ ${candidates[0]-} == :* ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -A "${candidates[0]#:}" -- "$current")
        return
    fi
    COMPREPLY=("${candidates[@]%%$'\\t'*}")
    head="${current%"${current##*[:=]}"}"
    COMPREPLY=("${COMPREPLY[@]#"$head"}")
}
complete -F _onggi onggi
"""
_ZSH = """\
#compdef onggi
_onggi() {
    local -a lines values shown
    local line
    lines=("${(@f)$(onggi __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    case "${lines[1]}" in
        :file) _files; return ;;
        :directory) _files -/; return ;;
    esac
    for line in $lines; do
        values+=("${line%%$'\\t'*}")
        shown+=("${line/$'\\t'/  -- }")
    done
    (( $#values )) && compadd -l -d shown -a values
}
if [ "$funcstack[1]" = "_onggi" ]; then
    _onggi "$@"
else
    compdef _onggi onggi
fi
"""
_FISH = """\
function __onggi_complete
    set -l words (commandline -opc)
    set -l candidates (onggi __complete $words[2..-1] (commandline -ct) 2>/dev/null)
    switch "$candidates[1]"
        case :file
            __fish_complete_path (commandline -ct)
        case :directory
            __fish_complete_directories (commandline -ct)
        case '*'
            string join \\n -- $candidates
    end
end
complete -c onggi -f -a '(__onggi_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

Candidate = tuple[str, str]


def run(session: Session) -> int:
    """Print the script of a shell."""
    shell = session.arguments[0]
    if shell not in _SCRIPTS:
        raise Failure(f"Error: no completion for {shell} (there is one for {', '.join(_SCRIPTS)})")
    session.out.write(_SCRIPTS[shell])
    return 0


def complete(program: Program, words: Sequence[str], out: Output) -> int:
    """Candidates for the last of ``words``; what is wrong before it gives none."""
    *before, current = words or [""]
    line = _Line(program, before)
    for word, description in line.candidates(current):
        if word.startswith(":") and not description:
            out.write(f"{word}\n")
        elif word.startswith(current):
            out.write(f"{word}\t{description}\n" if description else f"{word}\n")
    return 0


class _Line:
    """What the words before the current one say: the command, its arguments, a flag that waits."""

    def __init__(self, program: Program, words: Iterable[str]) -> None:
        self._program = program
        self._path = ""
        self._command: Command | None = None
        self._arguments: list[str] = []
        self._settings: dict[str, str] = {}
        self._waiting: Flag | None = None
        self._only_arguments = False
        for word in words:
            self._read(word)

    @property
    def _flags(self) -> list[Flag]:
        late = [flag for flag in self._program.flags if not self._command or flag.name != "version"]
        return [*(self._command.flags if self._command else ()), *late]

    def _read(self, word: str) -> None:
        if self._waiting is not None:
            self._settings[self._waiting.name] = word
            self._waiting = None
        elif word == "--":
            self._only_arguments = True
        elif word.startswith("-") and len(word) > 1 and not self._only_arguments:
            self._read_flag(word)
        elif self._command is not None:
            self._arguments.append(word)
        else:
            self._path = f"{self._path} {word}".strip()
            self._command = self._program.find(self._path)

    def _read_flag(self, word: str) -> None:
        name, equals, value = word.partition("=")
        for flag in self._flags:
            if name == f"--{flag.name}" or (flag.short and name[:2] == f"-{flag.short}" and name[1] != "-"):
                if equals:
                    self._settings[flag.name] = value
                elif flag.kind != "bool" and (name.startswith("--") or len(name) == len("-f")):
                    self._waiting = flag
                return

    def candidates(self, current: str) -> Iterator[Candidate]:
        """Every word that fits there, whether or not it begins like ``current``."""
        name, equals, _ = current.partition("=")
        if self._waiting is not None:
            yield from self._values(self._waiting)
        elif equals and name.startswith("--"):
            flag = next((flag for flag in self._flags if f"--{flag.name}" == name), None)
            yield from ((f"{name}={value}", text) for value, text in self._values(flag) if value[0] != ":")
        elif current.startswith("-") and not self._only_arguments:
            yield from (
                (f"--{flag.name}", flag.help.partition("\n")[0]) for flag in self._flags if not flag.hidden
            )
            yield "--help", "Show help"
        elif self._command is not None:
            yield from self._argument(self._command)
        else:
            yield from self._words()

    def _words(self) -> Iterator[Candidate]:
        group = self._program.group(self._path)
        if group is not None:
            yield from ((name, command.short) for name, command in self._program.members(group))
        elif not self._path:
            yield from sorted(self._program.top().items())

    def _values(self, flag: Flag | None) -> Iterator[Candidate]:
        if flag is None:
            return
        yield from ((choice, "") for choice in flag.suggests)
        if flag.completes in ("container", "network"):
            yield from ((name, "") for name in self._names(flag.completes))
        elif flag.completes:
            yield f":{flag.completes}", ""
        elif flag.name == "filter":
            yield from ((f"{name}=", "") for name in _FILTERS.get(self._path.split()[-1], ()))

    def _argument(self, command: Command) -> Iterator[Candidate]:
        room = command.arity.most is None or len(self._arguments) < command.arity.most
        if not room:
            return
        if command.completes == "shell":
            yield from ((shell, "") for shell in _SCRIPTS)
        elif command.completes == "command":
            yield from sorted(self._program.top().items())
        elif command.interspersed or not self._arguments:  # what follows belongs to another program
            kind = command.completes
            if kind == "network" and command.run.endswith("connect") and self._arguments:
                kind = "container"
            yield from ((name, "") for name in self._names(kind) if name not in self._arguments)

    def _names(self, kind: str) -> list[str]:
        """What there is of a kind of thing; ``object`` is any that ``inspect`` takes."""
        if kind in ("image", "repository", "mount"):
            return self._images()
        if kind == "container":
            return self._containers()
        if kind == "volume":
            return self._volumes()
        if kind == "network":
            return self._networks()
        if kind == "object":
            wanted = self._settings.get("type")
            kinds = [wanted] if wanted else ["container", "image", "network", "volume"]
            return sorted({name for each in kinds for name in self._names(each)})
        return []

    def _networks(self) -> list[str]:
        """Docker's three, and names out of the networks' own files."""
        from onggi.config import Config
        from onggi.errors import OnggiError
        from onggi.network.model import PREDEFINED
        from onggi.network.store import NetworkStore
        from onggi.store.locks import LockDirectory

        given = {name.replace("-", "_"): self._settings.get(name) for name in ("config-file", "data-root")}
        try:
            own = Config.load(given).data_root / "onggi"
            made = {network.name for network in NetworkStore(own, LockDirectory(own / "locks")).all()}
        except (OnggiError, OSError):
            made = set()
        return sorted(made.union(PREDEFINED))

    def _volumes(self) -> list[str]:
        """Names of the volumes' own directories."""
        from onggi.config import Config
        from onggi.errors import OnggiError
        from onggi.store.layout import Layout
        from onggi.store.locks import LockDirectory
        from onggi.store.trash import Trash
        from onggi.store.volumes import VolumeStore

        given = {name.replace("-", "_"): self._settings.get(name) for name in ("config-file", "data-root")}
        try:
            layout = Layout(Config.load(given).data_root, "")
            return VolumeStore(layout, LockDirectory(layout.locks), Trash(layout.trash)).names()
        except (OnggiError, OSError):
            return []

    def _containers(self) -> list[str]:
        """Names out of the containers' own files."""
        from onggi.config import Config
        from onggi.drivers.choice import choose
        from onggi.errors import OnggiError
        from onggi.store.containers import ContainerStore
        from onggi.store.layout import Layout
        from onggi.store.locks import LockDirectory

        given = {name.replace("-", "_"): self._settings.get(name) for name in ("config-file", "data-root")}
        try:
            config = Config.load(given)
            layout = Layout(config.data_root, choose(config.data_root, config.storage_driver).name)
            store = ContainerStore(layout, LockDirectory(layout.locks))
            return sorted(stored.name for stored in store.all())
        except (OnggiError, OSError):
            return []

    def _images(self) -> list[str]:
        """Names out of ``repositories.json`` alone: no image is opened, so it is quick."""
        from onggi.config import Config
        from onggi.drivers.choice import choose
        from onggi.errors import OnggiError
        from onggi.store.layout import Layout
        from onggi.store.locks import LockDirectory
        from onggi.store.tags import TagStore

        given = {name.replace("-", "_"): self._settings.get(name) for name in ("config-file", "data-root")}
        try:
            config = Config.load(given)
            driver = choose(config.data_root, config.storage_driver).name
            layout = Layout(config.data_root, driver)
            names = TagStore(layout.repositories, LockDirectory(layout.locks)).snapshot().items()
            return sorted(reference.familiar for reference, _ in names if reference.digest is None)
        except (OnggiError, OSError):
            return []


_IMAGE_FILTERS = ("before", "dangling", "label", "reference", "since", "until")
_EVENT_FILTERS = ("action", "event", "image", "label", "type")
_FILTERS = {
    "images": _IMAGE_FILTERS,
    "ls": _IMAGE_FILTERS,
    "list": _IMAGE_FILTERS,
    "prune": ("dangling", "label", "label!", "until"),
    "events": _EVENT_FILTERS,
}
