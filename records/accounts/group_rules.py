"""Which role and which sites a person has by the groups that an identity provider names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from records.accounts.roles import may
from records.errors import LoginRefused
from records.states import Permission, Role

EVERYBODY = "*"
"""The group of NIGHTDRAFT_OIDC_SITES that everybody has."""

DEFAULT_SITE = "default"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a person may do and see.

    Attributes:
        role: what he or she may do.
        site_codes: the sites whose studies he or she sees, in alphabetical order.
    """

    role: Role
    site_codes: tuple[str, ...]


def choose(groups: Collection[str], roles: Mapping[str, Role], sites: Mapping[str, str]) -> Rights:
    """Choose a person's role and sites.

    Args:
        groups: the groups that the identity provider names.
        roles: role by group; the first whose group the person has counts.
        sites: codes of sites by group, with spaces between them; without any pair everybody has
            the site `default`.

    Raises:
        LoginRefused: no group gives a role, or none a site and the role needs one.
    """
    role = next((role for group, role in roles.items() if group in groups), None)
    if role is None:
        raise LoginRefused("none of this person's groups has a role here")
    codes = {
        code
        for group, listed in sites.items()
        if group == EVERYBODY or group in groups
        for code in listed.split()
    }
    if not sites:
        codes = {DEFAULT_SITE}
    if not codes and may(role, Permission.READ_STUDIES):
        raise LoginRefused("none of this person's groups has a site here")
    return Rights(role, tuple(sorted(codes)))
