"""results/report.html: read, build the sections, render, write in one move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stratascope.report import page
from stratascope.report.data import ReportData
from stratascope.report.detail import DETAILS, Detail, run_details, run_references
from stratascope.report.figure import Content
from stratascope.report.inputs import read_inputs
from stratascope.report.palette import PALETTES
from stratascope.report.payload import packed_json
from stratascope.report.sections import SECTIONS, Section
from stratascope.store.commit import new_file

# What a report may weigh, in bytes, as long as leaving out detail can make it so. Plotly's script is
# 2 MB of it; mail servers that refuse 5 MB exist.
FILE_BUDGET = 4_900_000


def build_report(
    study: Mapping[str, Any],
    tables: Path,
    states: Sequence[Path],
    runs: Path,
    metrics: Path,
    out: Path,
    features: Sequence[Path] = (),
    readings: Sequence[Path] = (),
    looks: Sequence[Path] = (),
    neurons: Sequence[Path] = (),
    chosen: Sequence[str] = (),
) -> None:
    """Write the report of a study: one HTML file that needs nothing else.

    ``study`` has ``title`` and ``description``; ``tables`` is the folder of CSVs; ``states`` are the
    manifests (or the tensor files beside them) of each checkpoint's state vectors; ``runs`` is the
    folder of runs; ``metrics`` is metrics.json; ``features`` are the folders of extracted features
    ``readings`` the indices of what their probes say of single tokens, and ``looks`` those of attention
    heads and heatmaps, ``neurons`` those of neurons, in the study's order. ``chosen`` are the scenarios to
    show one by one, if not those of `shown_scenarios`.
    The same inputs give the same bytes. Raises StratascopeError naming the file that is missing or
    unreadable.
    """
    html = render_report(
        read_inputs(
            study, tables, states, runs, metrics, features, readings, looks, neurons, chosen
        )
    )
    with new_file(out) as partial:
        partial.write_text(html, encoding="utf-8", errors="replace", newline="\n")


def render_report(data: ReportData) -> str:
    """The report's HTML."""
    built = [(section, section.build(data)) for section in SECTIONS]
    shown = [(section, content) for section, content in built if content is not None]
    assets = page.assets()
    room = FILE_BUDGET - len(_page(data, shown, assets, "", DETAILS[-1]).encode("utf-8", "replace"))
    payload, detail = _payload(data, [content for _, content in shown], room)
    return _page(data, shown, assets, payload, detail)


def _page(
    data: ReportData,
    shown: Sequence[tuple[Section, Content]],
    assets: Mapping[str, Any],
    payload: str,
    detail: Detail,
) -> str:
    return page.render(
        "page.html.j2",
        data=data,
        sections=[
            {
                "id": section.id,
                "title": section.title,
                "parts": content.parts,
                "html": Markup(  # noqa: S704 - rendered by the same autoescaping environment
                    page.render(
                        section.template,
                        data=data,
                        section=section,
                        figures=content.figures,
                        detail=detail,
                        **content.context,
                    )
                ),
            }
            for section, content in shown
        ],
        payload=Markup(payload),  # noqa: S704 - base64
        **assets,
    )


def _payload(data: ReportData, contents: Sequence[Content], room: int) -> tuple[str, Detail]:
    """The data of every figure, packed, with as much detail of each run as there is room for."""
    shared: dict[str, Any] = {
        "palettes": PALETTES,
        "layers": data.layers,
        "sources": data.sources,
        "positions": data.positions,
        "checkpoints": data.checkpoint_names,
        "figures": {
            figure.id: figure.payload()
            for content in contents
            for figure in content.figures.values()
        },
        "arrays": {name: array for content in contents for name, array in content.arrays.items()},
    }
    references = run_references(data)
    for detail in DETAILS:
        text = packed_json({**shared, **run_details(data, detail, references)})
        if len(text) <= room:
            break
    return text, detail
