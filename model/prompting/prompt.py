"""Builds the instruction for the network from the priors of a case.

A prior has a source. `context` takes what a hospital knows before the image is read, and is what
serves readers; `none` takes nothing; `predicted` takes what a bundle's own classifier finds in the
image. The paper's two templates take labels of the very report that is to be written
(model.prompting.oracle): they are for comparison with the paper, and nothing that serves can fill
them.

Text from an order is data: whatever it contains, the instruction keeps the template's lines, in the
template's order, each label once (docs/train/prompts.md).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from model.case import MAX_VIEWS, Case
from model.errors import TemplateError
from model.manifest import FINDING_HEAD, Manifest
from model.prompting.sections import sentence_spans

QUESTION = "Write the report of this chest radiograph."

Fits = Callable[[str], bool]
"""Returns whether an instruction is short enough for a network."""


class PriorSource(StrEnum):
    """Where a template's priors come from."""

    ORDER = "order"  # what is known before the image is read
    CLASSIFIER = "classifier"  # what the bundle's own classifier finds in the image
    REPORT = "report"  # the very report that is to be written: for evaluation only


@dataclass(frozen=True)
class TemplateLine:
    """One line of a template.

    Attributes:
        label: The text before the colon.
        prior: The name of the prior after it.
        max_characters: Longer priors are cut there.
        is_fixed: Whether the text is our own, which is never shortened to make the instruction fit.
        in_sentences: Whether it is cut at the ends of sentences: half a sentence of a report may
            say the reverse of the whole one.
    """

    label: str
    prior: str
    max_characters: int
    is_fixed: bool = False
    in_sentences: bool = False


@dataclass(frozen=True)
class Template:
    """A template as data.

    Attributes:
        lines: Its lines from top to bottom.
        source: Where its priors come from.
        question: The fixed last sentence.
        keep_empty_lines: Whether a line without a prior stays, with nothing after its label.
            Otherwise it is left out, and so is "Not provided", from which a network learns nothing.
    """

    lines: tuple[TemplateLine, ...]
    source: PriorSource = PriorSource.ORDER
    question: str = QUESTION
    keep_empty_lines: bool = False


