"""The words by which a sentence compares with an earlier image, as rules that take them out.

`training.finetuning.targets` applies the rules in their order to one part of a sentence at a time.
They delete words; where a verb is needed they put "is" for "remains" or "there is" for "there has
been interval development of", and add no other word. "XXXX" is what IU X-ray has in place of words
that could have been names.
"""

from __future__ import annotations

import re

from training.metrics.comparisons import EXAMINATION

_DEGREE = (
    r"(?:(?:significant|substantial|appreciable|definite|apparent|marked|slight|mild|moderate|minimal"
    r"|small|gross|essential|large|relative|considerable|overall|great|partial|radiographic|otherwise"
    r"|much|very|further|somewhat|more|also|now|not|been|again|interval|unchanged|stable)"
    r"(?:ly)?,? )"
)
"""A word that goes with one that compares."""
_WHEN = (
    r"(?:(?:the )?(?:XXXX|\d{1,4}(?:[/.-]\d{1,2}){1,2}(?:[/.-]\d{2,4})?"
    r"|\d+ (?:days?|weeks?|months?|years?)(?: (?:ago|earlier|prior))?|(?:19|20)\d\d"
    r"|(?:january|february|march|april|may|june|july|august|september|october|november|december)"
    r" ?\d{0,2},?(?: (?:19|20)\d\d)?)(?: of XXXX)?)"
)
_DATE = rf"(?:,? (?:dated |performed |dating back to )?(?:(?:from|of|on|in|since) )?{_WHEN})?"
_PRIOR = (
    r"(?:(?:(?:the|a|an|most|multiple|several|patient's|her|his|outside|study|available) )*"
    r"(?:(?:prior|previous|preceding|earlier|last|recent|comparison|XXXX) )+"
    rf"(?:[\w-]+ ){{0,3}}?{EXAMINATION}(?:(?: of the)? (?:chest|thorax|abdomen|and pelvis))*"
    r"(?: (?:stud(?:y|ies)|exam\w*|scans?|radiograph\w*))?"
    rf"|(?:the )?comparison(?: {EXAMINATION})?"
    r"|(?:the |most recent )*(?:prior|previous)(?: one)?"
    r"(?= *(?:[.,;)]|$)| (?:and|with|without|from|which|there)\b)"
    rf"){_DATE}"
)
"""An earlier examination: "the most recent prior chest radiograph from XXXX"."""
_SEEN = (
    r"(?:noted|seen|demonstrated|identified|visuali[sz]ed|observed|described|evident|shown|present)"
)
AGAINST = (
    r"(?:\b(?:as |when |XXXX )*(?:compared|comparison|in comparison|relative"
    rf"|similar(?: in appearance)?) (?:to|with|from) (?:{_PRIOR}|{_WHEN})"
    rf"|\b(?:from|since|than) (?:{_PRIOR}|{_WHEN})|\b(?:in|on|to) {_PRIOR}"
    rf"|\bdating back (?:at least )?to (?:exams? in )?(?:{_PRIOR}|{_WHEN})"
    rf"|\bsince an? (?:\w+ )?{EXAMINATION}{_DATE}|\bin the interval\b|\bas before\b"
    rf"|\b(?:as )?(?:more readily |better |best )?{_SEEN} (?:on|in) {_PRIOR})"
)
"""What an examination is compared with: "compared to the prior study", "since XXXX"."""
_ASPECT = (
    r"(?: in (?:appearance|position|size|contour|configuration|extent|number|degree)"
    r"(?:(?:,| and) (?:size|contour|number|appearance))*)"
)
STATE = (
    rf"{_DEGREE}*(?:(?:stable|similar) to (?:slightly )?(?:improved|decreased|increased)|stable"
    r"|unchanged|similar|persistent"
    r"|(?:not )?changed|improved|worsened|improving|worsening|progressed|new|redemonstrated"
    r"|(?:increased|decreased|enlarged|larger|smaller|worse|better|prominent|distinct|different)"
    r"(?= (?:since|from|than|compared|in (?:size|number|comparison)|when|as compared"
    r"|XXXX compared)))"
    rf"(?:[ -]appearing)?{_ASPECT}?"
)
"""A word for how a finding is beside an earlier one: "grossly unchanged in appearance"."""
_ADVERBS = r"(?: (?:also|now|again|grossly|overall|otherwise|slightly|significantly))*"
_BE = (
    r"(?:also |both )?\b(?:is|are|was|were|appears?|appeared|has|have|remains?|remained|looks?)"
    rf"(?: to)?(?: be| been)?{_ADVERBS}"
)
_END = r"(?= *(?:[.,;)]|$))"
_THE = r"(?: the (?:appearance|position) of)?(?: (?:the|some)(?= ))?"
_COURSE = (
    r"(?:development|appearance|placement|insertion|performance|improvement|worsening|increase"
    r"|decrease|progression)"
)
_ADJECTIVE = (
    r"(?:(?:grossly|relatively|essentially|slightly|largely) )?"
    r"(?:(?<!in the )interval(?:ly)?|improved|improving|worsened|worsening|progressive(?! massive)"
    r"|stable|unchanged|persistent|redemonstrated|new(?:ly)?|again)(?:[ -]appearing)?"
)
_RULES: tuple[tuple[str, str], ...] = (
    # An earlier examination that is not there.
    (
        r",? (?:with|as|and|but|though|although) (?:there (?:is|are) )?no (?:\w+ ){0,3}"
        rf"(?:comparison|prior|previous)(?: {EXAMINATION})?(?: (?:is|are))?(?: available)?"
        rf"(?: for (?:direct )?comparison)?{_END}",
        "",
    ),
    # What the whole sentence compares with.
    (rf"^(?:however,? )?(?:once )?again,? {_SEEN} (?:and )?(is|are)(?= )", r"there \1"),
    (r"^(?:however,? )?redemonstrated (is|are)(?= )", r"there \1"),
    (
        r"^(?:however,? )?(?:XXXX )?(?:as |when )?(?:compared|in comparison|relative) (?:to|with)"
        rf" {_PRIOR},? ?",
        "",
    ),
    (rf"^(?:however,? )?since {_PRIOR},? ?", ""),
    (r"^in the interval,? (?:the interval,? )?", ""),
    (r"^(?:once )?again,? ", ""),
    # The course of a finding, which leaves the finding. "BE" becomes "is" or "are" at the end.
    (
        r"\bthere(?:'s| is| are| has| have)(?: also)?(?: been)? (?:an? )?(?:the )?"
        rf"{_DEGREE}*(?:interval )?(?:(?:{_COURSE}|redemonstration)"
        r"(?: of| in| and)|change in|(?:redemonstration )?without (?:\w+ )*?change (?:in|of)"
        rf"|no (?:\w+ )*?change (?:in|of)){_THE}",
        "there BE",
    ),
    (
        rf"\b(?:(?:no|without|any) )?{_DEGREE}*(?:interval (?:{_COURSE}|changes?)"
        r"|re-?demonstration|improvement|worsening|progression)"
        rf"(?: (?:of|in)| and(?= stable)){_THE}",
        "",
    ),
    (rf"(?:^|(?<=, )|(?<=is ))no {_DEGREE}*changes? (?:in|of){_THE}(?: an?(?= ))?", ""),
    (r"^no change (?=\w)", ""),
    (
        rf",? (?:with(?:out)?|and) (?:no |any )?{_DEGREE}*(?:changes?|improvement|worsening"
        rf"|progression)(?: {AGAINST})?{_END}",
        "",
    ),
    (r"\bhas developed\b", "is present"),
    (r"\bhave developed\b", "are present"),
    (r"\bdeveloping or resolving\b|\bresolving\b", ""),
    # A state beside another word: "is stable and within normal limits", "enlarged but unchanged".
    (r"\b(normal|enlarged|unremarkable|clear|low) and (?:stable|unchanged)(?= \w)", r"\1"),
    (r" (?:is|are) (?:stable|unchanged) as (?:is|are)(?= )", " and"),
    (
        rf" {_BE} {STATE}(?: {AGAINST})*,? (?:and|but)(?= (?:may|might|could|XXXX|appears?"
        r"|represents?|indicates?|suggests?|likely|probably|is|are|has|have)\b)",
        "",
    ),
    (
        rf"\b{STATE}(?: {AGAINST})*(?:,? (?:and|but)|,) (?=(?:within|at|upper|grossly|in normal"
        r"|normal\w*|un(?!changed)\w+|enlarged|intact|appears?|non\w+|mild|moderate|noted|seen|consistent"
        r"|compatible)\b)",
        "",
    ),
    (
        rf",? (?:and|but)(?: (?:is|are|appears?|remains?))? {STATE}(?: {AGAINST})*"
        rf"(?: position| appearance)?(?: {AGAINST})*"
        r"(?=(?: *(?:[.,;)]|$)| (?:with|given|without)\b))",
        "",
    ),
    # A clause or a predicate that says nothing else.
    (
        rf",? (?:which |that )?(?:(?:is|are|was|were) )?not {_SEEN} on {_PRIOR}",
        "",
    ),
    (
        r",? (?:which|that|but|and(?= (?:it|they|this|these)\b))(?: (?:it|they|this|these))?"
        rf"(?: \w+ly)? (?:{_BE}|also) ?(?:{STATE}(?: {AGAINST})*|{AGAINST})"
        r"(?= *(?:[.,;)]|$)| and\b)",
        "",
    ),
    (
        rf" {_BE} (?:in )?{STATE}(?: position| appearance| configuration)?(?: {AGAINST})*"
        r"(?=(?: *(?:[.,;)]|$)| (?:with|in(?! (?:appearance|size|number|position|contour"
        r"|configuration|extent|degree|comparison|the interval))|at|over|given|consistent"
        r"|compatible|without)\b))",
        "",
    ),
    (rf" (?:also )?(?:(?:was|were|is|are) )?(?:also )?{_SEEN} (?:on|in) {_PRIOR}", ""),
    (
        rf",? (?:in )?\b(?:stable|unchanged|similar) (?:in )?(?:position|appearance|configuration)"
        rf"(?: {AGAINST})*{_END}",
        "",
    ),
    (rf",? {STATE}(?: {AGAINST})*(?:,? {STATE})?{_END}", ""),
    (rf",? (?:not )?(?:significantly|substantially|appreciably) (?:XXXX )?{AGAINST}", ""),
    (rf" ?\({STATE}(?: {AGAINST})*\)", ""),
    # Before a noun: "stable position of the catheter", "a persistent opacity".
    (
        r"\b(?:grossly )?(?:stable|unchanged|persistent|improved)"
        r" (?:appearance|positioning|position) of(?: the(?= ))?",
        "",
    ),
    (r"\b(in|with) (?:stable|unchanged) (?=position|alignment)", r"\1 "),
    (
        r" \b(?:has|have) (?:been )?(?:significantly |slightly |largely )?(?:increased|decreased"
        r"|improved|worsened|progressed|changed)(?: slightly| considerably| significantly)?"
        rf"{_ASPECT}?(?: XXXX)?(?: {AGAINST})*",
        "",
    ),
    (
        r",? \b(?:increased|decreased|larger|smaller|worse|improved)(?: in size)?(?: XXXX)?"
        rf" {AGAINST}",
        "",
    ),
    (rf"\b{_ADJECTIVE},? (?=[\w(])", ""),
    (rf",? ?{AGAINST}", ""),
    (r"\bre-?demonstrated\b", "demonstrated"),
    (r"\bpersists\b", "is present"),
    (r"\bpersist\b", "are present"),
    (r"\bremains\b", "is"),
    (r"\bremained\b", "was"),
    (r"\bremain\b", "are"),
    (rf"\b(?:the )?previously(?:<br>)? ?{_SEEN}(?=,? \w)", ""),
    (rf",? {_SEEN} previously\b", ""),
    (r",? ?\b(?:again|intervally|in the interval|interval|as before|previously)\b", ""),
)  # fmt: skip
RULES = tuple((re.compile(pattern, re.IGNORECASE), new) for pattern, new in _RULES)
"""What is replaced, and what by."""

