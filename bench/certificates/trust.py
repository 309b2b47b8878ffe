"""The trust store: whose key counts for what, and what was revoked. A file each, in YAML.

::

    trust/keys/acceptance.yaml      name, key, uses, chips, sites, since, until
    trust/revoked/<id>.yaml         what (a key or a certificate), since, reason

Adding and revoking are new files: nothing is rewritten, and a store can be kept in a repository or
handed out by configuration management. A file that cannot be read is an error, never a key less
or a revocation less.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from ..configs.document import Document, read_document
from ..configs.search import user_folder
from ..configs.typed import convert
from ..errors import InfraError, UsageError
from ..files import create_file
from . import times
from .keys import decode_public, key_id
from .statement import Statement, Use

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,62}", re.ASCII)
_ID = re.compile(r"(?:ed25519|sha256):[0-9a-f]{64}")


class Trust(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A key that counts: whose it is (``name``), the raw ``key`` in base64, and for which ``uses``.

    ``chips`` and ``sites`` (patterns with ``*``) limit it to nodes whose devices are all of such
    chips, and whose label ``site`` is one of them; empty: any. ``since`` and ``until`` bound its
    trust; empty: no bound.
    """

    name: str
    key: str
    uses: list[Use]
    chips: list[str] = []
    sites: list[str] = []
    since: str = ""
    until: str = ""

    @property
    def id(self) -> str:
        """The key's id."""
        return key_id(decode_public(self.key))

    def problems(self, statement: Statement) -> Iterator[str]:
        """Why this key does not count for a statement, whenever that is asked."""
        if statement.use not in self.uses:
            yield f"the key {self.name} is trusted for {', '.join(self.uses)} only"
        for chip in sorted(statement.chips()):
            if self.chips and not _fits(chip, self.chips):
                yield (
                    f"the key {self.name} is trusted for the chips {', '.join(self.chips)}, "
                    f"not for {chip or 'unknown ones'}"
                )
        for site in sorted(statement.sites()):
            if self.sites and not _fits(site, self.sites):
                yield (
                    f"the key {self.name} is trusted for the sites {', '.join(self.sites)}, "
                    f"not for {site or 'a node without the label site'}"
                )


class Revocation(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What does not count any more: ``what`` is the id of a key or of a certificate.

    ``since`` (keys only) spares certificates issued before; they are as good as the date in them,
    which whoever has the key can choose. Empty spares none.
    """

    what: str
    since: str = ""
    reason: str = ""


T = TypeVar("T", Trust, Revocation)


class Store:
    """The trust store in one folder; an empty one where there is none yet.

    Attributes:
        folder: Where it is.
        keys: What is trusted, by key id.
        revoked: What is revoked, by id.

    Raises:
        ConfigError: a file does not say what it must, with ``file:line``.
        UsageError: everybody may write to it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else user_folder() / "trust"
        self.keys: dict[str, Trust] = {}
        for document, one in self._read("keys", Trust):
            _check_trust(document, one)
            if (before := self.keys.setdefault(one.id, one)) is not one:
                raise document.error(("key",), f"this key is trusted as {before.name} already")
        self.revoked: dict[str, Revocation] = {}
        for document, given in self._read("revoked", Revocation):
            if not _ID.fullmatch(given.what):
                raise document.error(("what",), "must be ed25519:<64 hex> or sha256:<64 hex>")
            _check_moment(document, "since", given.since)
            self.revoked[given.what] = given

    def named(self, name: str) -> Trust | None:
        """The key of that name."""
        return next((one for one in self.keys.values() if one.name == name), None)

    def trust(self, one: Trust) -> Path:
        """Add a key; its file. Raises `UsageError` if its name or the key is there already."""
        if not NAME.fullmatch(one.name):
            raise UsageError(
                f"{one.name!r} is no name for a key", hint="letters, digits, '.', '_' and '-'"
            )
        if (before := self.keys.get(one.id)) is not None:
            raise UsageError(f"this key is trusted already, as {before.name}")
        path = self._write(Path("keys", f"{one.name}.yaml"), one)
        self.keys[one.id] = one
        return path

    def revoke(self, one: Revocation) -> Path:
        """Add a revocation; its file. Raises `UsageError` if it is there already."""
        path = self._write(Path("revoked", f"{one.what.replace(':', '-')}.yaml"), one)
        self.revoked[one.what] = one
        return path

    def _read(self, part: str, kind: type[T]) -> list[tuple[Document, T]]:
        folder = self.folder / part
        for place in (self.folder, folder):
            if place.is_dir() and place.stat().st_mode & 0o002:
                raise UsageError(
                    "everybody on this machine may write to this trust store",
                    where=str(place),
                    hint=f"chmod o-w {place}, and see who put what into it",
                )
        try:
            files = sorted(folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InfraError(f"cannot read: {error.strerror}", where=str(folder)) from None
        documents = [read_document(file) for file in files if file.suffix == ".yaml"]
        return [(document, convert(document, kind)) for document in documents]

    def _write(self, inside: Path, one: Trust | Revocation) -> Path:
        path = self.folder / inside
        said = {key: value for key, value in msgspec.to_builtins(one).items() if value}
        text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            create_file(path, text.encode())
        except FileExistsError:
            raise UsageError(f"{path} exists: delete it to say something else") from None
        except OSError as error:
            raise InfraError(f"cannot write: {error.strerror}", where=str(path)) from None
        return path


def _fits(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_trust(document: Document, one: Trust) -> None:
    if one.name != Path(document.path).stem:
        raise document.error(
            ("name",), f"must be {Path(document.path).stem!r}, as the file is called"
        )
    try:
        decode_public(one.key)
    except ValueError as error:
        raise document.error(("key",), f"this is no public key: {error}") from None
    if not one.uses:
        raise document.error(("uses",), "a key that is trusted for nothing", "delete the file")
    for key in ("since", "until"):
        _check_moment(document, key, getattr(one, key))


def _check_moment(document: Document, key: str, text: str) -> None:
    try:
        if text:
            times.parse(text)
    except ValueError as error:
        raise document.error((key,), str(error)) from None
