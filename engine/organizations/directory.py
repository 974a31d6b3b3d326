"""The directory of a site of one organization: in memory, answering in nanoseconds.

Invariant: production messages are taken only once an operator has confirmed that agreements are in place.
"""

from __future__ import annotations

SITE = "site"
"""The organization that owns every channel that names no owner."""


class SiteDirectory:
    """One organization and what its operator confirmed."""

    __slots__ = ("agreements_in_place",)

    def __init__(self, agreements_in_place: bool) -> None:
        self.agreements_in_place = agreements_in_place

    def production_allowed(self, organization: str) -> bool:
        """True once the operator confirmed the agreements; they are one site's, so every owner named is covered."""
        return self.agreements_in_place

    def exists(self, organization: str) -> bool:
        """True for the site's own organization."""
        return organization == SITE