ONLY_COMPARES = re.compile(
    rf"(?:and |but )?(?:{_BE} )?(?:{STATE}(?: {AGAINST})*|{AGAINST})"
    rf"|(?:and )?(?:with |without )?(?:no |any )?{_DEGREE}*"
    rf"(?:changes?|improvement|worsening|progression)(?: {AGAINST})?"
    rf"|no (?:comparison|prior|previous)(?: {EXAMINATION})?(?: available)?"
    r"|comparison (?:is|was|to|with)\b.*",
    re.IGNORECASE,
)
"""A part of a sentence that is a comparison and nothing else."""

GONE = re.compile(
    r"\b(?:(?:interval |complete )*(?<!partial )(?:resolution|removal|clearing)(?: of|$)"
    r"|(?:has|have)(?: been| now| since| completely| all)* (?:resolved|cleared|removed|gone)"
    r"|(?<!suggesting )resolved|(?:no|without) new(?:ly)?|extubat\w+"
    rf"|not seen in (?:XXXX|this|today's|the current) {EXAMINATION})\b",
    re.IGNORECASE,
)
"""What an earlier image showed and this one does not: "the effusion has resolved"; and "no new
opacity", of which nobody can say without that image what it leaves."""

_SAYS_NOTHING = re.compile(
    r"(?:a|an|the|this|these|those|it|its|they|there|here|is|are|was|were|be|been|has|have|had|also"
    r"|and|or|of|in|on|at|for|to|from|with|as|by|that|which|both|left|right|bilateral|bilaterally"
    r"|however|otherwise|again|slight|small|grossly|overall|largely|remaining|visuali[sz]ed"
    r"|appearances?|positions?|configuration|sizes?|contours?|silhouettes?|borders?|outlines?"
    r"|structures?|changes?|findings?|features|exam\w*|stud(?:y|ies)|films?|radiographs?|images?|views?"
    r"|frontal|lateral|ap|pa|chest|thorax|thoracic|heart|cardiac|cardio|cardiomediastinal|mediastin\w+"
    r"|cardiopulmonary|cardiopericardial|hilar|hil(?:a|um)|lungs?|pulmonary|vascular|vascularity"
    r"|vasculature|volumes?|aeration|inflation|osseous|bony|bones?|skeletal|soft|tissues?|aorta|aortic"
    r"|diaphragms?|hemidiaphragms?|spine|superior|shows?|demonstrates?|demonstrated|noted|seen"
    r"|radiographically|technical|factors?|differences|considering|given|accounting|allowing|present"
    r"|time|significant|appears?|no|not|patient|bases?|upper|lower|central|comparison|prior|previous"
    r"|direct|available|slightly|more|increased|decreased|improved|interval|since|than|compared|but"
    r"|clearly|process|progression|disease|xxxx|\d+|cm|mm)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z0-9'/-]+")


def says_nothing(text: str) -> bool:
    """Return whether a text names no finding and no state: "the cardiomediastinal silhouette"."""
    return all(_SAYS_NOTHING.fullmatch(word) for word in _WORD.findall(text))
