"""Which words name a person: by what stands before them, for a name has no form of its own.

Before it stands a title ("Dr.", "Prof. Dr. med.") or what says that a person follows ("discussed
with", "Resident:"). Behind a clear title any capitalised word is a name, so that Dr. May goes.
Behind the others, and behind "MR." and "DR" (magnetic resonance, digital radiography), a department
or a word that reports are written with is none.

Knows no patient, no ids and no dates: see `training.deid.identifiers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_PARTICLES = _words(
    "al bin da das de del della den der di dos du el ibn la le san st ste te ten ter van vom von zu"
)
_TITLES = _words(
    "dr drs doctor md phd prof professor mr mrs ms miss sir rev jr sr ii iii iv",
)
_NOBODY = _words("anon anonymized anonymous male female none patient unidentified unknown unnamed")
"""What stands where the name is not known."""

NO_NAME = (
    _words(
        "a about after also an and any are as at be been before but by can could did do for from",
        "had has have he her him his i if in into is it its may me more my no nor not of off on",
        "one or our out over she so than that the their them then there these they this to two",
        "under up us was we were who will with would you",
    )
    | _PARTICLES
    | _TITLES
    | _NOBODY
)
"""Words, folded, that name nobody by themselves, whoever is called so."""

APART = r"[\s,.'’^_-]{1,3}"
"""What may stand between two parts of one name."""

_NEVER = (
    _words(
        "and are at been by for from had has have is of or that the there these this those was",
        "were when where which who with asked aware called calls chest clinic detector film films",
        "findings image images imaging immediately impression informed notified office panel phone",
        "portable radiograph radiographs room service system team telephone via view views",
    )
    | _TITLES
    | _NOBODY
)
"""Words that are the sentence's, not the name's, wherever they stand."""

_NO_PERSON = _NEVER | (NO_NAME - _PARTICLES - _words("will may"))
"""Words that no name begins with behind "signed by" and its like, in capitals."""

_REPORTED = _words(
    # departments, and who is in them
    "acute administration admitting ambulatory anesthesia anesthesiology cardiac cardiology",
    "cardiothoracic care centre clinical clinician clinicians consultant coordinator covering",
    "critical department dept dermatology doctors emergency endocrine fellow",
    "gastroenterology general geriatrics gynecology hematology home hospital hospitalist",
    "inpatient intensive internal lab laboratory medical medicine neonatal nephrology",
    "neurology neurosurgery nurse nurses nursing obstetrics oncology ordering",
    "orthopaedics orthopedic orthopedics outpatient pathology pediatric",
    "pediatrics physician physicians primary provider providers psychiatry pulmonary",
    "pulmonology radiologist radiologists radiology referring resident residents rheumatology",
    "specialist staff surgeon surgeons surgery surgical tech technician technologist trauma",
    "triage ultrasound unit urgent urology vascular",
    # what reports speak of
    "abdomen abdominal abnormal abnormality additional adenopathy adjacent airspace airway",
    "airways all although aorta aortic apex apical apices appearance appropriate arteries",
    "artery artifact asthma atelectasis atherosclerotic atrial available axillary bases basilar",
    "because being bibasilar bilateral bilaterally blood blunting bones bony both bowel breast",
    "breath bronchial bronchitis bronchus calcified cancer carcinoma cardiomediastinal",
    "cardiomegaly cardiophrenic carina catheter cavitary central cerebral cervical change changes",
    "clavicle clear clinically clips compared comparing comparison computer contour contours",
    "coronary correlate correlation costophrenic cough date degenerative demonstrates dense",
    "diaphragm diffuse disc disease due each edema effusion effusions either elective elevated",
    "enlarged enlargement entire esophagus evaluate evidence exam examination examinations",
    "example fibrosis finding focal follow followup fracture fractures frontal further given",
    "granuloma granulomas granulomatous heart hernia hiatal hila hilar hilum history hyperexpanded",
    "hyperinflated hyperinflation hypoventilatory indication infection infectious infiltrate",
    "infiltrates intact interstitial interval intubated joint joints kerley kyphosis large lateral",
    "left lesion lesions less likely limited line linear lines liver lobar lobe lobes lower",
    "lucency lumbar lung lungs lymph mass masses mediastinal mediastinum metastases metastatic mid",
    "midline mild mildly minimal moderate multilevel multiple negative neither neuro new",
    "nodular nodule nodules non normal normally obvious only opacities opacity osseous osteopenia",
    "osteophytes other otherwise overall overlying pacemaker pain pains patchy patients perihilar",
    "picc plain plaques please pleura pleural pneumonia pneumothorax possible possibly post",
    "posterior postoperative postsurgical previous prior probable probably prominence prominent",
    "questionable recommend recommended redemonstrated residual result results rib ribs right",
    "rotator scar scarring scattered seen senescent several severe shortness shoulder sided signs",
    "similar since size skeletal skeleton soft some spinal spine spleen spondylosis stable states",
    "status sternal sternotomy sternum stomach structures studies study subcutaneous subsegmental",
    "such suggest suspect suspicious technique thoracic thorax tissue tissues today together",
    "tortuous trace trachea tracheal tracheostomy tube tuberculosis tubes unchanged unremarkable",
    "upper vasculature vasculatures vertebra vertebrae vertebral vessel vessels visible visualized",
    "volumes well what while within without",
    # what was done, and when
    "advised afternoon again agreed and answered approximately cad concerning confirmed dated",
    "days discussed during earlier electronically email evening fax following four later letter",
    "message midnight minutes morning night noon now pending promptly regarding reported requested",
    "review reviewed shortly signed software soon stated three transcribed two verbally voice",
    "voicemail yesterday",
)
_SHORT = _words(
    "ap ccu copd ct ctu cxr ed ems ent er gi gyn icu micu mri nicu np ob pa pacs pacu pcp",
    "picu rn sicu svc xr",
)
"""Departments and views too, but not with one capital: Ed is a person."""
_ENDINGS = re.compile(
    r"\w{2}(?:megaly|osis|ectasis|graph[sy]?|[ts]ions?|ular|olog(?:y|ist)s?|oscopy|ectomy|plasty|pathy"
    r"|thora(?:x|ces)|ically)\Z"
)
"""Of words that reports are written with, though `_REPORTED` lacks them."""

_GAP = r"[ \t]*\n?[ \t]*"
_ONE_TITLE = (
    r"(?:(?:Drs?|DRS?|drs?|Mrs|MRS|mrs|Mr|Ms|[Dd]octors?|DOCTORS?|Prof|[Pp]rofessor|PROF|PROFESSOR"
    r"|Miss|Mister|[Nn]urse)\b\.?|(?:MR|MS|mr|ms)\.)"
)
_TITLE = re.compile(
    rf"\b(?P<first>{_ONE_TITLE}){_GAP}"
    rf"(?P<more>(?:(?:{_ONE_TITLE}|(?:med|dent|univ|habil|rer|nat|phil|h\. ?c)\.){_GAP})*)"
    r"(?=[^\W\d_])"
)
_UNCLEAR = frozenset(("DR", "dr", "MR.", "mr.", "MS.", "ms.", "DOCTOR", "DOCTORS", "PROF"))
"""Titles that may be something else, or whose next word may be the sentence's."""
_FULL = re.compile(r"doctors?|prof(?:essor)?\.?|miss|mister|nurse", re.IGNORECASE)

