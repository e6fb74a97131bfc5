"""The sizes of a model: how many parameters it has, and how wide each site is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Experts:
    """Layers whose MLP is several: ``active`` of ``number`` read a token, each ``inner`` wide.

    ``shared`` is the width of one more that reads every token; 0 without. ``layers`` are the numbers
    of the layers that have them, the others have a plain MLP.
    """

    number: int
    active: int
    inner: int
    shared: int
    layers: frozenset[int]


@dataclass(frozen=True)
class Shape:
    """A model's numbers; the defaults are Llama's.

    ``gated``: the MLP multiplies two projections. ``inner_sites``: it has modules for them that every
    token passes. ``qkv_bias`` to ``head_bias``: which projections add a bias. ``norms`` of a layer are
    those of its stream, of ``norm_rows`` parameters for each number (a layer norm has two), and
    ``qk_norms`` the parameters of the others. ``positions`` counts rows of learned tables besides the
    tokens'. ``embed`` is the embedding's width where it is not ``hidden``. ``others``: parameters of
    parts that read no text. ``packs`` and ``shows_weights`` say whether several conversations share a
    row, and whether attention weights can be had (``capture.families`` decides both).

    How its passes use memory, as measured (see ``cost``): ``mlp_copies`` of the inner width are alive
    at once in an MLP without experts, and ``score_bytes`` for each head and pair of tokens in
    attention, when it runs in 16 and in 32 bits. ``capped`` logits pass through a soft cap.
    """

    model_type: str
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    inner: int
    context: int | None
    tied: bool
    gated: bool = True
    inner_sites: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    head: bool = True
    head_bias: bool = False
    norms: int = 2
    norm_rows: int = 1
    qk_norms: int = 0
    embed_norm: bool = False
    final_norm: bool = True
    positions: int = 0
    embed: int | None = None
    experts: Experts | None = None
    others: int = 0
    packs: bool = True
    shows_weights: bool = True
    mlp_copies: float = 3
    score_bytes: tuple[float, float] = (0, 0)
    capped: bool = False

    @property
    def q_width(self) -> int:
        """All query heads side by side."""
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        """All key heads, or all value heads, side by side."""
        return self.kv_heads * self.head_width

    @property
    def embed_width(self) -> int:
        """How wide the embeddings are, and what the head reads."""
        return self.embed or self.hidden

    @property
    def parameters(self) -> int:
        """Every parameter, one that two parts share counted once."""
        rows = self.vocabulary * self.embed_width
        own_head = rows if self.head and not self.tied else 0
        ends = rows + own_head + self.positions * self.hidden + 2 * self._into_stream
        ends += self.vocabulary if self.head_bias else 0
        ends += self._norm * (self.embed_norm + self.final_norm)
        return ends + sum(map(self._layer, range(self.layers))) + self.others

    @property
    def matrices(self) -> int:
        """Numbers of the matrices that one token is multiplied with in the layers, not in the head."""
        sparse = len(self.experts.layers) if self.experts else 0
        mlps = (self.layers - sparse) * self._mlp(self.inner)
        if self.experts is not None:
            one = self.experts.active * self._mlp(self.experts.inner) + self._mlp(
                self.experts.shared
            )
            mlps += sparse * (one + self._router)
        return self.layers * self._attention + mlps + 2 * self._into_stream

    @property
    def head_matrix(self) -> int:
        """Numbers of the matrix that gives the logits; 0 without a head."""
        return self.vocabulary * self.embed_width if self.head else 0

    def widths(self, layer: int) -> dict[str, int]:
        """Numbers a token at each site of a layer; for `attn_weights`, numbers a pair of tokens."""
        stream, inner = self.hidden, self.inner
        sites = {"hidden_in": stream, "q": self.q_width, "k": self.kv_width, "v": self.kv_width}
        if self.shows_weights:
            sites["attn_weights"] = self.heads
        sites["attn_out"] = stream
        if self.experts is not None and layer in self.experts.layers:
            active = self.experts.active
            sites |= {"router_logits": self.experts.number}
            sites |= {"router_weights": active, "router_experts": active}
        elif self.inner_sites:
            sites |= {"mlp_gate": inner} if self.gated else {}
            sites |= {"mlp_up": inner, "mlp_act": inner, "mlp_down_in": inner}
        return sites | {"mlp_down_out": stream, "hidden_out": stream}

    @property
    def whole(self) -> dict[str, int]:
        """Numbers a token at each site of the whole model."""
        sites = {"embeddings": self.embed_width}
        sites |= {"final_norm": self.hidden} if self.final_norm else {}
        return sites | ({"logits": self.vocabulary} if self.head else {})

    @property
    def _into_stream(self) -> int:
        """OPT-350m's matrices between the embedding's width and the stream's; there are two."""
        return self.hidden * self.embed_width if self.embed_width != self.hidden else 0

    @property
    def _norm(self) -> int:
        return self.hidden * self.norm_rows

    @property
    def _attention(self) -> int:
        return 2 * self.hidden * (self.q_width + self.kv_width)

    def _mlp(self, inner: int) -> int:
        return (3 if self.gated else 2) * self.hidden * inner

    @property
    def _router(self) -> int:
        """Of the experts: what scores them, and the gate of a shared one."""
        if self.experts is None:
            return 0
        return self.hidden * (self.experts.number + (self.experts.shared > 0))

    def _layer(self, layer: int) -> int:
        biases = (self.q_width + 2 * self.kv_width) * self.qkv_bias + self.hidden * self.out_bias
        total = self._attention + biases + self.norms * self._norm + self.qk_norms
        if self.experts is not None and layer in self.experts.layers:
            each = self.experts.number * self._mlp(self.experts.inner)
            return total + each + self._mlp(self.experts.shared) + self._router
        inner_biases = self.inner * (2 if self.gated else 1) + self.hidden
        return total + self._mlp(self.inner) + inner_biases * self.mlp_bias
