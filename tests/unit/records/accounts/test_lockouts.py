"""Under which key the failures from an address are counted."""

import pytest

from records.accounts.lockouts import account_key, address_key


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("::ffff:192.0.2.7", "address:192.0.2.7"),
        ("2001:db8:1:2:3::1", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "address:2001:db8:1:2::/64"),
        ("", "address:"),
    ],
)
def test_a_network_of_ipv6_is_one_address(address, key):
    assert address_key(address) == key


def test_what_was_typed_as_a_login_name_is_not_kept():
    assert "hunter2" not in account_key("hunter2")
    assert account_key("hunter2") != account_key("hunter3")