_PERSON = (
    r"attending(?:\s+physician)?|radiologist|physician|provider|resident|fellow|consultant|surgeon"
    r"|clinician"
)
_TOLD = re.compile(
    r"(?:\b(?:discussed\s+(?:with|w/)|d/w"
    r"|(?:communicated|conveyed|relayed|reported|called|given)\s+to|communicated\s+with"
    r"|(?:tele)?phoned|called|contacted|paged|notified|informed|sp(?:oke|oken)\s+(?:to|with)"
    r"|(?:(?:co-?)?signed|dictated|read|verified|interpreted|reviewed|transcribed|referred|requested"
    r"|reported|approved|attested|authenticated|entered|finali[sz]ed|ordered|performed|prepared"
    rf"|supervised|typed|preliminary|report)\s+by|{_PERSON})(?:\s*[:,]\s*|\s+(?:-\s+)?)"
    # These say so only with a colon, or its like.
    r"|\b(?:(?:co-?)?signed|dictated|reported|technologist|technician|radiographer|nurse|author|reader"
    r"|dictator|dictating|transcriptionist|examiner|interpreter|operator|(?:patient(?:['’]s)?\s+)?name|patient)"
    r"\s*:\s*|/s/\s*|\bsigned,\s+)(?=[^\W\d_])",
    re.IGNORECASE,
)
_MYSELF = re.compile(r"\bI,\s+(?=[^\W\d_])")
_DOES = re.compile(
    r"\s*,\s*(?:(?:M\.?D\.?|D\.?O\.?|Ph\.?D\.?)\s*,\s*)?"
    r"(?:have|was|am|attest|personally|certify|agree|confirm|as|being|the\s+attending)\b",
    re.IGNORECASE,
)

