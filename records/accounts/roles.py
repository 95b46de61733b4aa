"""What each role may do. Whatever is not named here is denied."""

from __future__ import annotations

from records.states import Permission, Role

__all__ = ["PERMISSIONS", "Permission", "Role", "may"]

_READING = frozenset({Permission.READ_STUDIES, Permission.SEE_IMAGES, Permission.READ_OPERATIONS})

_READER = _READING | {
    Permission.DECIDE_HOLDS,
    Permission.CHANGE_WORK,
    Permission.ANSWER_SECOND_LOOKS,
    Permission.EDIT_REPORTS,
    Permission.SIGN_REPORTS,
    Permission.OPEN_EMERGENCIES,
}

PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.TRAINEE: _READING | {Permission.EDIT_REPORTS},
    Role.READER: _READER,
    Role.LEAD: _READER
    | {
        Permission.READ_MESSAGES,
        Permission.SETTLE_MESSAGES,
        Permission.READ_CAMPAIGNS,
        Permission.MANAGE_CAMPAIGNS,
        Permission.MANAGE_MODELS,
        Permission.MANAGE_STYLES,
    },
    # Settings and parts, and no patients.
    Role.ADMINISTRATOR: frozenset(
        {
            Permission.READ_OPERATIONS,
            Permission.READ_PROBES,
            Permission.MANAGE_SETTINGS,
            Permission.MANAGE_ACCOUNTS,
            Permission.MANAGE_STYLES,
        }
    ),
    # The trail, and nothing else: who watches the others does none of their work.
    Role.AUDITOR: frozenset({Permission.READ_TRAIL}),
    # What a token can be given; each has a part of these.
    Role.SERVICE: frozenset(
        {
            Permission.READ_STUDIES,
            Permission.SEE_IMAGES,
            Permission.CHANGE_WORK,
            Permission.READ_MESSAGES,
            Permission.READ_CAMPAIGNS,
            Permission.MANAGE_CAMPAIGNS,
            Permission.MANAGE_MODELS,
            Permission.SEND_ORDERS,
            Permission.READ_OPERATIONS,
            Permission.READ_PROBES,
        }
    ),
}


def may(role: Role, permission: Permission) -> bool:
    """Whether a role has a permission."""
    return permission in PERMISSIONS[role]