@dataclass(frozen=True, slots=True)
class Symptoms:
    """Findings that are present and findings that are absent, as a classifier names them."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


_SYMPTOMS = (
    TemplateLine("Symptoms of existence", "present", 300),
    TemplateLine("Symptoms of non-existence", "absent", 300),
)
_CONTEXT = (
    TemplateLine("Image", "image", 120, is_fixed=True),
    TemplateLine("Indication", "indication", 300),
    TemplateLine("Procedure", "procedure", 120),
    TemplateLine("Prior report", "prior_report", 600, in_sentences=True),
)

TEMPLATES: dict[str, Template] = {
    # The paper's template for IU X-ray without its "Problems" line, which was coded from the very
    # report to be written, and with what else a hospital knows before the image is read.
    "context": Template(_CONTEXT),
    # The fixed instruction alone: stage 1 of the paper, and a baseline for comparison.
    "none": Template(()),
    # The paper's symptoms, from a classifier that reads the image and not the report.
    "predicted": Template((*_SYMPTOMS, *_CONTEXT), PriorSource.CLASSIFIER),
    # The paper's two, to the letter ("Medical Prior Knowledge"): they end in a line break, with no
    # question after it.
    "oracle_iu": Template(
        lines=(
            TemplateLine("Problems", "problems", 300),
            TemplateLine("Image", "image", 120),
            TemplateLine("Indication", "indication", 300),
        ),
        source=PriorSource.REPORT,
        question="",
        keep_empty_lines=True,
    ),
    "oracle_mimic": Template(_SYMPTOMS, PriorSource.REPORT, question="", keep_empty_lines=True),
}


def choose_template(
    manifest: Manifest,
    name: str | None = None,
    *,
    evaluation: bool = False,
) -> str:
    """Return the name of the template to draft with.

    Args:
        manifest: The bundle's manifest.
        name: The name of a template; by default the bundle's own.
        evaluation: Whether drafts are only scored and never go to a reader.

    Raises:
        TemplateError: There is no template of that name, the bundle was not trained with it, or
            nothing that is allowed here can fill it.
    """
    name = name or manifest.template
    bundle = f"the bundle {manifest.name} {manifest.version}"
    trained = tuple(dict.fromkeys((manifest.template, *manifest.templates)))
    template = get_template(name)
    if name not in trained:
        raise TemplateError(
            f"{bundle} was not trained with the template {name!r}; ask for {_either(trained)}"
        )
    if template.source is PriorSource.REPORT and not evaluation:
        raise TemplateError(
            f"the template {name!r} is filled from the report that is to be written, so it is for "
            f"evaluation only; take a bundle that was trained with {_either(_SERVED)}"
        )
    has_head = manifest.classifier == FINDING_HEAD and bool(manifest.finding_head)
    if template.source is PriorSource.CLASSIFIER and not has_head:
        fault = f"names the classifier {manifest.classifier!r}, which is not available here"
        raise TemplateError(
            f"{bundle} {fault if manifest.classifier else 'names no classifier'}, so nothing fills "
            f"the template {name!r}; take a bundle that was trained with {_either(_SERVED)}"
        )
    return name


def get_template(name: str) -> Template:
    """Return the template of that name.

    Raises:
        TemplateError: There is none.
    """
    if name not in TEMPLATES:
        raise TemplateError(f"there is no template {name!r}; there are {_either(TEMPLATES)}")
    return TEMPLATES[name]


def takes_prior(template: str, prior: str) -> bool:
    """Return whether a template has a line for a prior, by its name ("prior_report").

    Raises:
        TemplateError: There is no template of that name.
    """
    return any(line.prior == prior for line in get_template(template).lines)


def build_instruction(
    case: Case, template: str, fits: Fits | None = None, symptoms: Symptoms | None = None
) -> str:
    """Return the instruction for a case that is drafted for a reader.

    Args:
        case: The case.
        template: The name of the template.
        fits: As in `fill_template`.
        symptoms: The symptoms that the bundle's classifier found; for `predicted` alone.

    Raises:
        TemplateError: There is no template of that name, it is filled from the report, or it needs
            symptoms and there are none, or the reverse.
    """
    chosen = get_template(template)
    if chosen.source is PriorSource.REPORT:
        raise TemplateError(
            f"the template {template!r} is for evaluation only (model.prompting.oracle)"
        )
    if (chosen.source is PriorSource.CLASSIFIER) != (symptoms is not None):
        raise TemplateError(f"a classifier's symptoms and {template!r} do not go together")
    priors = {
        "image": describe_views(view.position for view in case.views),
        "indication": case.priors.indication,
        "procedure": case.priors.procedure,
        "prior_report": case.priors.prior_report,
    }
    return fill_template(chosen, priors | format_symptoms(symptoms or Symptoms()), fits)


def instruction_without_priors(template: str) -> str:
    """Return a template's longest instruction without priors, which must fit every network."""
    chosen = get_template(template)
    views = describe_views(["frontal", "lateral", *["unknown"] * (MAX_VIEWS - 2)])
    return fill_template(chosen, {line.prior: "" for line in chosen.lines} | {"image": views})


def read_prior(instruction: str, prior: str) -> str:
    """Return a prior as an instruction contains it, by its name ("indication"); "" if it does not.

    This reads the finished text, because a prior that is empty or did not fit is left out of it,
    and a long one is cut. Untrusted text can spell neither a label nor a line break
    (`clean_prior`).
    """
    labels = {line.label for t in TEMPLATES.values() for line in t.lines if line.prior == prior}
    rows = (row.strip().partition(":") for row in instruction.split("\n"))
    return next((text.strip() for label, _, text in rows if label in labels), "")


def has_prior(instruction: str, prior: str) -> bool:
    """Return whether an instruction contains a prior, by its name ("prior_report")."""
    return read_prior(instruction, prior) != ""


def describe_given(prompt: str, prior: str, sent: str) -> str:
    """Return how what a model got of a prior differs from the text that was sent, in a sentence.

    Args:
        prompt: The instruction that the model got.
        prior: The name of the prior.
        sent: The text as it was sent.

    Returns:
        "" where nothing was sent, or the model got it as it was sent.
    """
    given = read_prior(prompt, prior)
    whole = clean_prior(sent, 10 * len(sent) + 1)
    if not sent.strip() or given == " ".join(sent.split()):
        return ""
    if not whole:
        return "It says nothing, so the model did not get it."
    if not given:
        return "The model did not get it: its prompt has no line or no room for it."
    if len(given) < len(whole):
        return f"The model got the first {len(given)} characters of it."
    return "The model got it with some characters replaced."


