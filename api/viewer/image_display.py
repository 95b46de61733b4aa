"""The address at which the site's own viewer shows a study: IHE Invoke Image Display.

The transaction is RAD-106 of the IHE Radiology Technical Framework (volume 2, 4.106): a GET with
`requestType=STUDY` and the study's UID or accession number, which the viewer answers by showing it.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


def display_address(base: str, study_instance_uid: str, accession_number: str = "") -> str:
    """Return the address that shows a study.

    Args:
        base: the viewer's address; it may have parameters of its own, which stay.
        study_instance_uid: (0020,000D).
        accession_number: (0008,0050), used where there is no UID.

    Returns:
        "" where no viewer is set or the study has neither.
    """
    if not base or not (study_instance_uid or accession_number):
        return ""
    parts = urlsplit(base)
    names = {"requestType": "STUDY"}
    if study_instance_uid:
        names["studyUID"] = study_instance_uid
    else:
        names["accessionNumber"] = accession_number
    own = [(name, one) for name, one in parse_qsl(parts.query, True) if name not in names]
    return urlunsplit(parts._replace(query=urlencode([*own, *names.items()])))
