"""Image references, as Docker reads and writes them (docker-engine §1).

Grammar, on the normalised string, ASCII only::

    reference  = name [ ":" tag ] [ "@" digest ]
    name       = [ domain "/" ] path
    domain     = host [ ":" digit+ ]
    host       = component { "." component } | "[" { hexdigit | ":" } "]"
    component  = alnum { { "-" } alnum }
    path       = element { "/" element }
    element    = lower-alnum { separator lower-alnum }      separator = "." | "_" | "__" | "-"+
    tag        = word { word | "." | "-" }                  at most 128 characters
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from onggi.errors import InvalidArgument
from onggi.oci.digest import Digest

__all__ = ["InvalidReference", "Reference", "glob_matches", "parse_any"]

_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_COMPONENT}(?:\.{_COMPONENT})*|\[[a-fA-F0-9:]+\])"
_DOMAIN = rf"{_HOST}(?::[0-9]+)?"
_ELEMENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = rf"{_ELEMENT}(?:/{_ELEMENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"(?:({_DOMAIN})/)?({_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")

_HUB = "docker.io"
_OFFICIAL = "library"
# Characters; of the path alone since Docker 25, of domain and path before.
_MAX_NAME = 255


class InvalidReference(InvalidArgument):
    """Not an image reference; the message is Docker's."""

    def __init__(self, text: str, reason: str = "invalid reference format") -> None:
        super().__init__(reason, hint=f"{text!r} should look like [registry/]name[:tag][@digest]")
        self.text = text


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised reference. ``str()`` is canonical; :attr:`familiar` is what Docker shows."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, compat: str = "28") -> Reference:
        """Normalise and check (§1.2). Raises InvalidReference or InvalidDigest."""
        if _IDENTIFIER.fullmatch(text):
            raise InvalidReference(
                text, f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )
        domain, remainder = _split(text, compat)
        name_part = remainder.partition(":")[0]
        if name_part.lower() != name_part:
            shown = "repository name" if compat == "20.10" else f"repository name ({name_part})"
            raise InvalidReference(text, f"invalid reference format: {shown} must be lowercase")
        return cls._match(text, f"{domain}/{remainder}", compat)

    @classmethod
    def _match(cls, text: str, normal: str, compat: str) -> Reference:
        match = _REFERENCE.fullmatch(normal)
        if match is None:
            if _REFERENCE.fullmatch(normal.lower()):
                raise InvalidReference(text, "repository name must be lowercase")
            raise InvalidReference(text)
        domain, path, tag, digest = match.groups()
        counted = path if compat != "20.10" else f"{domain or ''}/{path}"
        if len(counted) > _MAX_NAME:
            raise InvalidReference(text, f"repository name must not be more than {_MAX_NAME} characters")
        return cls(domain or "", path, tag, None if digest is None else Digest.parse(digest))

    # --- how it reads ---------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Canonical name without tag and digest: ``docker.io/library/nginx``."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    @property
    def familiar_name(self) -> str:
        """The name as Docker shows and stores it: ``nginx``."""
        if self.domain != _HUB:
            return self.name
        official = self.path.removeprefix(f"{_OFFICIAL}/")
        return self.path if "/" in official else official

    @property
    def familiar(self) -> str:
        """Familiar name with tag and digest."""
        return self.familiar_name + self._suffix

    def __str__(self) -> str:
        return self.name + self._suffix

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{tag}@{self.digest}" if self.digest is not None else tag

    @property
    def is_name_only(self) -> bool:
        """True when neither tag nor digest is given."""
        return self.tag is None and self.digest is None

    # --- variations -----------------------------------------------------------------------

    def tagged(self) -> Reference:
        """With ``latest`` when neither tag nor digest is given."""
        return self.with_tag("latest") if self.is_name_only else self

    def with_tag(self, tag: str) -> Reference:
        """The same name with this tag (checked) and digest. Raises InvalidReference."""
        if not re.fullmatch(_TAG, tag):
            raise InvalidReference(f"{self.familiar_name}:{tag}", "invalid tag format")
        return Reference(self.domain, self.path, tag, self.digest)

    def with_digest(self, digest: Digest) -> Reference:
        """The same name and tag with this digest."""
        return Reference(self.domain, self.path, self.tag, digest)

    def without_tag(self) -> Reference:
        """The name alone."""
        return Reference(self.domain, self.path)


def _split(text: str, compat: str) -> tuple[str, str]:
    """Domain and remainder, with Docker Hub's defaults filled in."""
    first, slash, rest = text.partition("/")
    upper_is_domain = compat != "20.10" and first.lower() != first
    if not slash or not ("." in first or ":" in first or first == "localhost" or upper_is_domain):
        domain, remainder = _HUB, text
    else:
        domain, remainder = first, rest
    if domain == "index.docker.io":
        domain = _HUB
    if domain == _HUB and "/" not in remainder:
        remainder = f"{_OFFICIAL}/{remainder}"
    return domain, remainder


def parse_any(text: str, compat: str = "28") -> Digest | Reference:
    """64 hexadecimal digits or a full digest are a digest; everything else is a name."""
    if _IDENTIFIER.fullmatch(text):
        return Digest(f"sha256:{text}")
    try:
        return Digest.parse(text)
    except InvalidArgument:
        return Reference.parse(text, compat)


def glob_matches(pattern: str, reference: Reference) -> bool:
    """``--filter reference=``: Go's path.Match on the familiar string, or on the familiar name."""
    expression = _glob(pattern)
    return bool(expression.fullmatch(reference.familiar) or expression.fullmatch(reference.familiar_name))


def _glob(pattern: str) -> re.Pattern[str]:
    """path.Match as a regular expression: ``*`` and ``?`` do not cross ``/``."""
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "\\" and position < len(pattern):
            parts.append(re.escape(pattern[position]))
            position += 1
        elif character == "[":
            end = pattern.find("]", position + 1)
            if end < 0:
                raise InvalidArgument(f"invalid pattern {pattern!r}: syntax error in pattern")
            parts.append(f"[{pattern[position:end]}]")
            position = end + 1
        else:
            parts.append(re.escape(character))
    return re.compile("".join(parts))
