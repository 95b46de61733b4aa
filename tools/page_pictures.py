"""Pictures of every page, in the sizes that people use, light and dark.

They are small: what has no film gets a palette. Those with a film keep each of its greys.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
DESK, LARGE, PHONE = (1280, 800), (2560, 1440), (390, 844)
_EXACT, _COLOURS = 96, 96
"""Colours of a palette: the most frequent ones as they are, and those that stand for all others."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One page of which pictures are taken.

    Attributes:
        name: the beginning of the files' names.
        title: what it is, as the page of all pictures says it.
        route: the route whose page it is, with its parameters; another address for a problem.
        query: what follows the path.
        has_film: whether a film is on it; each grey of it is kept then.
        sizes: width and height of its pictures, in pixels.
        place: an element that is brought to the top of the window; "" is the page's top.
    """

    name: str
    title: str
    route: str
    query: str = ""
    has_film: bool = False
    sizes: tuple[tuple[int, int], ...] = (DESK, LARGE)
    place: str = ""

    def files(self) -> Iterator[tuple[tuple[int, int], Scheme, str]]:
        """Each picture: size, colours, name of the file."""
        for size in self.sizes:
            for scheme in SCHEMES:
                yield size, scheme, f"{self.name}-{size[0]}-{scheme}.png"


@dataclass(frozen=True, slots=True)
class Look:
    """Where a page is, and who looks.

    Attributes:
        shot: the page.
        address: its address.
        state: the cookies of who looks; None is nobody.
        prepare: what is done on the page before.
    """

    shot: Shot
    address: str
    state: Any = None
    prepare: Callable[[Page], None] | None = None


SHOTS = (
    Shot("worklist", "The worklist, with every state of a study", "/", sizes=(DESK, LARGE, PHONE)),
    Shot(
        "worklist-filters",
        "The worklist with its filters, its order and its saved views",
        "/",
        "?priority=STAT",
    ),
    Shot("worklist-keys", "The map of keys, as it opens with ? on every page", "/"),
    Shot(
        "study",
        "A study: whose it is, its films, and its draft beside them",
        "/studies/{study}",
        has_film=True,
    ),
    Shot(
        "text",
        "A report's text in work",
        "/studies/{study}",
        has_film=True,
        sizes=(DESK, PHONE),
        place="#editor",
    ),
    Shot(
        "sign",
        "The question before a signature: the very text that becomes the report",
        "/studies/{study}/sign",
    ),
    Shot(
        "signed",
        "A signed report, and the way to the next study",
        "/studies/{study}",
        "#editor",
        has_film=True,
    ),
    Shot(
        "held",
        "A held study: the question, both sides, and the decisions",
        "/studies/{study}",
        has_film=True,
    ),
    Shot("holds", "All held studies, by reason", "/holds"),
    Shot("tonight", "What tonight will draft, and when it will be done", "/tonight"),
    Shot(
        "retry",
        "The question before failed studies are drafted again",
        "/tonight/retry",
        "?reason=UNREADABLE",
    ),
    Shot("nights", "The summaries of the nights", "/nights"),
    Shot("night", "One night: what was drafted when, and what was not and why", "/nights/{night}"),
    Shot(
        "campaigns",
        "Campaigns: backlogs that are drafted within a window of each night",
        "/campaigns",
    ),
    Shot(
        "campaign",
        "One campaign: how far it is, and what became of its studies",
        "/campaigns/{campaign_id}",
    ),
    Shot(
        "campaign-change",
        "The question before a campaign is paused",
        "/campaigns/{campaign_id}/change",
        "?action=pause",
    ),
    Shot("campaign-new", "A new campaign, and what it would do", "/campaigns/new"),
    Shot("orders", "Orders of the department's systems", "/orders"),
    Shot("order", "One order, and the study that it belongs to", "/orders/{order_id}"),
    Shot("reports", "Reports of other systems", "/reports"),
    Shot(
        "report",
        "One report of another system, its versions and what it does here",
        "/reports/{report_id}",
    ),
    Shot("messages", "Messages of other systems, and what became of each", "/messages"),
    Shot("message", "One message, segment by segment", "/messages/{message_id}"),
    Shot(
        "message-refused",
        "A message that was refused, with the reason and the place of it",
        "/messages/{message_id}",
    ),
    Shot("refusals", "What the listener refused, and why", "/refusals"),
    Shot("discrepancies", "Where drafts and final reports differ, ranked", "/discrepancies"),
    Shot(
        "discrepancy",
        "One finding that the draft names and the final report does not",
        "/discrepancies/{discrepancy_id}",
    ),
    Shot(
        "second-look",
        "Films that are looked at again, without being told who said what",
        "/second-look",
    ),
    Shot(
        "question",
        "The second look at one study: its films and one question",
        "/second-look/{discrepancy_id}",
        has_film=True,
    ),
    Shot("comparisons", "Two models on the same studies", "/comparisons"),
    Shot(
        "comparison",
        "The drafts of two models of one study, and where they differ",
        "/comparisons/{comparison_id}",
    ),
    Shot("models", "The models that drafted here, their stops, and the modes of sites", "/models"),
    Shot("quality", "What readers make of drafts, with intervals, and the drift", "/quality"),
    Shot("report-styles", "The headings, the order and the words of a house", "/report-styles"),
    Shot(
        "report-style",
        "The report style of one site: its sections, its wordings and its phrases",
        "/report-styles/sites/{code}",
    ),
    Shot(
        "recall",
        "Every draft of one model: who signed it, and where it went",
        "/models/{digest}/drafts",
    ),
    Shot("runbook", "The runbook: what each alarm means, and what to do", "/runbook"),
    Shot("account", "One's own account: password, second factor, sessions", "/account"),
    Shot(
        "second-factor",
        "Setting up the second factor of one's own account",
        "/account/second-factor",
    ),
    Shot("again", "The password is asked for again", "/again"),
    Shot("login", "Logging in", "/login"),
    Shot("link", "Choosing a password by the link that an administrator gave", "/link/{token}"),
    Shot("emergency", "Opening a patient of another site in an emergency", "/emergency"),
    Shot("trail", "The trail of who saw and did what, as an auditor sees it", "/trail"),
    Shot("api", "REST: every call, with examples", "/api/docs"),
    Shot("problem", "An address that is no page", "/no-such-page"),
)

_PART = "a part of a page that has pictures: the page asks for it again by itself"
_REDIRECT = "it has no page of its own: it leads to another one"
_PROVIDER = "it leads to an identity provider, which the demonstration does not have"
WITHOUT_PICTURES = {
    "/live": _PART,
    "/tonight/live": _PART,
    "/campaigns/live": _PART,
    "/campaigns/{campaign_id}/live": _PART,
    "/studies/{study}/changed": _PART,
    "/studies/{study}/checks": _PART,
    "/studies/{study}/differences": _PART,
    "/studies/{study}/house-wordings": _PART,
    "/studies/{study}/next": _REDIRECT,
    "/studies/{study}/previous": _REDIRECT,
    "/report-styles/own": "it is the page of a site's style, for a reader's own one",
    "/login/oidc": _PROVIDER,
    "/again/oidc": _PROVIDER,
    "/login/oidc/callback": _PROVIDER,
    "/login/oidc/logged-out": _PROVIDER,
}
"""Routes that answer HTML and of which no picture is taken, each with the reason."""


def take_all(
    browser: Browser,
    looks: Sequence[Look],
    folder: Path,
    go_to: Callable[[Page, str], None],
) -> None:
    """Take the pictures of pages, one window for each size and colours.

    Args:
        browser: what opens them.
        looks: the pages, with where they are.
        folder: where the files are written.
        go_to: opens an address, and waits until the page is there.
    """
    for size in (DESK, LARGE, PHONE):
        for scheme in SCHEMES:
            for state in {id(look.state): look.state for look in looks}.values():
                context = browser.new_context(
                    viewport={"width": size[0], "height": size[1]},
                    color_scheme=scheme,
                    storage_state=state,
                    reduced_motion="reduce",
                )
                # A page that is not of the site yet keeps nothing.
                context.add_init_script(
                    f"try {{ localStorage.setItem('nightdraft-theme', '{scheme}') }} catch {{}}"
                )
                page = context.new_page()
                for look in looks:
                    if look.state is state and size in look.shot.sizes:
                        name = f"{look.shot.name}-{size[0]}-{scheme}.png"
                        (folder / name).write_bytes(_take(page, look, go_to))
                context.close()


def _take(page: Page, look: Look, go_to: Callable[[Page, str], None]) -> bytes:
    go_to(page, look.address)
    if look.prepare is not None:
        look.prepare(page)
    if look.shot.place:
        page.locator(look.shot.place).evaluate("element => element.scrollIntoView()")
    return shrink(page.screenshot(), has_film=look.shot.has_film)


def shrink(png: bytes, *, has_film: bool) -> bytes:
    """Make a picture smaller.

    Args:
        png: as the browser took it.
        has_film: whether a film is on it. Then it gets no palette, or greys of the film were lost.
    """
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if not has_film:
        picture = _reduce(picture)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _reduce(picture: Image.Image) -> Image.Image:
    """The picture with a palette; the colours of areas, which are few, are exactly as they were."""
    pixels = np.asarray(picture).astype(np.int64)
    packed = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    colours, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    found = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    exact = found[np.argsort(-counts, kind="stable")[:_EXACT]]
    others = picture.quantize(_COLOURS, dither=Image.Dither.NONE).getpalette() or []
    palette = np.concatenate([exact, np.array(others[: 3 * _COLOURS]).reshape(-1, 3)])
    nearest = np.abs(found[:, None] - palette[None]).sum(axis=2).argmin(axis=1)
    reduced = Image.fromarray(nearest[places].reshape(packed.shape).astype(np.uint8), "P")
    reduced.putpalette(palette.astype(np.uint8).tobytes())
    return reduced


def index_page() -> str:
    """The page of the documentation that shows all pictures."""
    lines = [
        "# Pictures of every page",
        "",
        "`make pictures` takes them from a running demonstration: all patients on them are drawn",
        "phantoms. Each page is shown as it is on a window of 1280 and of 2560 pixels, light or",
        "dark as you have it; the worklist and the text are shown on a phone, too.",
    ]
    for shot in SHOTS:
        lines += ["", f"## {shot.name.replace('-', ' ').capitalize()}", "", f"{shot.title}."]
        for width, _ in shot.sizes:
            file = f"{shot.name}-{width}"
            lines += [
                "",
                "<picture>",
                f'  <source media="(prefers-color-scheme: dark)" srcset="{file}-dark.png">',
                f'  <img src="{file}-light.png" alt="{shot.title}, {width} pixels wide">',
                "</picture>",
            ]
    return "\n".join(lines) + "\n"
