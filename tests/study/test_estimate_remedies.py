"""What fits, what does not, and the settings that would make it fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import yaml

from stratascope.study.dataset import Dataset
from stratascope.study.estimate import Estimate, Files, Work, estimate, shape_of
from stratascope.study.estimate.memory import Memory
from stratascope.study.estimate.planned import Texts, dataset_work
from stratascope.study.estimate.remedies import ways_to_fit
from stratascope.study.estimate.room import Amount, Room, as_option, needs, refusal, shown
from stratascope.study.estimate.work import ReferenceWork, RunWork
from stratascope.study.schema import Capture, Model

LLAMA = shape_of(
    {"model_type": "llama", "vocab_size": 32000, "hidden_size": 1024, "intermediate_size": 2816}
    | {"num_hidden_layers": 12, "num_attention_heads": 16, "num_key_value_heads": 4}
)
PLENTY = Amount(10**18)


def capture_work(dtype: str = "float32", device: Any = "cpu", **capture: Any) -> Work:
    """Three runs of a model of 200 million parameters; one reference set."""
    runs = tuple(RunWork(Capture(**capture), prompt, 50, 3) for prompt in (200, 400, 1000))
    references = (ReferenceWork((30, 40, 50), 3, "all", 400),)
    model = Model(id="m", dtype=dtype)  # type: ignore[arg-type]
    return Work(LLAMA, Files(None, dtype), model, device, runs, references)


def texts_work(**fields: Any) -> Work:
    """A thousand texts of a hundred tokens on the same model, in bfloat16."""
    model = Work(LLAMA, Files(None, "bfloat16"), Model(id="m", dtype="bfloat16"), "cpu")
    dataset = Dataset(data="x.jsonl", **fields)
    return dataset_work(model, dataset, Texts(1000, 100_000, 150, 400_000))


def applied(work: Work, settings: tuple[str, ...]) -> Work:
    """The settings as a person would write them, read as YAML into the schema's own classes."""
    for setting in settings:
        ((key, value),) = yaml.safe_load(setting).items()
        part, _, name = key.rpartition(".")
        if part == "capture":
            runs = [
                replace(run, capture=Capture(**{**run.capture.model_dump(), name: value}))
                for run in work.runs
            ]
            work = replace(work, runs=tuple(runs))
        elif part == "model":
            work = replace(work, model=Model(**{**work.model.model_dump(), name: value}))
        else:
            Dataset(data="x.jsonl", **{name: value})  # a setting that the schema accepts
            texts = work.texts[0]
            changes: dict[str, Any] = {name: tuple(value) if name == "layers" else value}
            if name == "position":
                changes = {"pooled": True}
            elif name == "max_samples":
                tokens = texts.tokens * value // texts.texts
                size = texts.text_bytes * value // texts.texts
                changes = {"texts": value, "tokens": tokens, "text_bytes": size}
            work = replace(work, texts=(replace(texts, **changes),))
    return work


def fitting(part: float, work: Work) -> Room:
    """Room for a part of the disk that ``work`` needs."""
    disk = estimate(work).disk
    assert disk is not None
    return Room(PLENTY, Amount(math.floor(disk * part)))


@pytest.mark.parametrize("part", [0.9, 0.5, 0.2, 0.1])
@pytest.mark.parametrize(
    "work",
    [
        capture_work(),
        capture_work(store_dtype="float32", dtype="bfloat16"),
        capture_work(layers=(1, 5, 9), gradients={"of": "generated"}, mlp=False),
        texts_work(),
        texts_work(position="all", store_dtype="float32"),
    ],
)
def test_every_way_fits_as_it_is_written(work: Work, part: float) -> None:
    """Three ways, each of which fits when its settings are read as YAML and put to the estimate."""
    room = fitting(part, work)
    assert not room.fits(estimate(work))
    ways = ways_to_fit(work, room.fits)
    assert 1 <= len(ways) <= 3
    assert len({way.settings for way in ways}) == len(ways)
    for way in ways:
        assert room.fits(way.estimate)
        assert estimate(applied(work, way.settings)) == way.estimate


def test_less_is_lost_first() -> None:
    """What follows from other tensors goes before what does not, and one change before two."""
    work = capture_work()
    ways = ways_to_fit(work, fitting(0.95, work).fits)
    assert [way.settings for way in ways] == [
        ("capture.attention_weights: false",),
        ("capture.logits: false",),
        ("capture.mlp: false",),
    ]
    few = ways_to_fit(work, fitting(0.25, work).fits)
    assert [len(way.settings) for way in few] == sorted(len(way.settings) for way in few)
    assert all(
        not set(a.settings) < set(b.settings) for a in few for b in few
    )  # no way only adds to another


