"""What the settings must say about an identity provider."""

import pytest
from joserfc.jwk import ECKey, RSAKey

from api.oidc.config import read_config
from records.errors import SettingsError
from records.settings import read_settings
from records.states import Role

GOOD = {
    "oidc_issuer": "https://login.hospital.example/realms/hospital",
    "oidc_client_id": "nightdraft",
    "oidc_client_secret": "a secret",
    "oidc_roles": "radiologists=reader",
    "pages_url": "https://nightdraft.hospital.example/",
}


def read(**changes):
    given = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return read_config(read_settings(**given))


def test_without_an_issuer_there_is_no_provider():
    assert read(oidc_issuer=None) is None


def test_good_settings():
    config = read()
    assert config.name == "login.hospital.example"
    assert config.redirect_uri == "https://nightdraft.hospital.example/login/oidc/callback"
    assert read(oidc_name="Hospital").name == "Hospital"
    assert read(oidc_issuer="http://127.0.0.1:9000")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"oidc_client_id": None}, "OIDC_CLIENT_ID"),
        ({"oidc_client_secret": None}, "OIDC_CLIENT_SECRET_FILE"),
        ({"oidc_client_key_file": "/no/key"}, "and not both"),
        ({"oidc_client_secret": None, "oidc_client_key_file": "/no/key"}, "cannot be read"),
        ({"oidc_roles": None}, "OIDC_ROLES"),
        ({"oidc_roles": "staff=service"}, "SERVICE"),
        ({"oidc_roles": "staff=chief"}, "OIDC_ROLES"),
        ({"oidc_roles": "staff"}, "GROUP=ROLE"),
        ({"oidc_sites": "staff="}, "has no site"),
        ({"oidc_scopes": "profile"}, "OIDC_SCOPES"),
        ({"pages_url": "http://nightdraft.hospital.example"}, "PAGES_URL"),
        ({"oidc_issuer": "http://login.hospital.example"}, "https"),
        ({"oidc_issuer": "login.hospital.example"}, "https"),
        ({"oidc_issuer": "https://user@login.hospital.example"}, "https"),
        ({"oidc_issuer": "https://login.hospital.example/?realm=1"}, "https"),
        ({"oidc_issuer": "https://login.hospital.example/#x"}, "https"),
    ],
    ids=str,
)
def test_wrong_settings_are_named(changes, named):
    with pytest.raises(SettingsError, match=named) as error:
        read(**changes)
    assert "a secret" not in str(error.value)


def test_groups_with_a_comma_are_written_as_json():
    config = read_settings(
        **{**GOOD, "oidc_roles": '{"cn=leads,ou=groups": "lead", "cn=all,ou=groups": "trainee"}'}
    )
    # The order is that of the ranks.
    assert list(config.oidc_roles.items()) == [
        ("cn=leads,ou=groups", Role.LEAD),
        ("cn=all,ou=groups", Role.TRAINEE),
    ]


def test_a_key_in_place_of_the_secret(tmp_path):
    file = tmp_path / "key.pem"
    for key in (ECKey.generate_key("P-256"), RSAKey.generate_key(2048)):
        file.write_bytes(key.as_pem(private=True))
        assert read(oidc_client_secret=None, oidc_client_key_file=str(file)).key is not None
    for content in (
        ECKey.generate_key("P-384").as_pem(private=True),
        ECKey.generate_key("P-256").as_pem(private=False),
        b"no key",
        b"{}",
        b"",
    ):
        file.write_bytes(content)
        with pytest.raises(SettingsError, match="no private key"):
            read(oidc_client_secret=None, oidc_client_key_file=str(file))
