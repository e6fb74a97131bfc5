"""A small results tree, as the other stages would leave it, for reports to be made from.

States are random but shaped: conversations differ, references pull on middle layers, later
checkpoints pull harder. Texts hold what a model or a careless file may hold.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from safetensors.numpy import save_file

from stratascope.report.build import build_report
from stratascope.report.headline import write_headline
from stratascope.report.tables import write_tables
from stratascope.store.questions import QuestionFolder

SOURCES = ("hidden_in", "hidden_out", "attn_out", "mlp_down_out")
POSITIONS = ("generation_prompt", "turn_end", "content_mean")
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"quoted\" & 'single' <b>bold</b>"
LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 6
SYSTEM = ("system", "You are a helpful assistant.")
Array = np.ndarray[Any, Any]
Conversation = tuple[tuple[str, str], ...]

CONVERSATIONS: dict[str, Conversation] = {
    "good_news": (
        SYSTEM,
        ("user", "I passed the exam! I can hardly believe it."),
        ("assistant", "That is wonderful. You worked hard for it."),
        ("user", "Tell me something nice about tomorrow."),
    ),
    "bad_news": (
        SYSTEM,
        ("user", "My dog died last night. 🐕 日本語 العربية"),
        ("assistant", "I am so sorry.\nDo you want to talk about it?"),
        ("user", "I do not know what to do."),
        ("assistant", "Nothing has to be done now."),
        ("user", "Then stay a while."),
    ),
    "hostile_texts": (
        ("user", HOSTILE),
        ("assistant", LONG),
        ("user", "%{x} $\\alpha$ =1+1 \u202e reversed"),
    ),
    "one_line": (("user", "Hi"),),
}
GENERATED = {
    "good_news": "The sun will rise, and so will you.",
    "bad_news": "I am here with you.\nTake all the time you need.",
    "hostile_texts": HOSTILE,
    "one_line": "",
}
REFERENCES = ("joy", "<b>grief</b>", "calm")


@dataclass(frozen=True)
class Results:
    """Where a made study lies, and what `build_report` needs of it."""

    root: Path
    study: dict[str, Any]
    states: list[Path]

    def build(self, out: Path | None = None, chosen: Sequence[str] = ()) -> Path:
        out = out or self.root / "report.html"
        build_report(
            self.study,
            self.root / "tables",
            self.states,
            self.root / "runs",
            self.root / "metrics.json",
            out,
            chosen=chosen,
        )
        return out


def seeded(*names: object) -> np.random.Generator:
    digest = sha256("\x1f".join(map(str, names)).encode("utf-8", "backslashreplace")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def make_results(
    root: Path,
    checkpoints: int = 3,
    conversations: dict[str, Conversation] | None = None,
    references: tuple[str, ...] = REFERENCES,
    layers: int = 6,
    hidden: int = 48,
    tokens: int = 12,
) -> Results:
    """Write runs, states, tables and metrics below ``root``."""
    found = CONVERSATIONS if conversations is None else conversations
    names = [f"step-{500 * place}" for place in range(checkpoints)]
    states = [
        _checkpoint(root, name, place, found, references, layers, hidden, tokens)
        for place, name in enumerate(names)
    ]
    asked = make_questions(root / "questions", names) if conversations is None else []
    write_headline(write_tables(states, root / "tables", asked), root / "metrics.json")
    study = {
        "title": "What a small model learns about <feelings>",
        "description": "A made study for the report's own tests: random states with a little shape.",
        "checkpoints": names,
    }
    return Results(root, study, states)


def _checkpoint(
    root: Path,
    name: str,
    place: int,
    conversations: dict[str, Conversation],
    references: tuple[str, ...],
    layers: int,
    hidden: int,
    tokens: int,
) -> Path:
    runs, row = [], 0
    for scenario, messages in conversations.items():
        prefixes = [_prefix(messages[: i + 1]) for i in range(len(messages))]
        entry = {
            "label": f"{scenario}@{name}",
            "scenario": scenario,
            "parent": scenario,
            "folder": f"{scenario}@{name}-{_short(scenario, name)}",
            "generated": _generated(scenario, place),
            "prompt": messages[-1][1],
            "rows": [row, row + len(messages)],
            "messages": [
                {"index": i, "role": role, "content": content, "prefix": prefixes[i]}
                for i, (role, content) in enumerate(messages)
            ],
            "reference_set": 0 if references else None,
        }
        row += len(messages)
        runs.append(entry)
        _write_run(root / "runs" / str(entry["folder"]), entry, messages, tokens, layers)
    index = {
        "checkpoint": name,
        "order": place,
        "model": {"id": f"models/demo/{name}", "revision": None},
        "hidden_size": hidden,
        "num_layers": layers,
        "layers": list(range(layers)),
        "sources": list(SOURCES),
        "positions": list(POSITIONS),
        "runs": runs,
        "reference_sets": [{"labels": list(references), "rows": [0, len(references)]}]
        if references
        else [],
    }
    path = root / "states" / f"{name}-{_short(name)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(index), encoding="utf-8")
    save_file(_tensors(index, runs, references, place), str(path.with_suffix(".safetensors")))
    return path


def make_questions(root: Path, checkpoints: list[str]) -> list[QuestionFolder]:
    """Answered questions as capture leaves them, a set of two groups; later checkpoints know more."""
    asked: list[dict[str, Any]] = [
        {"group": "sums", "question": "2+2?", "answer": ["4"], "choices": ["3", "4", "5"]},
        {"group": "sums", "question": "1+1?", "answer": ["2"], "choices": ["2", "7"]},
        {"group": "names", "question": HOSTILE, "answer": [HOSTILE, "Nora"], "choices": []},
        {"group": "", "question": LONG, "answer": ["yes"], "choices": []},
    ]
    asked[2]["history"] = [{"role": "user", "content": f"I am Nora. {HOSTILE}"}]
    found = []
    for place, name in enumerate(checkpoints):
        rows = []
        for i, item in enumerate(asked):
            knows = i < place
            choices = {text: -1.5 - (text != item["answer"][0]) for text in item["choices"]}
            said = item["answer"][0] if knows else (item["choices"] or [HOSTILE + LONG])[-1]
            rows.append(
                {
                    "id": str(i + 1),
                    "group": item["group"],
                    "question": item["question"],
                    "answer": " | ".join(item["answer"]),
                    "generated": said,
                    "prediction": said,
                    "grade": "multiple_choice" if choices else "exact",
                    "correct": knows,
                    "logprob": -1.5 - i,
                    "logprob_per_token": -0.5,
                    "choice_logprobs": json.dumps(choices),
                    "choice_logprobs_per_token": json.dumps(choices),
                }
            )
        folder = root / f"quiz@{name}-{_short('quiz', name)}"
        folder.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "index.parquet")
        (folder / "run.json").write_text("{}", encoding="utf-8")
        questions = [{"history": [], **item} for item in asked]
        info = {"label": f"quiz@{name}", "scenario": {"questions": questions}}
        (folder / "questions.json").write_text(json.dumps(info), encoding="utf-8")
        found.append(QuestionFolder.open(folder))
    return found


def _generated(scenario: str, place: int) -> str:
    words = GENERATED.get(scenario, f"An answer to {scenario}.")
    return words if place < 2 or not words else words[: len(words) // 2] + " It is what it is."


def _short(*names: str) -> str:
    return sha256("/".join(names).encode()).hexdigest()[:12]


def _prefix(messages: Conversation) -> str:
    return sha256(json.dumps(messages).encode()).hexdigest()[:16]


def _tensors(
    index: dict[str, Any], runs: list[dict[str, Any]], references: tuple[str, ...], place: int
) -> dict[str, Array]:
    tensors: dict[str, Array] = {}
    for layer in index["layers"]:
        for source in SOURCES:
            stem = f"layer_{layer:02d}/{source}"
            made = _slice(Where(layer, source, place, index["hidden_size"]), runs, references)
            tensors |= {name.format(stem=stem): states for name, states in made.items()}
    return tensors


@dataclass(frozen=True)
class Where:
    """One layer and source of one checkpoint."""

    layer: int
    source: str
    place: int
    hidden: int

    def draw(self, *names: object) -> Array:
        return seeded(*names, self.layer, self.source).standard_normal(self.hidden)

    @property
    def shared(self) -> Array:
        return 6.0 * self.draw("shared") * (1 + self.place * 0.1)

    def state(self, scenario: str, *what: object) -> Array:
        own = self.draw("own", self.place, *what)
        return (self.shared + 1.5 * self.draw("base", scenario) + 0.7 * own).astype(np.float32)


def _slice(
    where: Where, runs: list[dict[str, Any]], references: tuple[str, ...]
) -> dict[str, Array]:
    pull = (0.2 + 0.5 * where.place) * math.exp(-(((where.layer - 3) / 1.5) ** 2))
    axes = {label: where.draw("reference", label) for label in references}
    names = [run["scenario"] for run in runs]
    made = {
        "initial/{stem}": np.stack([where.state(name, "initial", name) for name in names]),
        "final/{stem}": np.stack([where.state(name, "final", name) for name in names]),
    }
    for position in POSITIONS:
        made[f"snapshot/{position}/{{stem}}"] = np.stack(
            [
                where.state(run["scenario"], position, item["prefix"]) + _pull(axes, item, pull)
                for run in runs
                for item in run["messages"]
            ]
        )
        if references:
            made[f"reference/{position}/{{stem}}"] = np.stack(
                [(where.shared + 2.0 * axis).astype(np.float32) for axis in axes.values()]
            )
    return made


def _pull(axes: dict[str, Array], item: dict[str, Any], pull: float) -> Any:
    if not axes:
        return np.float32(0)
    label = list(axes)[item["index"] % len(axes)]
    return (pull * axes[label]).astype(np.float32)


def _write_run(
    folder: Path, entry: dict[str, Any], messages: Conversation, tokens: int, layers: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    words = entry["generated"].split(" ")[:tokens] if entry["generated"] else [""]
    prompt = [token for _, content in messages for token in content.split(" ")]
    record = {
        "format": 1,
        "label": entry["label"],
        "digest": entry["folder"].rsplit("-", 1)[-1],
        "parent": entry["parent"],
        "scenario": {"name": entry["scenario"]},
        "model": {"id": "demo", "revision": None, "arch": {"num_layers": layers}},
        "prompt_token_ids": list(range(len(prompt))),
        "prompt_tokens": prompt,
        "generated_token_ids": list(range(len(words))),
        "generated_text": entry["generated"],
        "layers": list(range(layers)),
        "rows": {"prompt": len(prompt), "total": len(prompt) + len(words) - 1},
        "snapshots": {
            "method": "packed",
            "reason": None,
            "positions": list(POSITIONS),
            "messages": [
                {**item, "tokens": _tokens(item["content"])} for item in entry["messages"]
            ],
            "skipped": [],
        },
        "created_at": "2001-02-03T04:05:06Z",
    }
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    steps = [_step(entry, i, word, len(prompt)) for i, word in enumerate(words)]
    (folder / "steps.json").write_text(json.dumps({"steps": steps}), encoding="utf-8")


def _tokens(content: str) -> dict[str, Any]:
    words = content.split(" ")
    return {
        "generation_prompt": {"indices": [9], "text": ["<|assistant|>\n"]},
        "turn_end": {"indices": [8], "text": [words[-1]]},
        "content_mean": {"indices": list(range(len(words))), "text": words},
    }


def _step(entry: dict[str, Any], place: int, word: str, prompt: int) -> dict[str, Any]:
    chances = seeded(entry["label"], place).dirichlet(np.full(12, 0.4))
    order = np.sort(chances)[::-1].clip(1e-6)
    others = [f" w{place}_{rank}" for rank in range(11)]
    return {
        "step": place,
        "kind": "decode" if place else "prefill",
        "seq_len": prompt + place,
        "rows": [0, prompt] if place == 0 else [prompt + place - 1, prompt + place],
        "input_token_ids": [place],
        "input_tokens": [word],
        "generated_token_id": 100,
        "generated_token": (" " if place else "") + word,
        "logit_argmax_id": 100,
        "logit_argmax_logprob": float(np.log(order[0])),
        "entropy": float(-(order * np.log(order)).sum()),
        "top_k": [
            {"id": 100 + rank, "token": token, "logprob": float(np.log(order[rank]))}
            for rank, token in enumerate([(" " if place else "") + word, *others])
        ],
        "tensors_file": "activations.safetensors",
        "tensor_index": {},
    }


@pytest.fixture(scope="session")
def texts() -> SimpleNamespace:
    """The texts that tests look for."""
    return SimpleNamespace(hostile=HOSTILE, long=LONG, conversations=CONVERSATIONS)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three checkpoints, four scenarios, three references."""
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def report(results: Results) -> Path:
    return results.build()


