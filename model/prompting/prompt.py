"""Priors -> the instruction that the network is given. Knows no tokens and no network.

A prior has a source. `context` takes what a hospital has before the film is read, and is what is
served; `none` takes nothing; `predicted` takes what a bundle's own classifier saw in the film. The
paper's two templates take labels of the very report that is to be written (model.prompting.oracle): they are
for comparing with the paper, and nothing that serves can fill them.

Text from an order is data: whatever it contains, the instruction keeps the template's lines, in
the template's order, each label once (docs/train/prompts.md).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from model.case import MAX_VIEWS, Case
from model.errors import TemplateError
from model.manifest import Manifest

QUESTION = "Write the report of this chest radiograph."

Fits = Callable[[str], bool]
"""Whether a network can take an instruction whole."""


class Source(StrEnum):
    """Where a template's priors are from."""

    ORDER = "order"  # what is known before the film is read
    CLASSIFIER = "classifier"  # what the bundle's own classifier saw in the film
    REPORT = "report"  # the very report that is to be written: evaluation only


@dataclass(frozen=True)
class Line:
    """One line of a template.

    label: as written before the colon. prior: what stands after it. most: characters kept. firm:
    our own words, never shortened for want of room.
    """

    label: str
    prior: str
    most: int
    firm: bool = False


@dataclass(frozen=True)
class Template:
    """A template as data: its lines from top to bottom, then a fixed last sentence.

    whole: a line with nothing to say stays, with nothing after its label. Otherwise it is left
    out, "Not provided" too: a network that has learnt to read "Not provided" has learnt nothing.
    """

    lines: tuple[Line, ...]
    source: Source = Source.ORDER
    question: str = QUESTION
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Symptoms:
    """Findings that are there and findings that are not, by the names that a classifier gives."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


_SYMPTOMS = (
    Line("Symptoms of existence", "present", 300),
    Line("Symptoms of non-existence", "absent", 300),
)
_CONTEXT = (
    Line("Image", "image", 120, firm=True),
    Line("Indication", "indication", 300),
    Line("Procedure", "procedure", 120),
    Line("Prior report", "prior_report", 600),
)

TEMPLATES: dict[str, Template] = {
    # The paper's template for IU X-ray, less its "Problems" line, which was coded from the very
    # report to be written; then what else a hospital has before the film is read.
    "context": Template(_CONTEXT),
    # The fixed instruction alone: stage 1 of the paper, and the floor to compare with.
    "none": Template(()),
    # The paper's symptoms by a classifier that looks at the film, not at the report.
    "predicted": Template((*_SYMPTOMS, *_CONTEXT), Source.CLASSIFIER),
    # The paper's two, to the letter ("Medical Prior Knowledge"): they end in a line break, and
    # nothing is asked after it.
    "oracle_iu": Template(
        lines=(
            Line("Problems", "problems", 300),
            Line("Image", "image", 120),
            Line("Indication", "indication", 300),
        ),
        source=Source.REPORT,
        question="",
        whole=True,
    ),
    "oracle_mimic": Template(_SYMPTOMS, Source.REPORT, question="", whole=True),
}


def template_of(
    manifest: Manifest,
    asked: str | None = None,
    *,
    evaluation: bool = False,
    classifiers: Collection[str] = (),
) -> str:
    """The name of the template to draft with: the one asked for, else the bundle's own.

    evaluation: what is written goes into a score, never to a reader. classifiers: those that the
    caller can run, by the name that a manifest gives.

    Raises:
        TemplateError: there is none of that name, the bundle was not trained with it, or nothing
            that is allowed here can fill it.
    """
    name = asked or manifest.template
    bundle = f"the bundle {manifest.name} {manifest.version}"
    trained = tuple(dict.fromkeys((manifest.template, *manifest.templates)))
    template = named(name)
    if name not in trained:
        raise TemplateError(
            f"{bundle} was not trained with the template {name!r}; ask for {_either(trained)}"
        )
    if template.source is Source.REPORT and not evaluation:
        raise TemplateError(
            f"the template {name!r} is filled from the report that is to be written, so it is for "
            f"evaluation only; take a bundle that was trained with {_either(_SERVED)}"
        )
    if template.source is Source.CLASSIFIER and manifest.classifier not in classifiers:
        who = f"names the classifier {manifest.classifier!r}, which is not to be had here"
        raise TemplateError(
            f"{bundle} {who if manifest.classifier else 'names no classifier'}, so nothing fills "
            f"the template {name!r}; take a bundle that was trained with {_either(_SERVED)}"
        )
    return name


def named(template: str) -> Template:
    """The template of that name.

    Raises:
        TemplateError: there is none.
    """
    if template not in TEMPLATES:
        raise TemplateError(f"there is no template {template!r}; there are {_either(TEMPLATES)}")
    return TEMPLATES[template]


def instruct(
    case: Case, template: str, fits: Fits | None = None, symptoms: Symptoms | None = None
) -> str:
    """The instruction for a case that is to be drafted for a reader.

    fits: as for `fill`. symptoms: what the bundle's classifier saw, for `predicted` alone.

    Raises:
        TemplateError: there is no template of that name, or it is filled from the report.
    """
    known = named(template)
    if known.source is Source.REPORT:
        raise TemplateError(
            f"the template {template!r} is for evaluation only (model.prompting.oracle)"
        )
    if (known.source is Source.CLASSIFIER) != (symptoms is not None):
        raise TemplateError(f"a classifier's symptoms and {template!r} do not go together")
    said = {
        "image": describe(view.position for view in case.views),
        "indication": case.priors.indication,
        "procedure": case.priors.procedure,
        "prior_report": case.priors.prior_report,
    }
    return fill(known, said | listed(symptoms or Symptoms()), fits)


def bare(template: str) -> str:
    """The longest that a served template is without any prior: what a network must take whole."""
    known = named(template)
    views = describe(["frontal", "lateral", *["unknown"] * (MAX_VIEWS - 2)])
    return fill(known, {line.prior: "" for line in known.lines} | {"image": views})


def tells(instruction: str, prior: str) -> bool:
    """Whether an instruction has something to say of a prior, by its name ("prior_report").

    The finished text is asked and not the prior: what says nothing, or had no room, is not there.
    Untrusted text can spell neither a label nor a line break (`clean`).
    """
    labels = {line.label for t in TEMPLATES.values() for line in t.lines if line.prior == prior}
    rows = (row.strip().partition(":") for row in instruction.split("\n"))
    return any(label in labels and text.strip() != "" for label, _, text in rows)


def listed(symptoms: Symptoms) -> dict[str, str]:
    """Symptoms as the paper lists them: "Cardiomegaly, Atelectasis"."""
    return {"present": ", ".join(symptoms.present), "absent": ", ".join(symptoms.absent)}


def describe(positions: Iterable[str]) -> str:
    """The paper's Image line: "Chest, 2 views, frontal and lateral"."""
    seen = list(positions)
    known = list(dict.fromkeys(p for p in seen if p != "unknown"))
    count = f"{len(seen)} view" + ("" if len(seen) == 1 else "s")
    return ", ".join(["Chest", count, *([" and ".join(known)] if known else [])])


