"""Draw a folder of images and reports to train on, in the layout that your own would have.

    python examples/train_on_a_folder/draw_folder.py FOLDER [--studies 40]

    FOLDER/reports.csv   study, patient, date, images, views, indication, report: a row for each
    FOLDER/films/        1-frontal.png, ...

docs/train/corpora.md describes all columns. The images here are drawn phantoms, no patient's; put
your own in their place.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from PIL import Image

from training.corpus.phantoms import phantom

COLUMNS = ("study", "patient", "date", "images", "views", "indication", "report")


def draw_folder(folder: Path, studies: int) -> None:
    """Write the table and the images of so many drawn studies."""
    (folder / "films").mkdir(parents=True, exist_ok=True)
    with (folder / "reports.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for number in range(1, studies + 1):
            study = phantom(number)
            views = study.case(224).views
            films = [f"films/{number}-{view.position}.png" for view in views]
            for film, view in zip(films, views, strict=True):
                Image.fromarray(view.pixels).save(folder / film)
            table.writerow(
                {
                    "study": f"study-{number}",
                    "patient": f"patient-{(number + 1) // 2}",
                    "date": f"2026-{1 + number % 12:02d}-15",
                    "images": ";".join(films),
                    "views": ";".join(view.position for view in views),
                    "indication": study.indication,
                    "report": f"FINDINGS: {study.findings_text}\n\nIMPRESSION: {study.impression}",
                }
            )


def main() -> None:
    """Draw the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Draw a folder of images and reports.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--studies", type=int, default=40)
    options = parser.parse_args()
    draw_folder(options.folder, options.studies)
    print(f"{options.studies} studies are in {options.folder}")


if __name__ == "__main__":
    main()