@pytest.fixture(scope="session")
def make() -> Callable[..., Results]:
    return make_results


CHROMIUM = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next((found for found in CHROMIUM if found), None)
    if path is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=SWITCHES)
        yield opened
        opened.close()


@dataclass
class Watched:
    """A page and everything that it did which a report must not do."""

    page: Any
    troubles: list[str]

    def at(self, selector: str) -> None:
        """Scroll to an element and wait until the figures there are drawn."""
        self.page.evaluate(
            "s => document.querySelector(s).scrollIntoView({behavior: 'instant'})", selector
        )
        self.page.wait_for_timeout(60)

    def plotted(self, figure: str) -> Any:
        """What Plotly was given for a figure: {data, layout}."""
        self.at(f"#{figure}")
        self.page.wait_for_selector(f"#{figure}[data-drawn] .main-svg")
        return self.page.evaluate(
            "id => { const p = document.querySelector(`#${id} .plot`);"
            " return {data: p.data, layout: p.layout}; }",
            figure,
        )


@pytest.fixture
def watch(browser: Any) -> Iterator[Callable[..., Watched]]:
    """Open a report and note every error, dialog and request other than the file itself."""
    contexts = []

    def open_page(report: Path, width: int = 1280, height: int = 900, **options: Any) -> Watched:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        watched = Watched(context.new_page(), [])
        page, note = watched.page, watched.troubles.append
        address = report.as_uri()
        page.on("pageerror", lambda error: note(f"error: {error}"))
        page.on("console", lambda message: note(f"console: {message.text}"))
        page.on("dialog", lambda dialog: (note(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: _note_request(request.url, address, note))
        page.goto(address)
        page.wait_for_selector("html[data-ready=yes]")
        return watched

    yield open_page
    for context in contexts:
        context.close()


def _note_request(url: str, address: str, note: Callable[[str], None]) -> None:
    if url.split("#")[0] != address and not url.startswith(("data:", "blob:")):
        note(f"request: {url[:200]}")
