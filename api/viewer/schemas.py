"""What REST gives of films beside those of a study."""

from __future__ import annotations

import uuid

from pydantic import BaseModel

from records.reports.earlier_studies import EarlierStudy


class EarlierFilms(BaseModel):
    """An earlier study of the patient. films: our ids of its films, in the order of arrival."""

    study: uuid.UUID
    study_instance_uid: str
    study_date: str
    study_description: str
    films: list[uuid.UUID]

    @classmethod
    def from_study(cls, earlier: EarlierStudy) -> EarlierFilms:
        """The earlier study of `records`."""
        return cls(
            study=earlier.study.id,
            study_instance_uid=earlier.study.study_instance_uid,
            study_date=earlier.study.study_date,
            study_description=earlier.study.study_description,
            films=[film.id for film in earlier.films],
        )


class FilmsBeside(BaseModel):
    """What is shown beside a study's own films.

    image_display: where the site's own viewer shows the study; "" for none. earlier: newest first.
    """

    image_display: str
    earlier: list[EarlierFilms]
