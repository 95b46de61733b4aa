"""Finds names of persons by the words before them, because a name has no form of its own.

The words before it are a title ("Dr.", "Prof. Dr. med.") or say that a person follows ("discussed
with", "Resident:"). After a clear title any capitalised word is a name, so that Dr. May is found.
After the others, and after "MR." and "DR" (magnetic resonance, digital radiography), a department
or a word of reports is no name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def _word_set(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_PARTICLES = _word_set(
    "al bin da das de del della den der di dos du el ibn la le san st ste te ten ter van vom von zu"
)
_TITLES = _word_set(
    "dr drs doctor md phd prof professor mr mrs ms miss sir rev jr sr ii iii iv",
)
_UNKNOWN_NAMES = _word_set(
    "anon anonymized anonymous male female none patient unidentified unknown unnamed"
)
"""Words that stand for an unknown name."""

NO_NAME = (
    _word_set(
        "a about after also an and any are as at be been before but by can could did do for from",
        "had has have he her him his i if in into is it its may me more my no nor not of off on",
        "one or our out over she so than that the their them then there these they this to two",
        "under up us was we were who will with would you",
    )
    | _PARTICLES
    | _TITLES
    | _UNKNOWN_NAMES
)
"""Folded words that name nobody by themselves, even if somebody has that name."""

NAME_GAP = r"[\s,.'’^_-]{1,3}"
"""The characters that may stand between two parts of one name."""

_NEVER_NAME = (
    _word_set(
        "and are at been by for from had has have is of or that the there these this those was",
        "were when where which who with asked aware called calls chest clinic detector film films",
        "findings image images imaging immediately impression informed notified office panel phone",
        "portable radiograph radiographs room service system team telephone via view views",
    )
    | _TITLES
    | _UNKNOWN_NAMES
)
"""Words that belong to the sentence and never to a name."""

_NO_PERSON = _NEVER_NAME | (NO_NAME - _PARTICLES - _word_set("will may"))
"""Words that no name in capitals begins with after "signed by" and the like."""

_REPORT_WORDS = _word_set(
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
_ABBREVIATIONS = _word_set(
    "ap ccu copd ct ctu cxr ed ems ent er gi gyn icu micu mri nicu np ob pa pacs pacu pcp",
    "picu rn sicu svc xr",
)
"""Departments and views as well, but not with one capital letter: Ed is a person."""
_MEDICAL_ENDINGS = re.compile(
    r"\w{2}(?:megaly|osis|ectasis|graph[sy]?|[ts]ions?|ular|olog(?:y|ist)s?|oscopy|ectomy|plasty|pathy"
    r"|thora(?:x|ces)|ically)\Z"
)
"""Endings of medical words that `_REPORT_WORDS` lacks."""

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
_UNCLEAR_TITLES = frozenset(("DR", "dr", "MR.", "mr.", "MS.", "ms.", "DOCTOR", "DOCTORS", "PROF"))
"""Titles that may mean something else, or whose next word may belong to the sentence."""
_SPELT_OUT_TITLE = re.compile(r"doctors?|prof(?:essor)?\.?|miss|mister|nurse", re.IGNORECASE)

_PERSON = (
    r"attending(?:\s+physician)?|radiologist|physician|provider|resident|fellow|consultant|surgeon"
    r"|clinician"
)
_PERSON_FOLLOWS = re.compile(
    r"(?:\b(?:discussed\s+(?:with|w/)|d/w"
    r"|(?:communicated|conveyed|relayed|reported|called|given)\s+to|communicated\s+with"
    r"|(?:tele)?phoned|called|contacted|paged|notified|informed|sp(?:oke|oken)\s+(?:to|with)"
    r"|(?:(?:co-?)?signed|dictated|read|verified|interpreted|reviewed|transcribed|referred|requested"
    r"|reported|approved|attested|authenticated|entered|finali[sz]ed|ordered|performed|prepared"
    rf"|supervised|typed|preliminary|report)\s+by|{_PERSON})(?:\s*[:,]\s*|\s+(?:-\s+)?)"
    # These announce a person only with a colon or the like.
    r"|\b(?:(?:co-?)?signed|dictated|reported|technologist|technician|radiographer|nurse|author|reader"
    r"|dictator|dictating|transcriptionist|examiner|interpreter|operator|(?:patient(?:['’]s)?\s+)?name|patient)"
    r"\s*:\s*|/s/\s*|\bsigned,\s+)(?=[^\W\d_])",
    re.IGNORECASE,
)
_FIRST_PERSON = re.compile(r"\bI,\s+(?=[^\W\d_])")
_FIRST_PERSON_VERB = re.compile(
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


def find_names(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the text names a person, as text[start:end]; spans may overlap."""
    for title in _TITLE.finditer(text):
        first, single, start = title["first"], not title["more"], title.end()
        unclear = single and (
            first in _UNCLEAR_TITLES or (first == "DR." and not _in_capitals(text, start))
        )
        stop_words = _NEVER_NAME | NO_NAME if unclear else _NEVER_NAME
        # "The doctor asked for" names nobody, "dr smith" does.
        lower_case = not (single and _SPELT_OUT_TITLE.fullmatch(first))
        end = _name_end(text, start, stop_words, report_words=unclear, lower_case=lower_case)
        if end > start:
            yield start, end
    for cue in _PERSON_FOLLOWS.finditer(text):
        start = cue.end()
        clear = ":" in cue[0] or not _in_capitals(text, start)
        stop_words = _NEVER_NAME if clear else _NO_PERSON
        end = _name_end(text, start, stop_words, report_words=True, lower_case=False)
        if end > start:
            yield start, end
    for pronoun in _FIRST_PERSON.finditer(text):
        start = pronoun.end()
        end = _name_end(text, start, _NEVER_NAME, report_words=True, lower_case=False)
        if end > start and _FIRST_PERSON_VERB.match(text, end):
            yield start, end


