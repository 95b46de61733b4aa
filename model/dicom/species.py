"""Whether the patient is a human or an animal, by every place in a header that may say so.

Sources that contradict each other give no answer, and the contradiction in words.
"""

from __future__ import annotations

from model.dicom.evidence import (
    IMAGE_KEYWORDS,
    ORDER_KEYWORDS,
    UNKNOWN,
    Classification,
    Evidence,
    Header,
    Rule,
    Strength,
    match_rules,
    read_texts,
)

HUMAN, ANIMAL = "human", "animal"

_WORDS = (*IMAGE_KEYWORDS, *ORDER_KEYWORDS)
_PLACES = ("InstitutionName", "InstitutionalDepartmentName", "ResponsibleOrganization")
_PARTS = ("BodyPartExamined", "AnatomicRegionSequence.CodeMeaning")
_HUMAN = (
    r"(HUMANS?|(HOMO|H\.?)( SAPIENS)?|MENSCH|HUMAIN|HUMANO|UMANO|PERSON|PERSONA|MENS|MÄNNISKA"
    r"|MENNESKE|CZŁOWIEK|ЧЕЛОВЕК|ヒト|人|人类|人類|사람)"
)
_PLACEHOLDER = (
    r"(UNKNOWN|UNK|UNSPECIFIED|NONE|NO|N ?/? ?A|NOT (APPLICABLE|SPECIFIED)|OTHER|ANONYM\w*|REMOVED"
    r"|DEFAULT|NULL|NIL|H|\d|PATIENT|[\W_X]*)"
)
_REAL_VALUE = rf"^(?!\W*{_PLACEHOLDER}\W*$)"

_HUMAN_CODES = r"(L-85003|L-85B00|337915000|30996001)"
_OF_A_HUMAN = (
    r"(?!( \w+){0,2} (VALVES?|PROSTHES[EI]S|BIOPROSTHES[EI]S|GRAFTS?|XENOGRAFTS?|PERICARDI\w*"
    r"|HEPARIN|TISSUE|TOOTH|TEETH|FOSSA|AVR|MVR|TAVR))"
)
"""Not before what humans have of animals (a bovine valve), or call by them (a canine tooth)."""

