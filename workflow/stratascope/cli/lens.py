"""What a sequence's layers say through the model's own head: logit lens, residual stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stratascope.cli.options import FORMAT, print_rows, say
from stratascope.cli.source import LAYERS, STEPS, Source, numbers, rows_of, with_source
from stratascope.errors import StratascopeError

if TYPE_CHECKING:
    from stratascope.analyses.readout import End
    from stratascope.capture.vocabulary import Vocabulary
    from stratascope.measure.tuned import AffineMap
    from stratascope.store.traces import Trace
    from stratascope.study.checkpoints import Checkpoint

POSITION = click.option(
    "--position",
    default="-1",
    show_default=True,
    help="`all`, tokens of the sequence as `0-7`, or from each step's end: -1 chooses the next token.",
)
MODEL = click.option(
    "--model", help="The model of SOURCE, if that does not say it or it has moved."
)
# So many of the likeliest tokens are shown to eyes.
SHOWN = 3


@click.command("logit-lens")
@with_source
@click.option(
    "--site",
    default="hidden_out",
    show_default=True,
    help="hidden_in, attn_out, mlp_down_out or hidden_out.",
)
@LAYERS
@STEPS
@POSITION
@click.option("--top-k", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--tuned",
    type=click.Path(path_type=Path),
    help="First map the states, by what `tune-lens` left.",
)
@MODEL
@FORMAT
def logit_lens(
    source: Source, site: str, layers: str, steps: str, position: str, top_k: int,
    tuned: Path | None, model: str | None, form: str,
) -> None:  # fmt: skip
    """What the model would say after each layer, read by its own final norm and head.

    The likeliest tokens; entropy; KL(final || layer), how far from the last layer's distribution; rank
    and log-probability of the last layer's choice and of the token that came next. In nats.

    \b
    Examples:
      stratascope logit-lens results/runs/RUN --steps 0
      stratascope logit-lens models/demo/step-1600 --prompt "I am so" --position all --format json
    """
    from stratascope.analyses.lens import Asked, check_site, lens_rows

    check_site(site)
    chosen = numbers(layers, "layers")
    trace = _trace(source, dict.fromkeys((site, "hidden_out")))
    end, words = _end_of(trace, source, model)
    rows = rows_of(trace, numbers(steps, "steps"), numbers(position, "position"))
    maps = {} if tuned is None else _maps(tuned, end, site)
    asked = Asked(rows, trace.chosen_layers(chosen, site), site, top_k, maps)
    found = lens_rows(trace, end, asked, words.text)
    print_rows([_shown(row, form, top=_top) for row in found], form)


@click.command()
@with_source
@LAYERS
@STEPS
@POSITION
@click.option("--token", help="Whose logit, a text or an id.  [default: the token that came next]")
@click.option("--against", help="Minus the logit of this token.")
@MODEL
@FORMAT
def residual(
    source: Source, layers: str, steps: str, position: str, token: str | None, against: str | None,
    model: str | None, form: str,
) -> None:  # fmt: skip
    """What each layer adds to the residual stream, and directly to the logit of a token.

    Norms of the stream and of what attention and MLP add, their cosines with the stream before and
    after the layer, and their contributions to the logit (before a soft cap), with the final norm's
    scale held. Contributions of all layers, the embedding, biases and the rest sum to `logit`.

    \b
    Examples:
      stratascope residual results/runs/RUN --steps 0
      stratascope residual models/demo/step-1600 --prompt "I am so" --token happy --against sad
    """
    from stratascope.analyses.residual import HEAD_SITES, SITES, choose, residual_rows

    chosen = numbers(layers, "layers")
    trace = _trace(source, (*SITES, *HEAD_SITES))
    end, words = _end_of(trace, source, model)
    rows = rows_of(trace, numbers(steps, "steps"), numbers(position, "position"))
    whose = choose(
        trace,
        end,
        rows,
        None if token is None else words.token(token),
        None if against is None else words.token(against),
    )
    if not end.plan.adds_up:
        say(
            "this model norms the stream itself: contributions do not sum to it, so none to a logit"
        )
    found = residual_rows(trace, end, whose, words.text, trace.chosen_layers(chosen, "hidden_out"))
    print_rows([_shown(row, form, head_logits=_numbers) for row in found], form)


@click.command("tune-lens")
@click.argument("model")
@click.argument("features", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--group", help="A field: its groups stay on one side.  [default: each text]")
@click.option("--revision", help="Of a model on the hub: its commit.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@FORMAT
def tune_lens(
    model: str, features: Path, out: Path, group: str | None, revision: str | None, seed: int, form: str
) -> None:  # fmt: skip
    """Fit one affine map a layer of MODEL to FEATURES, for `logit-lens --tuned`.

    FEATURES is what `stratascope extract` left: hidden_out of all layers, best with --position all. Of
    the texts 60 % are fitted to, 20 % choose how strongly, and 20 % tell the KL from the final layer.

    \b
    Examples:
      stratascope extract models/demo/step-1600 talks.jsonl --position all --out talks
      stratascope tune-lens models/demo/step-1600 talks --out tuned.safetensors
    """
    from stratascope.analyses.readout import End
    from stratascope.analyses.tuned import tune
    from stratascope.capture.weights import open_weights
    from stratascope.store.feature_arrays import open_layers
    from stratascope.store.translators import save_maps

    end = End.of(*open_weights(_checkpoint(model, Path(), revision, "tune-lens")))
    arrays = open_layers(features)
    rows = list(range(arrays.n))
    groups = (arrays.texts() or rows) if group is None else arrays.field(group)
    maps, found = tune(arrays, end, groups, seed)
    about = {"model": model, "features": str(features), "seed": seed, "rows": found}
    save_maps(out, {layer: (m.weight, m.bias) for layer, m in maps.items()}, about)
    print_rows(found, form)


def _maps(path: Path, end: End, site: str) -> dict[int, AffineMap]:
    from stratascope.analyses.tuned import SITE
    from stratascope.measure.tuned import AffineMap
    from stratascope.store.translators import load_maps

    if site != SITE:
        raise StratascopeError(f"--tuned: its maps are of {SITE}, not of {site}")
    found = {layer: AffineMap(*parts) for layer, parts in load_maps(path).items()}
    width = end.plan.shape.hidden
    if any(len(made.bias) != width for made in found.values()) or max(found) >= end.layers:
        raise StratascopeError(f"{path}: a tuned lens of another model")
    return found


def _trace(source: Source, sites: Sequence[str] | dict[str, None]) -> Trace:
    """SOURCE with those of ``sites`` that its model has."""
    if source.prompt is None:
        return source.trace(list(sites))
    from stratascope.api.traces import record_trace

    model = source.model()
    there = [site for site in sites if site in model.sites]
    return record_trace(model, source.prompt, sites=there, max_new_tokens=source.new_tokens)


def _end_of(trace: Trace, source: Source, model: str | None) -> tuple[End, Vocabulary]:
    """The end of the model that a trace names, or ``model``, and its vocabulary."""
    from stratascope.analyses.readout import End
    from stratascope.capture.vocabulary import vocabulary_of
    from stratascope.capture.weights import open_weights

    known = model or trace.model
    if known is None:
        raise StratascopeError(
            f"{source.name}: does not say which model it was; name it with --model FOLDER"
        )
    root = Path() if model else trace.root
    checkpoint = _checkpoint(known, root, source.revision or trace.revision, source.name)
    _check_identity(trace, checkpoint, given=model is not None)
    end = End.of(*open_weights(checkpoint))
    end.check(trace)
    return end, vocabulary_of(checkpoint)


def _check_identity(trace: Trace, checkpoint: Checkpoint, *, given: bool) -> None:
    """Refuse a folder whose files changed since the run; of a model that was ``given`` only tell."""
    from stratascope.store.identity import identify

    if trace.identity is None or checkpoint.revision is not None:
        return
    if identify(Path(checkpoint.source)) != trace.identity:
        told = f"{checkpoint.source}: its files are not those that {trace.label} was captured with"
        if not given:
            raise StratascopeError(
                f"{told}; name the right ones, or these all the same, with --model"
            )
        say(told)


def _checkpoint(model: str, root: Path, revision: str | None, shown: str) -> Checkpoint:
    """A folder, relative to ``root``, or a model of the hub at a known revision."""
    from stratascope.study.checkpoints import Checkpoint, is_hub_id, local_folder, names_for
    from stratascope.study.schema import Model

    spec = Model(id=model)
    folder = local_folder(spec, root)
    if folder is None and not (is_hub_id(spec) and revision):
        raise StratascopeError(
            f"{shown}: the model {model} is no folder in {root.resolve()}; name it with --model FOLDER "
            "(of a model on the hub, with --revision)"
        )
    name = names_for([spec])[spec]
    return Checkpoint(name, spec, str(folder or model), None if folder else revision, "")


def _shown(row: dict[str, Any], form: str, **columns: Any) -> dict[str, Any]:
    """A row for ``form``: lists as JSON for spreadsheets; for eyes short, and tokens in quotes."""
    if form == "json":
        return row
    if form == "csv":
        return row | {
            name: row[name] and json.dumps(row[name], ensure_ascii=False) for name in columns
        }
    quoted = {name: repr(row[name]) for name in row if name.endswith("token") and row[name]}
    return row | quoted | {name: row[name] and write(row[name]) for name, write in columns.items()}


def _top(top: list[dict[str, Any]]) -> str:
    return "  ".join(f"{item['token']!r} {item['logprob']:.2f}" for item in top[:SHOWN])


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
