"""Draw a folder of images and reports to train on, in the layout that your own would have.

    python examples/train_on_a_folder/draw_folder.py FOLDER [--studies 40]

The layout is that of the collection IU X-ray as it is passed on in two tables:

    FOLDER/indiana_reports.csv       the columns of COLUMNS below, a row for each report
    FOLDER/indiana_projections.csv   uid, filename and projection (Frontal or Lateral)
    FOLDER/images/                   1_IM-0001-1001.dcm.png, named <uid>_IM-<number>-<number>

The images here are drawn phantoms, no patient's; put your own in their place.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from PIL import Image

from training.corpus.phantoms import phantom

COLUMNS = (
    "uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression",
)  # fmt: skip


def draw_folder(folder: Path, studies: int) -> None:
    """Write both tables and the images of so many drawn studies."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "indiana_reports.csv").open("w", newline="", encoding="utf-8") as reports,
        (folder / "indiana_projections.csv").open("w", newline="", encoding="utf-8") as projections,
    ):
        report_rows = csv.DictWriter(reports, COLUMNS, restval="")
        projection_rows = csv.DictWriter(projections, ("uid", "filename", "projection"))
        report_rows.writeheader()
        projection_rows.writeheader()
        for uid in range(1, studies + 1):
            study = phantom(uid)
            report_rows.writerow(
                {
                    "uid": uid,
                    "MeSH": "normal",
                    "Problems": "normal",
                    "indication": study.indication,
                    "findings": study.findings_text,
                    "impression": study.impression,
                }
            )
            for number, view in enumerate(study.case(224).views, start=1):
                name = f"{uid}_IM-{uid:04d}-{number}001.dcm.png"
                Image.fromarray(view.pixels).save(images / name)
                projection_rows.writerow(
                    {"uid": uid, "filename": name, "projection": view.position.capitalize()}
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