def fill(template: Template, said: Mapping[str, str], fits: Fits | None = None) -> str:
    """The template with what is said in it: its lines and its question, a line break between.

    said: prior -> untrusted text. fits: says whether the network can take an instruction whole.
    Where it cannot, what is said is shortened from the last line upward until it can; the
    template's own words stay, whether they fit or not.
    """
    kept = {line.prior: clean(said[line.prior], line.most) for line in template.lines}
    for line in reversed(template.lines):
        if fits is None or fits(_joined(template, kept)):
            break
        if line.firm:
            continue
        text = kept[line.prior]
        low, high = 0, len(text)  # `high` does not fit; `low` does, or nothing of this line does
        while high - low > 1:
            middle = (low + high) // 2
            if fits(_joined(template, kept | {line.prior: _cut(text, middle)})):
                low = middle
            else:
                high = middle
        kept[line.prior] = _cut(text, low)
    return _joined(template, kept)


_LOOKALIKES = "∶꞉ː։׃܃܄፡᛬⁚"
"""Characters that are read as a colon and that NFKC leaves as they are."""
_SPELLING = str.maketrans(dict.fromkeys(_LOOKALIKES, ":") | {"[": "(", "]": ")"})
_SPACING = "<>▁"
_COLON = re.compile(r"(?<![0-9]):|:(?![0-9])")
_ASKING = re.compile(re.escape(QUESTION.rstrip(".")), re.IGNORECASE)
_SILENT = {"", "not provided", "none", "n/a", "na", "unknown", "-"}


def clean(text: str, most: int) -> str:
    """Untrusted text as one harmless line of at most `most` characters; "" if it says nothing.

    Line breaks, control and format characters become spaces. Angle and square brackets, which
    spell special tokens (</s>, [SEP]), and SentencePiece's mark of a space go. A colon stays
    between digits alone, so no label can be spelled, of any template or by any lookalike; our own
    question becomes a dash.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_SPELLING)
    plain = "".join(" " if unicodedata.category(c)[0] == "C" or c in _SPACING else c for c in plain)
    plain = " ".join(_COLON.sub(" ", plain).split())
    return _cut(_ASKING.sub("-", plain), most)


def _cut(plain: str, most: int) -> str:
    """At most so many characters of a clean line, cut at a word where there is one."""
    if len(plain) > most:
        plain = plain[:most].rsplit(" ", 1)[0] if " " in plain[:most] else plain[:most]
    plain = plain.strip()
    return "" if plain.lower().strip(" .") in _SILENT else plain


def _joined(template: Template, kept: Mapping[str, str]) -> str:
    rows = [
        f"{line.label}: {kept[line.prior]}"
        for line in template.lines
        if kept[line.prior] or template.whole
    ]
    return " \n ".join([*rows, template.question]).rstrip(" ")


_SERVED = [name for name, template in TEMPLATES.items() if template.source is Source.ORDER]


def _either(names: Iterable[str]) -> str:
    return " or ".join(map(repr, names))