def test_nothing_is_lost_where_a_model_runs_in_16_bits() -> None:
    """Numbers of 16 bits stored in 32 are stored in 16 first."""
    work = capture_work("bfloat16", store_dtype="float32")
    assert ways_to_fit(work, fitting(0.7, work).fits)[0].settings == (
        "capture.store_dtype: bfloat16",
    )
    texts = texts_work(store_dtype="float32")
    assert ways_to_fit(texts, fitting(0.7, texts).fits)[0].settings == ("store_dtype: bfloat16",)


def test_fewer_texts_are_as_many_as_fit() -> None:
    """`max_samples` is a round number that fits, and a tenth more would not."""
    work = texts_work(layers=(3,))
    room = fitting(0.42, work)
    (way,) = ways_to_fit(work, room.fits)
    count = yaml.safe_load(way.settings[0])["max_samples"]
    assert count % 10 == 0
    assert room.fits(way.estimate)
    assert not room.fits(estimate(applied(work, (f"max_samples: {count * 11 // 10}",))))


def test_memory_has_its_own_ways() -> None:
    """For memory the model itself runs in 16 bits; on a GPU its weights go elsewhere first."""
    work = replace(capture_work(), files=Files(None, "bfloat16"))
    need = estimate(work).memory
    assert need is not None
    room = Room(Amount(need.ram * 3 // 4), PLENTY)
    assert ("model.dtype: bfloat16",) in [way.settings for way in ways_to_fit(work, room.fits)]

    gpu = capture_work(device="cuda")
    need = estimate(gpu).memory
    assert need is not None
    two = Room(PLENTY, PLENTY, Amount(need.gpu - 1), Amount(need.gpu * 2))
    assert ways_to_fit(gpu, two.fits)[0].settings == ("model.device_map: auto",)


def test_nothing_helps() -> None:
    """Where not even all changes together fit, no way is named."""
    room = Room(Amount(1000), PLENTY)
    work = capture_work()
    assert ways_to_fit(work, room.fits) == []
    said = refusal(work, estimate(work), room)
    assert said is not None
    assert "no setting makes it fit" in said


def test_a_refusal_says_what_is_there_and_what_would_fit() -> None:
    """One line: what is needed, what is there and why, and each way with what it then takes."""
    work = texts_work(position="all")
    room = Room(PLENTY, Amount(10**9, "allowed (limits.disk_gb)"))
    said = refusal(work, estimate(work), room)
    assert said is not None
    assert "\n" not in said
    assert said.startswith("not enough disk: up to 2.5 GB needed, 1.0 GB allowed (limits.disk_gb);")
    assert "`layers: [0, 4, 8, 11]` -> 819.7 MB" in said
    written = refusal(work, estimate(work), room, as_option)
    assert written is not None
    assert "`--layers 0,4,8,11` -> 819.7 MB" in written
    assert refusal(work, estimate(work), Room(PLENTY, PLENTY)) is None


def test_room() -> None:
    """A spare part is left to others; spread weights may go to RAM, others may not; unknown fits."""
    assert Amount(100, spare=10).holds(90)
    assert not Amount(100, spare=10).holds(91)
    room = Room(Amount(100), Amount(100), Amount(50), Amount(80))
    assert room.fits(Estimate(None, Memory(10, 50), 100, 0, None))
    assert not room.fits(Estimate(None, Memory(10, 51), 100, 0, None))
    assert room.fits(Estimate(None, Memory(10, 170, spread=True), 100, 0, None))
    assert not room.fits(Estimate(None, Memory(10, 171, spread=True), 100, 0, None))
    unknown = Estimate(None, None, None, 0, None)
    assert room.fits(unknown)
    assert "unknown" in needs(unknown, room)


@pytest.mark.parametrize(
    ("setting", "option"),
    [
        ("layers: [0, 4, 5]", "--layers 0,4,5"),
        ("max_samples: 420", "--max-samples 420"),
        ("store_dtype: bfloat16", "--store-dtype bfloat16"),
        ("model.device_map: auto", "--device-map auto"),
        ("position: last", "--position last"),
    ],
)
def test_settings_as_options(setting: str, option: str) -> None:
    """A dataset's setting is written as the option of `stratascope extract`."""
    assert as_option(setting) == option


def test_sizes_as_people_read_them() -> None:
    """GB from a thousand million bytes on, else MB."""
    assert (shown(1_500_000_000), shown(2_340_000)) == ("1.5 GB", "2.3 MB")
