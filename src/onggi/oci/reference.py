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

from onggi.errors import InvalidArgument
from onggi.oci import glob
from onggi.oci.digest import Digest, InvalidDigest, is_hex
from onggi.oci.quoting import printable
from onggi.record import record

__all__ = ["InvalidReference", "Reference", "glob_matches", "parse_any"]

# re.fullmatch and spelled-out sets: "$" lets a final newline pass, "\w" and "\d" let Unicode pass.
_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_COMPONENT}(?:\.{_COMPONENT})*|\[[a-fA-F0-9:]+\])"
_ELEMENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = rf"{_ELEMENT}(?:/{_ELEMENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"(?:({_HOST}(?::[0-9]+)?)/)?({_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?")

_HUB = "docker.io"
_OLD_HUB = "index.docker.io"
_OFFICIAL = "library"
# Characters. Longer names are refused: the limit of registries' databases, kept for compatibility.
_MAX_NAME = 255


class InvalidReference(InvalidArgument):
    """Not an image reference; the message is Docker's."""

    def __init__(self, text: str, reason: str = "invalid reference format") -> None:
        super().__init__(printable(reason), hint=f"{text!r} should look like [registry/]name[:tag][@digest]")
        self.text = text


@record
class Reference:
    """A normalised reference. ``str()`` is canonical; :attr:`familiar` is what Docker shows.

    ``domain`` is empty in one case: its text has a dot or colon and yet is no host name
    (``exa_mple.com/x``); Docker then takes all of it for the path.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, compat: str = "28") -> Reference:
        """Normalise and check (§1.2). Raises InvalidReference or InvalidDigest.

        ``compat`` "20.10" differs: the limit of length counts the domain, IPv6 hosts are
        refused, an upper-case first component is not a domain.
        """
        if _is_identifier(text):
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
        if match is None and _REFERENCE.fullmatch(normal.lower()):
            raise InvalidReference(text, "repository name must be lowercase")
        if match is None or (compat == "20.10" and normal.startswith("[")):
            raise InvalidReference(text)
        domain, path, tag, digest = match.groups()
        reference = cls(domain or "", path, tag, None)
        counted = reference.name if compat == "20.10" else path
        if len(counted) > _MAX_NAME:
            raise InvalidReference(text, f"repository name must not be more than {_MAX_NAME} characters")
        return reference if digest is None else reference.with_digest(Digest.parse(digest))

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
    domain, slash, remainder = text.partition("/")
    if not slash or not _is_domain(domain, compat):
        domain, remainder = _HUB, text
    elif domain == _OLD_HUB:
        domain = _HUB
    if domain == _HUB and "/" not in remainder:
        remainder = f"{_OFFICIAL}/{remainder}"
    return domain, remainder


def _is_identifier(text: str) -> bool:
    """Whether a bare id of an image or container would look like this; no name may."""
    return len(text) == 64 and is_hex(text)


def _is_domain(first: str, compat: str) -> bool:
    """Whether the part before the first slash is a registry, not a user of Docker Hub."""
    if first == "localhost" or "." in first or ":" in first:
        return True
    return compat != "20.10" and first.lower() != first


def parse_any(text: str, compat: str = "28") -> Digest | Reference:
    """64 hexadecimal digits or a full digest are a digest; everything else is a name (§1.4.1).

    Raises InvalidReference or InvalidDigest.
    """
    if _is_identifier(text):
        return Digest(f"sha256:{text}")
    try:
        return Digest.parse(text)
    except InvalidDigest:
        return Reference.parse(text, compat)


def glob_matches(pattern: str, reference: Reference) -> bool:
    """``--filter reference=``: path.Match on the familiar string, or on the familiar name.

    Raises glob.InvalidPattern.
    """
    return glob.match(pattern, reference.familiar) or glob.match(pattern, reference.familiar_name)
