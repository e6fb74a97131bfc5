"""The page around the sections: templates, styles, scripts and the rules the browser enforces."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stratascope.report import text
from stratascope.report.payload import packed, plotly_script

# Joined in this order into one script, inside one function.
SCRIPTS = (
    "data.js",
    "theme.js",
    "text.js",
    "filter.js",
    "resolve.js",
    "figures.js",
    "export.js",
    "tables.js",
    "toolbox.js",
    "layerplots.js",
    "runs.js",
    "references.js",
    "steps.js",
    "pairs.js",
    "scenarios.js",
    "curves.js",
    "probes.js",
    "mistakes.js",
    "probetokens.js",
    "similarity.js",
    "neurons.js",
    "lens.js",
    "residual.js",
    "navigation.js",
    "start.js",
)
STYLES = (
    "base.css",
    "layout.css",
    "parts.css",
    "explorer.css",
    "probes.css",
    "neurons.css",
    "lens.css",
    "print.css",
)


def render(template: str, **context: Any) -> str:
    """One template of ``report/templates`` with the report's filters; a missing name is an error."""
    return environment().get_template(template).render(**context)


@cache
def environment() -> Environment:
    """The templates' environment: everything that is inserted is escaped."""
    made = Environment(
        loader=PackageLoader("stratascope.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("number", "signed", "interval", "plural", "thousands", "joined", "first_upper"):
        made.filters[name] = getattr(text, name)
    for name in ("source_name", "measure_name", "position_name"):
        made.filters[name] = getattr(text, name)
    return made


def assets() -> Mapping[str, Any]:
    """What the page embeds: style, script, packed Plotly, and the policy that allows only these."""
    script = _script()
    plotly = plotly_script()
    return {
        "style": Markup("\n".join(_asset("css", name) for name in STYLES)),  # noqa: S704
        "script": Markup(script),  # noqa: S704
        "plotly": Markup(packed(plotly)),  # noqa: S704
        "policy": _policy([script.encode(), plotly]),
    }


@cache
def _script() -> str:
    body = "\n".join(_asset("js", name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{body}\n}})();'


@cache
def _asset(kind: str, name: str) -> str:
    return (files("stratascope.report") / "assets" / kind / name).read_text(encoding="utf-8")


def _policy(scripts: list[bytes]) -> str:
    """Only these scripts run and nothing is fetched, even if a text slipped through unescaped."""
    hashes = " ".join(
        "'sha256-" + base64.b64encode(hashlib.sha256(script).digest()).decode() + "'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