SPECIES_RULES = (
    Rule("species: human", HUMAN, Strength.INSTANCE,
        ("PatientSpeciesDescription", "PatientSpeciesCodeSequence.CodeMeaning"),
        rf"^\W*{_HUMAN}\b", "The species, where a human one is given."),
    Rule("species code: human", HUMAN, Strength.INSTANCE, ("PatientSpeciesCodeSequence.CodeValue",),
        rf"^{_HUMAN_CODES}$", "Homo sapiens in SNOMED, old codes and new (PS3.16 CID 7454)."),
    Rule("species: animal", ANIMAL, Strength.INSTANCE,
        ("PatientSpeciesDescription", "PatientSpeciesCodeSequence.CodeMeaning"),
        rf"{_REAL_VALUE}(?!\W*{_HUMAN}\b)", "Any other species (PS3.3 C.7.1.1)."),
    Rule("species code: animal", ANIMAL, Strength.INSTANCE,
        ("PatientSpeciesCodeSequence.CodeValue",),
        rf"{_REAL_VALUE}(?!{_HUMAN_CODES}$)",
        "Any other species. Beside a human's meaning it is a code of another scheme.",
        overridable=True),
    Rule("breed", ANIMAL, Strength.INSTANCE,
        ("PatientBreedDescription", "PatientBreedCodeSequence.CodeMeaning",
         "BreedRegistrationSequence.BreedRegistrationNumber"),
        rf"{_REAL_VALUE}(?!\W*{_HUMAN}\b)", "Only animals have a breed (PS3.3 C.7.1.1)."),
    Rule("responsible person's role", ANIMAL, Strength.INSTANCE, ("ResponsiblePersonRole",),
        r"^(OWNER|VETERINARIAN)$", "A human patient has a parent or guardian, and no owner."),
    Rule("view position: animal", ANIMAL, Strength.INSTANCE, ("ViewPosition",), r"^(VD|DV)$",
        "Ventrodorsal and dorsoventral are views of animals that lie."),
    Rule("film's words: view of an animal", ANIMAL, Strength.INSTANCE, IMAGE_KEYWORDS,
        r"\b(THORAX|CHEST|ABD\w*|PELVIS|HIPS?|SPINE|SKULL) (VD|DV)\b|^(VD|DV)\b"
        r"|\b(VD|DV) (THORAX|CHEST)\b|\b(VD|DV) (AND )?(LAT|LL|RL)\b", "The same in words."),
    Rule("words: animal", ANIMAL, Strength.INSTANCE, (*_WORDS, *_PARTS),
        rf"\b((CANINE|FELINE|EQUINE|BOVINE|OVINE|CAPRINE|PORCINE|MURINE|LAPINE){_OF_A_HUMAN}"
        r"|CANIS|FELIS|EQUUS|VETERIN[AÁ]R\w*|V[EÉ]T[EÉ]RINAIR\w*"
        r"|(SMALL|LARGE|EXOTIC) ANIMALS?|TIERARZT\w*|KLEINTIER\w*"
        r"|PFERDE\w*|PUPPY|KITTEN|FOAL)\b", "Words for animals that no human's film has."),
    Rule("institution: animals", ANIMAL, Strength.INSTANCE, _PLACES,
        r"\b(VETERIN[AÁ]R\w*|V[EÉ]T[EÉ]RINAIR\w*|DIEREN\w*"
        r"|ANIMAL (HOSPITAL|CLINIC|HEALTH|MEDICAL|CARE)\w*"
        r"|TIER(ARZT|ÄRZT|KLINIK|SPITAL|MEDIZIN)\w*|(KLEINTIER|PFERDE)\w*"
        r"|EQUINE (HOSPITAL|CLINIC))",
        "A hospital for animals. VETERANS are humans."),
    Rule("words: perhaps animal", ANIMAL, Strength.HINT, (*_WORDS, *_PARTS),
        r"\b(DOGS?|CATS?(?! SCAN)|HORSES?|PONY|COW|SHEEP|GOAT|PIG|RABBIT|BIRD|PARROT|AVIAN"
        r"|REPTILE|FERRET|TURTLE|TORTOISE|HAMSTER|RATS?|MOUSE|MONKEYS?(?! ?POX)|MACA(QUE|CA)\w*"
        r"|K[ -]?9|VET|HUND|KATZE|PFERD|HOND|CHIEN|CHEVAL|PERRO|GATO|GATTO|CABALLO|КОШКА|СОБАКА"
        r"|VENTRO[ -]?DORSAL|DORSO[ -]?VENTRAL)\b|犬|猫",
        "They may be of an accident with an animal, of a veteran, or a name of a human's view.",
        group="words"),
    Rule("neutered", ANIMAL, Strength.HINT, ("PatientSexNeutered",), r"^(ALTERED|UNALTERED)$",
        "Required of animals only, but some devices have it as a default.", group="neutered"),
    Rule("responsible person: investigator", ANIMAL, Strength.HINT, ("ResponsiblePersonRole",),
        r"^INVESTIGATOR$", "Of a laboratory animal, or of a study with human patients.",
        group="responsible"),
)  # fmt: skip
"""Rules on the patient's species. Their answers are "human" and "animal"."""

_RESPONSIBLE_PERSON = Rule(
    "responsible person without a role", ANIMAL, Strength.HINT, ("ResponsiblePerson",), "",
    "The owner of an animal, or the parent of a child.", group="responsible",
)  # fmt: skip


def classify_species(header: Header) -> Classification:
    """Say whether the patient is "human", "animal" or "unknown".

    A patient is a human where nothing says otherwise. A rule that decides, or hints of two groups,
    say "animal". One hint alone gives "unknown", and so do a human's and an animal's species beside
    each other.
    """
    evidence = tuple(match_rules(SPECIES_RULES, header))
    has_role = any(read_texts(header, "ResponsiblePersonRole"))
    if any(read_texts(header, "ResponsiblePerson")) and not has_role:
        # The name itself is not quoted.
        evidence += (Evidence(_RESPONSIBLE_PERSON, "ResponsiblePerson", "without a role"),)
    instance = [e for e in evidence if e.rule.strength is Strength.INSTANCE]
    if any(e.rule.answer == HUMAN for e in instance):
        instance = [e for e in instance if not e.rule.overridable]
    deciding = {e.rule.answer for e in instance}
    hint_groups = {e.rule.group for e in evidence if e.rule.strength is Strength.HINT}
    if deciding:
        answer = deciding.pop() if len(deciding) == 1 else UNKNOWN
    else:
        answer = (HUMAN, UNKNOWN, ANIMAL)[min(len(hint_groups), 2)]
    return Classification(answer, evidence)
