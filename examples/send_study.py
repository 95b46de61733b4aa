"""Send the DICOM files of a folder to a listener by C-STORE (DICOM PS3.4, annex B).

    python examples/send_study.py FOLDER [--host 127.0.0.1] [--port 11112] [--ae NIGHTDRAFT]

Prints one line for each file and the Study Instance UIDs that were sent. The exit status is 1 where
a file was not stored: only the status 0x0000 means that the listener has the image on its disk.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, Association

STORED = 0x0000


def read_folder(folder: Path) -> dict[Path, FileDataset]:
    """Return every DICOM file under the folder; other files are named and passed over."""
    datasets = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            datasets[path] = dcmread(path)
        except InvalidDicomError:
            print(f"{path.name}: not a DICOM file, passed over")
    return datasets


def associate(datasets: list[FileDataset], host: str, port: int, ae_title: str) -> Association:
    """Open an association that proposes each file's SOP class in the file's transfer syntax."""
    entity = AE(ae_title="EXAMPLE")
    pairs = {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}
    for sop_class, transfer_syntax in sorted(pairs):
        entity.add_requested_context(sop_class, transfer_syntax)
    return entity.associate(host, port, ae_title=ae_title)


def main() -> int:
    """Send the folder and return the exit status."""
    parser = argparse.ArgumentParser(description="Send a folder of DICOM files by C-STORE.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11112)
    parser.add_argument("--ae", default="NIGHTDRAFT", help="called AE title")
    options = parser.parse_args()

    datasets = read_folder(options.folder)
    if not datasets:
        print(f"{options.folder}: there is no DICOM file in this folder")
        return 1
    association = associate(list(datasets.values()), options.host, options.port, options.ae)
    if not association.is_established:
        print(f"no association with {options.ae} at {options.host} port {options.port}")
        return 1
    not_stored = 0
    for path, dataset in datasets.items():
        try:
            status = association.send_c_store(dataset).get("Status")
        except (ValueError, RuntimeError) as error:  # not negotiated, or the association ended
            print(f"{path.name}: not sent: {error}")
            not_stored += 1
            continue
        if status == STORED:
            print(f"{path.name}: stored")
        else:
            print(
                f"{path.name}: not stored, {'no answer' if status is None else f'0x{status:04X}'}"
            )
            not_stored += 1
    association.release()
    for study in sorted({dataset.StudyInstanceUID for dataset in datasets.values()}):
        print(f"study {study}")
    return 1 if not_stored else 0


if __name__ == "__main__":
    sys.exit(main())
