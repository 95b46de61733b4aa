"""What each role may do."""

import pytest

from records.accounts.roles import PERMISSIONS, may
from records.states import Permission, Role

OF_PATIENTS = {
    Permission.READ_STUDIES,
    Permission.SEE_IMAGES,
    Permission.DECIDE_HOLDS,
    Permission.CHANGE_WORK,
    Permission.ANSWER_SECOND_LOOKS,
    Permission.READ_MESSAGES,
    Permission.SETTLE_MESSAGES,
    Permission.READ_CAMPAIGNS,
    Permission.MANAGE_CAMPAIGNS,
    Permission.SEND_ORDERS,
}


def test_every_role_has_its_permissions_and_every_permission_somebody():
    assert set(PERMISSIONS) == set(Role)
    assert set().union(*PERMISSIONS.values()) == set(Permission)


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.AUDITOR])
def test_administrators_and_auditors_see_no_patients(role):
    assert not PERMISSIONS[role] & OF_PATIENTS


def test_the_auditor_alone_reads_the_trail_and_nothing_else():
    assert PERMISSIONS[Role.AUDITOR] == {Permission.READ_TRAIL}
    assert [role for role in Role if may(role, Permission.READ_TRAIL)] == [Role.AUDITOR]


def test_a_trainee_decides_nothing():
    assert PERMISSIONS[Role.TRAINEE] < PERMISSIONS[Role.READER] < PERMISSIONS[Role.LEAD]
    assert not may(Role.TRAINEE, Permission.DECIDE_HOLDS)
    assert not may(Role.TRAINEE, Permission.CHANGE_WORK)