def format_symptoms(symptoms: Symptoms) -> dict[str, str]:
    """Return symptoms by prior as the paper lists them: "Cardiomegaly, Atelectasis"."""
    return {"present": ", ".join(symptoms.present), "absent": ", ".join(symptoms.absent)}


def describe_views(positions: Iterable[str]) -> str:
    """Return the text of the paper's Image line: "Chest, 2 views, frontal and lateral"."""
    positions = list(positions)
    known = list(dict.fromkeys(p for p in positions if p != "unknown"))
    count = f"{len(positions)} view" + ("" if len(positions) == 1 else "s")
    return ", ".join(["Chest", count, *([" and ".join(known)] if known else [])])


def fill_template(template: Template, priors: Mapping[str, str], fits: Fits | None = None) -> str:
    """Return the template's lines with the priors and its question, joined by line breaks.

    Args:
        template: The template.
        priors: Untrusted text by the name of the prior.
        fits: Returns whether an instruction is short enough. If it is not, priors are shortened
            from the last line upward until it is. The template's own text stays, even if it is too
            long.
    """
    texts = {
        line.prior: clean_prior(priors[line.prior], line.max_characters) for line in template.lines
    }
    for line in reversed(template.lines):
        if fits is None or fits(_join(template, texts)):
            break
        if line.is_fixed:
            continue
        text = texts[line.prior]
        cut = _cut_at_sentence if line.in_sentences else _cut
        low, high = 0, len(text)  # `high` does not fit; `low` does, or no part of this line does
        while high - low > 1:
            middle = (low + high) // 2
            if fits(_join(template, texts | {line.prior: cut(text, middle)})):
                low = middle
            else:
                high = middle
        texts[line.prior] = cut(text, low)
    return _join(template, texts)


_LOOKALIKES = "∶꞉ː։׃܃܄፡᛬⁚"
"""Characters that look like a colon and that NFKC does not change."""
_TRANSLATION = str.maketrans(dict.fromkeys(_LOOKALIKES, ":") | {"[": "(", "]": ")"})
_TO_SPACES = "<>▁"
_COLON = re.compile(r"(?<![0-9]):|:(?![0-9])")
_QUESTION = re.compile(re.escape(QUESTION.rstrip(".")), re.IGNORECASE)
_EMPTY = {"", "not provided", "none", "n/a", "na", "unknown", "-"}


def clean_prior(text: str, max_characters: int) -> str:
    """Return untrusted text as one harmless line of limited length; "" if it means nothing.

    Line breaks, control and format characters become spaces. Angle brackets and SentencePiece's
    mark of a space become spaces, square brackets become round ones, so that no special token
    (</s>, [SEP]) can be spelled. A colon stays only between digits, so that no label of any
    template can be spelled, not even with a similar character. Our own question becomes a dash.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_TRANSLATION)
    plain = "".join(
        " " if unicodedata.category(c)[0] == "C" or c in _TO_SPACES else c for c in plain
    )
    plain = " ".join(_COLON.sub(" ", plain).split())
    return _cut(_QUESTION.sub("-", plain), max_characters)


def _cut(plain: str, limit: int) -> str:
    """Return at most `limit` characters of a clean line, cut between words if possible."""
    if len(plain) > limit:
        plain = plain[:limit].rsplit(" ", 1)[0] if " " in plain[:limit] else plain[:limit]
    plain = plain.strip()
    return "" if plain.lower().strip(" .") in _EMPTY else plain


def _cut_at_sentence(plain: str, limit: int) -> str:
    """Return the sentences that end within `limit` characters of a clean line.

    Only a first sentence that is longer is cut between words.
    """
    ends = [span.end for span in sentence_spans(plain) if span.end <= limit]
    return _cut(plain[: ends[-1]] if ends else plain, limit)


def _join(template: Template, texts: Mapping[str, str]) -> str:
    rows = [
        f"{line.label}: {texts[line.prior]}"
        for line in template.lines
        if texts[line.prior] or template.keep_empty_lines
    ]
    return " \n ".join([*rows, template.question]).rstrip(" ")


_SERVED = [name for name, template in TEMPLATES.items() if template.source is PriorSource.ORDER]


def _either(names: Iterable[str]) -> str:
    return " or ".join(map(repr, names))
