"""The conformance profile says what the listener does."""

from tests.support.paths import ROOT
from tools.hl7_profile import profile

PAGE = ROOT / "docs/operate/integration/hl7-profile.md"


def test_the_conformance_profile_is_current():
    assert PAGE.read_text() == profile()