def _name_end(
    text: str, start: int, stop_words: frozenset[str], *, report_words: bool, lower_case: bool
) -> int:
    """Return the end of the names that start here; `start` where no name does.

    Args:
        text: The text.
        start: Where the first name may start. Each name has at most three words.
        stop_words: Folded words that the first name cannot begin with.
        report_words: Whether words of reports are no names either.
        lower_case: Whether the first word may begin with a small letter ("dr smith"); then it is
            the only one.
    """
    end = position = start
    words_of_name = 0  # without particles and initials
    while words_of_name < 3 and (match := _WORD.match(text, position)):
        particle = _PARTICLE.match(text, position)
        after = _WORD.match(text, particle.end()) if particle else None
        if (
            after
            and _is_capital(after[0])
            and not _is_stop_word(after[0], stop_words, report_words=report_words)
        ):
            match = after
        word = match[0]
        capital, initial = _is_capital(word), len(word.rstrip(".")) == 1
        if initial and not _is_initial(text, match):
            break
        if not initial and _is_stop_word(word, stop_words, report_words=report_words):
            break
        if not capital and (
            not lower_case or end > start or _is_stop_word(word, NO_NAME, report_words=True)
        ):
            break
        end = match.end()
        words_of_name += not initial
        gap = _BETWEEN.match(text, end)
        if not capital or gap is None or (gap.end() == end and not word.endswith(".")):
            break
        if gap["next"]:
            words_of_name = 0
        elif words_of_name == 2 and word.isupper() and not initial:
            # In text in capitals, a third word is more often the sentence's than the name's.
            break
        position, report_words = gap.end(), True
        if "\n" in gap[0] and _HEADING.match(text, position):
            break
        # "John May", but not "Smith, May represent" nor "SMITH MAY REPRESENT".
        upper = word.isupper() and not initial
        ambiguous = "\n" in gap[0] or "," in gap[0] or upper
        stop_words = _NEVER_NAME | NO_NAME if ambiguous else _NEVER_NAME
    return end


def _in_capitals(text: str, start: int) -> bool:
    """Return whether the word that starts here is all capitals, and no initial."""
    word = _WORD.match(text, start)
    return word is not None and len(word[0].rstrip(".")) > 1 and word[0].isupper()


def _is_capital(word: str) -> bool:
    return word[0].isupper() or _INNER_CAPITAL.match(word) is not None


def _is_initial(text: str, match: re.Match[str]) -> bool:
    """Return whether a single letter is an initial: "A nodule" and "I agree" begin with a word."""
    letter = match[0]
    follows = re.compile(r"[ \t]+[^\W\d_a-z]").match(text, match.end())
    return letter[0].isupper() and (
        letter.endswith(".") or letter not in "AI" or follows is not None
    )


def _is_stop_word(word: str, stop_words: frozenset[str], *, report_words: bool) -> bool:
    """Return whether a word belongs to the sentence and not to a name."""
    folded = word.rstrip(".").casefold()
    if folded in stop_words or set(folded) == {"x"}:  # XXXX: the mark of another de-identification
        return True
    if not report_words:
        return False
    if folded in _ABBREVIATIONS:
        return not word[1:].islower() or word.islower()
    return folded in _REPORT_WORDS or _MEDICAL_ENDINGS.match(folded) is not None
