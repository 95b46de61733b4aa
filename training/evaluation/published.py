"""Tables 1 to 3 of the ClinicalBLIP paper, as data.

Ji J et al., "Vision-Language Model for Generating Textual Descriptions From Clinical Images",
JMIR Form Res 2024;8:e32690. None stands where the paper prints N/A.
"""

from __future__ import annotations

from dataclasses import dataclass

BLEU_A = "bleu_a"
METEOR = "meteor"
"""METEOR as printed. The compared papers use METEOR 1.5; the paper's own score cannot be that."""
ROUGE_L = "rouge_l"
COLUMNS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", BLEU_A, METEOR, ROUGE_L)
ABLATION_COLUMNS = (BLEU_A, METEOR, ROUGE_L)

HEADINGS = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    BLEU_A: "BLEU-A",
    METEOR: "METEOR",
    ROUGE_L: "ROUGE-L",
}


@dataclass(frozen=True)
class Row:
    """One method of a table, with a value for each column; None is the paper's N/A."""

    method: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Table:
    """One table of the paper; `corpus` is the name of its corpus on the command line."""

    number: int
    title: str
    corpus: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def _row(method: str, *values: float | None) -> Row:
    return Row(method, values)


_NA = None

TABLE_1 = Table(
    1,
    "Generated reports by various methods on the IU X-RAY data set",
    "iu_xray",
    COLUMNS,
    (
        _row("R2GEN", 0.470, 0.304, 0.219, 0.165, 0.229, _NA, 0.371),
        _row("CA", 0.492, 0.314, 0.222, 0.169, 0.235, 0.193, 0.381),
        _row("CMCL", 0.473, 0.305, 0.217, 0.162, 0.228, 0.186, 0.378),
        _row("PPKED", 0.483, 0.315, 0.224, 0.168, 0.236, _NA, 0.376),
        _row("M2TR", 0.475, 0.309, 0.222, 0.170, 0.234, 0.191, 0.375),
        _row("R2GENCMN", 0.486, 0.317, 0.232, 0.173, 0.241, 0.192, 0.390),
        _row("ALIGNTRANSFORMER", 0.484, 0.313, 0.225, 0.173, 0.237, _NA, 0.379),
        _row("KNOWMAT", 0.496, 0.327, 0.238, 0.178, 0.248, _NA, 0.381),
        _row("CMM-RL", 0.494, 0.321, 0.235, 0.181, 0.246, 0.201, 0.384),
        _row("CMCA", 0.496, 0.349, 0.268, 0.215, 0.277, 0.209, 0.392),
        _row("ORGAN", 0.510, 0.346, 0.255, 0.195, 0.265, 0.205, 0.399),
        _row("ClinicalBLIP", 0.433, 0.343, 0.290, 0.254, 0.296, 0.570, 0.534),
    ),
)

TABLE_2 = Table(
    2,
    "Generated reports by various methods on the MIMIC-CXR data set",
    "mimic_cxr",
    COLUMNS,
    (
        _row("R2GEN", 0.353, 0.218, 0.145, 0.103, 0.155, 0.142, 0.270),
        _row("CA", 0.350, 0.219, 0.152, 0.109, 0.160, 0.151, 0.283),
        _row("CMCL", 0.344, 0.217, 0.140, 0.097, 0.151, 0.133, 0.281),
        _row("PPKED", 0.360, 0.224, 0.149, 0.106, 0.160, 0.149, 0.284),
        _row("M2TR", 0.353, 0.218, 0.148, 0.106, 0.157, 0.142, 0.278),
        _row("R2GENCMN", 0.378, 0.232, 0.154, 0.107, 0.164, 0.145, 0.272),
        _row("ALIGNTRANSFORMER", 0.378, 0.235, 0.156, 0.112, 0.168, _NA, 0.283),
        _row("KNOWMAT", 0.363, 0.228, 0.156, 0.115, 0.166, _NA, 0.284),
        _row("CMM-RL", 0.381, 0.232, 0.155, 0.109, 0.165, 0.151, 0.287),
        _row("CMCA", 0.360, 0.227, 0.156, 0.117, 0.167, 0.148, 0.287),
        _row("ORGAN", 0.407, 0.256, 0.172, 0.123, 0.184, 0.162, 0.293),
        _row("ClinicalBLIP", 0.332, 0.219, 0.153, 0.115, 0.162, 0.365, 0.313),
    ),
)

TABLE_3 = Table(
    3,
    "Ablation study on the IU X-RAY test set",
    "iu_xray",
    ABLATION_COLUMNS,
    (
        _row("ClinicalBLIP with all fine-tuning", 0.296, 0.570, 0.534),
        _row("ClinicalBLIP without effective tuning", 0.011, 0.096, 0.057),
        _row("ClinicalBLIP without prior information", 0.091, 0.339, 0.283),
        _row("ClinicalBLIP without LLM tuning", 0.149, 0.458, 0.412),
        _row("ClinicalBLIP without visual encoder tuning", 0.245, 0.513, 0.474),
    ),
)

TABLES = (TABLE_1, TABLE_2, TABLE_3)
