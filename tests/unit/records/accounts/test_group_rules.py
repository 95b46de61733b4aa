"""Role and sites out of the groups that an identity provider names."""

import pytest

from records.accounts.group_rules import Rights, choose
from records.errors import LoginRefused
from records.states import Role

ROLES = {"leads": Role.LEAD, "admins": Role.ADMINISTRATOR, "readers": Role.READER}


def test_the_first_pair_whose_group_a_person_has_gives_the_role():
    assert choose(["readers", "leads"], ROLES, {}).role is Role.LEAD
    assert choose(["readers", "admins"], ROLES, {}).role is Role.ADMINISTRATOR
    assert choose(["other", "readers"], ROLES, {}) == Rights(Role.READER, ("default",))


@pytest.mark.parametrize("groups", [[], ["other"], ["Leads"], ["leads "], [""]])
def test_who_has_none_of_the_groups_is_refused(groups):
    with pytest.raises(LoginRefused, match="none of this person's groups has a role here"):
        choose(groups, ROLES, {})


def test_sites_are_those_of_all_groups():
    sites = {"north": "n1 n2", "south": "s1", "*": "n1"}
    assert choose(["leads", "south"], ROLES, sites).site_codes == ("n1", "s1")
    assert choose(["leads", "north", "south"], ROLES, sites).site_codes == ("n1", "n2", "s1")


def test_who_reads_studies_needs_a_site_and_who_does_not_needs_none():
    sites = {"north": "n1"}
    with pytest.raises(LoginRefused, match="none of this person's groups has a site here"):
        choose(["leads"], ROLES, sites)
    assert choose(["admins"], ROLES, sites) == Rights(Role.ADMINISTRATOR, ())