_WORD = re.compile(r"[^\W\d_](?:[\w'’-]*\w)?(?:(?<=\b[A-Z])\.)?")
_INNER_CAPITAL = re.compile(r"[a-z]{1,2}['’-][A-Z]")  # d'Angelo, al-Rashid
_PARTICLE = re.compile(
    rf"(?:(?:{'|'.join(sorted(_PARTICLES))})\b\.?[ \t]+){{1,3}}(?=[^\W\d_])", re.IGNORECASE
)
_HEADING = re.compile(r"[^\W\d_][\w ]*:")
_BETWEEN = re.compile(rf"{_GAP}(?P<next>(?:,[ \t]*)?(?:and|AND|&)[ \t]+|,[ \t]+|/[ \t]*)?")


def named(text: str) -> Iterator[tuple[int, int]]:
    """Where a name is said: text[start:end]; may overlap."""
    for title in _TITLE.finditer(text):
        first, alone, start = title["first"], not title["more"], title.end()
        unclear = alone and (
            first in _UNCLEAR or (first == "DR." and not _in_capitals(text, start))
        )
        stop = _NEVER | NO_NAME if unclear else _NEVER
        # "The doctor asked for" names nobody, "dr smith" does.
        small = not (alone and _FULL.fullmatch(first))
        end = _name_end(text, start, stop, reported=unclear, small=small)
        if end > start:
            yield start, end
    for told in _TOLD.finditer(text):
        stop = _NEVER if ":" in told[0] or not _in_capitals(text, told.end()) else _NO_PERSON
        end = _name_end(text, told.end(), stop, reported=True, small=False)
        if end > told.end():
            yield told.end(), end
    for myself in _MYSELF.finditer(text):
        end = _name_end(text, myself.end(), _NEVER, reported=True, small=False)
        if end > myself.end() and _DOES.match(text, end):
            yield myself.end(), end


def _name_end(text: str, start: int, stop: frozenset[str], *, reported: bool, small: bool) -> int:
    """The end of the names that start here, `start` where none does; three words at most for each.

    The first word may be none of `stop` (folded) and, if `reported`, none of reports. If `small`,
    it may begin with a small letter ("dr smith"); then it is the only one.
    """
    end = at = start
    taken = 0  # words of this person's name, without particles and initials
    while taken < 3 and (word := _WORD.match(text, at)):
        lead = _PARTICLE.match(text, at)
        after = _WORD.match(text, lead.end()) if lead else None
        if after and _is_capital(after[0]) and not _stops(after[0], stop, reported=reported):
            word = after
        said = word[0]
        capital, initial = _is_capital(said), len(said.rstrip(".")) == 1
        if initial and not _is_initial(text, word):
            break
        if not initial and _stops(said, stop, reported=reported):
            break
        if not capital and (not small or end > start or _stops(said, NO_NAME, reported=True)):
            break
        end = word.end()
        taken += not initial
        # Of words in capitals throughout, the third is the sentence's more often than the name's.
        gap = _BETWEEN.match(text, end)
        if not capital or gap is None or (gap.end() == end and not said.endswith(".")):
            break
        if gap["next"]:
            taken = 0
        elif taken == 2 and said.isupper() and not initial:
            break
        at, reported = gap.end(), True
        if "\n" in gap[0] and _HEADING.match(text, at):
            break
        # "John May", but not "Smith, May represent" nor "SMITH MAY REPRESENT".
        upright = said.isupper() and not initial
        stop = _NEVER | NO_NAME if "\n" in gap[0] or "," in gap[0] or upright else _NEVER
    return end


def _in_capitals(text: str, start: int) -> bool:
    """Whether the word that starts here is in capitals throughout, and no initial."""
    word = _WORD.match(text, start)
    return word is not None and len(word[0].rstrip(".")) > 1 and word[0].isupper()


def _is_capital(said: str) -> bool:
    return said[0].isupper() or _INNER_CAPITAL.match(said) is not None


def _is_initial(text: str, word: re.Match[str]) -> bool:
    """Whether a single letter is one: "A nodule" and "I agree" begin with a word."""
    said = word[0]
    follows = re.compile(r"[ \t]+[^\W\d_a-z]").match(text, word.end())
    return said[0].isupper() and (said.endswith(".") or said not in "AI" or follows is not None)


def _stops(said: str, stop: frozenset[str], *, reported: bool) -> bool:
    """Whether a word is the sentence's."""
    folded = said.rstrip(".").casefold()
    if folded in stop or set(folded) == {"x"}:  # XXXX: another's mark
        return True
    if not reported:
        return False
    if folded in _SHORT:
        return not said[1:].islower() or said.islower()
    return folded in _REPORTED or _ENDINGS.match(folded) is not None
