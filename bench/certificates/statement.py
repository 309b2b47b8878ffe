"""What a signed statement has, whatever it is about: a certificate, a submission."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

Use: TypeAlias = Literal["certify", "submission"]
"""What a key's word can count for."""


class Statement(Protocol):
    """What somebody signed: by which key, for what, from when and until when (ISO 8601, UTC)."""

    @property
    def use(self) -> Use:
        """What kind of statement it is."""
        ...

    @property
    def signer(self) -> str:
        """Id of the key."""
        ...

    @property
    def issued(self) -> str:
        """From when it holds."""
        ...

    @property
    def valid_until(self) -> str:
        """Until when."""
        ...

    def id(self) -> str:
        """``sha256:...`` of what is signed: names this statement and no other."""
        ...

    def chips(self) -> set[str]:
        """The chips that it is about."""
        ...

    def sites(self) -> set[str]:
        """The values of the label ``site`` that it is about; an empty one for a node without."""
        ...
