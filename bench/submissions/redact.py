"""Redaction: who measured cannot be told from the archive, and it can be verified as before.

Names of hosts, machine ids, serials and addresses become pseudonyms: a keyed hash (HMAC-SHA-256,
RFC 2104), so that what was equal stays equal, in one submission and in all of one key, and nobody
without the secret can try names until one fits. The secret follows from the signing key, or is
drawn and forgotten. Values, samples, cases, schedules and datasheets stay as they are byte for
byte; what names stood in is written anew, and the manifest covers what is packed.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec

from ..certificates.keys import Key
from ..records import Conditions, Header, Node, Row

_DOMAIN = b"hengsuan redaction 1\n"
_WORD = r"[0-9A-Za-z]"
_TELLING = re.compile(r"serial|uuid|guid|mac|address|host|boot", re.IGNORECASE)
"""Keys of facts whose values say which machine it is."""
_VERSIONED = ("versions", "drivers", "packages", "driver_version", "firmware")
"""Keys of facts below which four numbers with dots are a version, not an address."""
_UUID = re.compile(r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_HARDWARE = re.compile(
    r"(?i)(?<![0-9a-z:])(?:[0-9a-f]{2}(?::[0-9a-f]{2}){5}(?::[0-9a-f]{2}){0,14}"
    r"|[0-9a-f]{4}(?::[0-9a-f]{4}){3})(?![0-9a-z:])"
)
"""Addresses of network cards: Ethernet, InfiniBand, its GUIDs."""
_ADDRESS = re.compile(
    r"(?<![0-9A-Za-z_:.])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)(?![0-9A-Za-z_])"
)
_HOME = re.compile(r"(/(?:home|Users)/)([^/\s\"',:;]+)")
_LEAST = 4
"""Characters of what is looked for in free text, names of hosts apart."""
_HARMLESS = re.compile(r"-?[0-9][0-9,]{0,40}|true|false|on|off", re.IGNORECASE)
"""Values of environment variables that name nothing."""


class Redactor:
    """Replaces what identifies by pseudonyms.

    Args:
        key: Whose secret is used: the same name gets the same pseudonym in all submissions of this
            key. None draws one for this object alone.
    """

    def __init__(self, key: Key | None = None) -> None:
        # An Ed25519 signature of a fixed text is always the same, and only the key can make it.
        self._secret = (
            hashlib.sha256(key.sign(_DOMAIN).encode()).digest()
            if key is not None
            else secrets.token_bytes(32)
        )
        self._known: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def pseudonym(self, kind: str, text: str) -> str:
        """``host-3f2a91c07b55``; empty text stays empty."""
        if not text:
            return ""
        digest = hmac.new(self._secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{kind}-{digest.hexdigest()[:12]}"

    def learn(self, header: Header) -> None:
        """Know what identifies the nodes of a run, wherever it stands."""
        for node in header.nodes:
            for kind, text in _identifying(node):
                # A serial of a digit or two says nothing by itself, and stands in every sentence.
                if len(text) >= (1 if kind == "host" else _LEAST):
                    self._known.setdefault(text, self.pseudonym(kind, text))
        longest = sorted(self._known, key=len, reverse=True)
        either = "|".join(map(re.escape, longest))
        self._pattern = re.compile(f"(?<!{_WORD})(?:{either})(?!{_WORD})") if longest else None

    def left_in(self, data: bytes) -> str:
        """A name that stands in these bytes still; empty if none does."""
        found = self._pattern.search(data.decode()) if self._pattern is not None else None
        return found[0] if found is not None else ""

    def text(self, text: str, *, addresses: bool = True) -> str:
        """Free text with pseudonyms in it."""
        if self._pattern is not None:
            text = self._pattern.sub(lambda found: self._known[found[0]], text)
        text = _HOME.sub(lambda found: found[1] + self.pseudonym("user", found[2]), text)
        if addresses:
            text = _UUID.sub(lambda found: self.pseudonym("serial", found[0]), text)
            text = _HARDWARE.sub(lambda found: self.pseudonym("address", found[0]), text)
            text = _ADDRESS.sub(lambda found: self._address(found[0]), text)
        return text

    def _address(self, text: str) -> str:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return text
        if address.is_loopback or address.is_unspecified:
            return text
        return self.pseudonym("address", text)

    def value(self, found: Any, *, addresses: bool = True) -> Any:
        """Facts with pseudonyms in all their text; keys stay."""
        if isinstance(found, str):
            return self.text(found, addresses=addresses)
        if isinstance(found, dict):
            return {
                key: self.value(item, addresses=addresses and key not in _VERSIONED)
                for key, item in found.items()
            }
        if isinstance(found, (list, tuple)):
            return [self.value(item, addresses=addresses) for item in found]
        return found

    def header(self, header: Header) -> Header:
        """A run's header; cases, schedules, times and the kinds of its devices stay."""
        environment = dict(self.value(header.environment))
        environment["variables"] = {
            name: value if _HARMLESS.fullmatch(str(value)) else self.pseudonym("value", str(value))
            for name, value in (header.environment.get("variables") or {}).items()
        }
        return msgspec.structs.replace(
            header,
            suite_text=self.text(header.suite_text),
            command=header.command[:2],
            environment=environment,
            nodes=[self._node(node) for node in header.nodes],
            conditions=[self._conditions(one) for one in header.conditions],
            stages=self.value(header.stages),
            events=self.value(header.events),
        )

    def _node(self, node: Node) -> Node:
        return msgspec.structs.replace(
            node,
            id=self.pseudonym("node", node.id),
            name=self.pseudonym("host", node.name),
            machine=self.pseudonym("machine", node.machine),
            address=self.pseudonym("address", node.address),
            labels=self.value(node.labels),
            facts=self.value(node.facts),
            problem=self.text(node.problem),
            busy=tuple(map(self.text, node.busy)),
            devices=tuple(
                msgspec.structs.replace(
                    device,
                    serial=self.pseudonym("serial", device.serial),
                    lane=self.text(device.lane),
                    facts=self.value(device.facts),
                )
                for device in node.devices
            ),
        )

    def _conditions(self, one: Conditions) -> Conditions:
        return msgspec.structs.replace(
            one,
            tables=self.text(one.tables),
            throttled=self.text(one.throttled) if one.throttled is not None else None,
        )

    def rows(self, raw: bytes) -> bytes:
        """``measurements.jsonl``: reasons with pseudonyms; every other line byte for byte.

        Raises `msgspec.DecodeError` for a line that is no row.
        """
        return b"".join(self._row(line) for line in raw.splitlines(keepends=True))

    def _row(self, line: bytes) -> bytes:
        if line.rstrip().endswith(b',""]'):
            return line
        row = msgspec.json.decode(line, type=Row)
        reason = self.text(row.reason)
        if reason == row.reason:
            return line
        return msgspec.json.encode(msgspec.structs.replace(row, reason=reason)) + b"\n"

    def conditions(self, raw: bytes) -> bytes:
        """``conditions.jsonl``. Raises `msgspec.DecodeError` for a line that is none."""
        found = msgspec.json.Decoder(Conditions).decode_lines(raw)
        lines: bytes = msgspec.json.Encoder().encode_lines([self._conditions(one) for one in found])
        return lines


def _identifying(node: Node) -> Iterator[tuple[str, str]]:
    """What says which node it is: kind and text."""
    yield "host", node.name
    if not _ADDRESS.fullmatch(node.name):
        yield "host", node.name.partition(".")[0]
    yield "machine", node.machine
    yield "node", node.id
    yield "address", node.address
    for device in node.devices:
        yield "serial", device.serial
    for facts in (node.facts, *(device.facts for device in node.devices)):
        yield from (("fact", text) for text in _telling(facts, False))


def _telling(found: Any, told: bool) -> Iterator[str]:
    """Texts below keys that say which machine it is."""
    if isinstance(found, str):
        if told and any(map(str.isdigit, found)):
            yield found
    elif isinstance(found, dict):
        for key, item in found.items():
            yield from _telling(item, told or bool(_TELLING.search(key)))
    elif isinstance(found, (list, tuple)):
        for item in found:
            yield from _telling(item, told)
