"""A plain decoder's own layers, run over rows without padding: the fast way to the numbers of the stock forward.

Rows are packed one after another; each attends to itself alone. The last layer computes keys and values of every token
but queries, output and MLP of the wanted ones only, which is exact, as nothing comes after it. Weights, norms, rotary
angles and adapters are the stock modules'; architectures that do more than these are read by the stock forward.

T tokens of all rows together, N rows or wanted tokens, D hidden, H heads, G key heads, R = H / G, E width of a head,
S keys, Q new tokens of a row, C room for tokens in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from clsgen.errors import ModelError
from clsgen.model.attention import blocked
from clsgen.model.backbone import base_of, body_of
from clsgen.model.products import linear

PLAIN = ("llama", "qwen2", "qwen3", "mistral")
"""Architectures whose layer is norm, attention, norm, MLP: no soft cap, no sinks, no experts."""

_ROPE = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary angles that depend on the position alone, not on how long the text is."""

_PROBE = 7
_STEP_TOKENS = 256
"""Slots grow by this many tokens."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, query_THE, key_TGE, value_TGE) -> output_THE."""


class Kept(NamedTuple):
    """Keys and values of one row, a pair a layer, each (S, G, E)."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def num_tokens(self) -> int:
        """Tokens read."""
        return len(self.layers[0][0])


class Decoder:
    """Reads packed rows and goes on writing them.

    Args:
        language_model: A causal model for which `can_read` is true; its modules are used where they are.
    """

    def __init__(self, language_model: nn.Module) -> None:
        body: Any = body_of(language_model)
        config = base_of(language_model).config
        self._embed, self._rotary, self._norm = body.embed_tokens, body.rotary_emb, body.norm
        self._layers: list[Any] = list(body.layers)
        self._width: int = self._layers[0].self_attn.head_dim
        self._num_heads: int = config.num_attention_heads
        self._num_key_heads: int = config.num_key_value_heads

    @property
    def device(self) -> torch.device:
        """Where ids must be."""
        found: torch.device = self._embed.weight.device
        return found

    def read(
        self,
        rows: Sequence[Sequence[int]],
        *,
        keeps: bool,
        after: Sequence[Kept | None] | None = None,
        num_wanted: Sequence[int] | None = None,
    ) -> tuple[Tensor, list[Kept]]:
        """Read rows, each by itself.

        Args:
            rows: Rows of ids, none empty.
            keeps: Whether keys and values are given back, for `Slots`.
            after: What each row follows on, None: nothing; what is given back holds the rows' own tokens alone.
            num_wanted: Of how many of each row's last tokens the hidden states are wanted; None: of the last one.

        Returns:
            Last hidden states of the wanted tokens, row after row (N, D), final norm included, and what was kept,
            [] for none.
        """
        tails = [1] * len(rows) if num_wanted is None else list(num_wanted)
        spans, wanted_spans = _spans([len(row) for row in rows]), _spans(tails)
        before = [None] * len(rows) if after is None else after
        shifts = [0 if each is None else each.num_tokens for each in before]
        positions = [shift + at for row, shift in zip(rows, shifts, strict=True) for at in range(len(row))]
        wanted = [at for (_, end), tail in zip(spans, tails, strict=True) for at in range(end - tail, end)]
        wanted_N = torch.tensor(wanted, device=self.device)
        kept: list[tuple[Tensor, Tensor]] = []

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            if keeps:
                kept.append((key, value))
            is_last = layer == len(self._layers) - 1
            outputs = []
            for each, (start, end), (first, last) in zip(before, spans, wanted_spans, strict=True):
                keys, values = key[start:end], value[start:end]
                if each is not None:
                    earlier = each.layers[layer]
                    keys, values = torch.cat([earlier[0], keys]), torch.cat([earlier[1], values])
                outputs.append(_attention(query[first:last] if is_last else query[start:end], keys, values))
            return torch.cat(outputs)

        ids_T = torch.tensor([token for row in rows for token in row], device=self.device)
        hidden_ND = self._run(ids_T, torch.tensor(positions, device=self.device), attend, wanted_N)
        if not keeps:
            return hidden_ND, []
        return hidden_ND, [
            Kept(tuple((key[start:end], value[start:end]) for key, value in kept)) for start, end in spans
        ]

    def write(self, slots: Slots, rows: Sequence[Sequence[int]]) -> Tensor:
        """Feed each slot its next ids, one or more; its length grows by as many.

        Returns:
            Last hidden states of all of them, row after row (T, D), final norm included.
        """
        layout = slots.make_room([len(row) for row in rows], self.device)

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys_NGSE, values_NGSE = slots.put(layer, layout, key, value)
            if layout.is_even:
                return _of_slots(query.view(len(rows), -1, *query.shape[1:]), keys_NGSE, values_NGSE, layout.hidden_NQS)
            query_NQHE = query.new_zeros((len(rows), layout.num_new, *query.shape[1:]))
            query_NQHE[layout.row_T, layout.column_T] = query
            output = _of_slots(query_NQHE, keys_NGSE, values_NGSE, layout.hidden_NQS)
            return output.view(query_NQHE.shape)[layout.row_T, layout.column_T]

        ids_T = torch.tensor([token for row in rows for token in row], device=self.device)
        return self._run(ids_T, layout.position_T, attend, None)

    def new_slots(self) -> Slots:
        """Room for rows that write, none in it yet."""
        return Slots(len(self._layers), self._num_key_heads, self._width)

    def _run(self, ids_T: Tensor, positions_T: Tensor, attend: Attend, wanted_N: Tensor | None) -> Tensor:
        """Every layer; hidden states of the wanted tokens, None: of all, final norm included."""
        hidden_TD = self._embed(ids_T)
        angles = tuple(part[0] for part in self._rotary(hidden_TD[None], position_ids=positions_T[None]))
        last = len(self._layers) - 1
        for index in range(last + 1):
            hidden_TD = self._layer(index, hidden_TD, angles, attend, wanted_N if index == last else None)
        normed: Tensor = self._norm(hidden_TD)
        return normed

    def _layer(self, index: int, hidden_TD: Tensor, angles: Any, attend: Attend, wanted_N: Tensor | None) -> Tensor:
        layer = self._layers[index]
        attention, normed_TD = layer.self_attn, layer.input_layernorm(hidden_TD)
        key = self._heads(linear(attention.k_proj, normed_TD), self._num_key_heads, getattr(attention, "k_norm", None))
        value = self._heads(linear(attention.v_proj, normed_TD), self._num_key_heads, None)
        key = _rotated(key, *angles).to(value.dtype)  # under autocast the angles are float32
        if wanted_N is not None:
            hidden_TD, normed_TD = hidden_TD[wanted_N], normed_TD[wanted_N]
            angles = tuple(part[wanted_N] for part in angles)
        query = self._heads(linear(attention.q_proj, normed_TD), self._num_heads, getattr(attention, "q_norm", None))
        query = (_rotated(query, *angles) * attention.scaling).to(value.dtype)
        output = attend(index, query, key, value)
        hidden_TD = hidden_TD + linear(attention.o_proj, output.flatten(1))
        mlp, normed_TD = layer.mlp, layer.post_attention_layernorm(hidden_TD)
        gated = mlp.act_fn(linear(mlp.gate_proj, normed_TD)) * linear(mlp.up_proj, normed_TD)
        return hidden_TD + linear(mlp.down_proj, gated)

    def _heads(self, projected_TD: Tensor, num_heads: int, norm: Any) -> Tensor:
        heads = projected_TD.view(-1, num_heads, self._width)
        found: Tensor = heads if norm is None else norm(heads)
        return found


class Layout(NamedTuple):
    """Where new tokens go: row, number among the row's new ones and position of each of the T.

    num_new: Q, of the row that gets most. longest: tokens of the longest row with them. is_even: whether every row gets
    Q. hidden_NQS: true where a new token must not look; None: all that is there is seen.
    """

    row_T: Tensor
    column_T: Tensor
    position_T: Tensor
    num_new: int
    longest: int
    is_even: bool
    hidden_NQS: Tensor | None


class Slots:
    """Keys and values of rows that write: row n in slot n, from position 0 on; a slot beyond `lengths` is free.

    Attributes:
        lengths: Tokens that each row holds; lowering one forgets the row's last tokens.
    """

    def __init__(self, num_layers: int, num_key_heads: int, width: int) -> None:
        self.lengths: list[int] = []
        self._shape = (num_key_heads, width)
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._num_layers = num_layers

    @property
    def room(self) -> tuple[int, int]:
        """Rows, and tokens of each, that fit without a larger place."""
        return (self._keys[0].shape[0], self._keys[0].shape[2]) if self._keys else (0, 0)

    def add(self, parts: Sequence[Kept]) -> None:
        """One more row that goes on from these parts, one after another."""
        row, num_tokens = len(self.lengths), sum(part.num_tokens for part in parts)
        self.lengths.append(num_tokens)
        key = parts[0].layers[0][0]
        self._reserve(row + 1, num_tokens, key.dtype, key.device)
        for layer in range(self._num_layers):
            at = 0
            for part in parts:
                end = at + part.num_tokens
                for room, kept_SGE in zip(self._of(layer), part.layers[layer], strict=True):
                    room[row, :, at:end] = kept_SGE.transpose(0, 1)
                at = end

    def remove(self, row: int) -> None:
        """Free a slot; the last row moves into it."""
        last = len(self.lengths) - 1
        length = self.lengths.pop()
        if row != last:
            self.lengths[row] = length
            for rooms in (self._keys, self._values):
                for room in rooms:
                    room[row, :, :length] = room[last, :, :length]

    def make_room(self, num_new: Sequence[int], device: torch.device) -> Layout:
        """Let each row grow by so many tokens, and say where they go."""
        longest = max(length + new for length, new in zip(self.lengths, num_new, strict=True))
        most = max(num_new)
        self._reserve(len(self.lengths), longest, self._keys[0].dtype, device)
        rows = [row for row, new in enumerate(num_new) for _ in range(new)]
        columns = [column for new in num_new for column in range(new)]
        positions = [self.lengths[row] + column for row, column in zip(rows, columns, strict=True)]
        hidden_NQS = None
        if most > 1 or min(self.lengths) != max(self.lengths):
            last_seen_NQ = torch.tensor(self.lengths)[:, None] + torch.arange(most)
            hidden_NQS = (torch.arange(longest) > last_seen_NQ[..., None]).to(device)
        self.lengths = [length + new for length, new in zip(self.lengths, num_new, strict=True)]
        row_T, column_T, position_T = (torch.tensor(part, device=device) for part in (rows, columns, positions))
        return Layout(row_T, column_T, position_T, most, longest, min(num_new) == most, hidden_NQS)

    def put(self, layer: int, layout: Layout, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values (T, G, E), and give all that the rows hold, (N, G, S, E)."""
        for room, new in zip(self._of(layer), (key, value), strict=True):
            room[layout.row_T, :, layout.position_T] = new
        keys, values = self._of(layer)
        num_rows = len(self.lengths)
        return keys[:num_rows, :, : layout.longest], values[:num_rows, :, : layout.longest]

    def _of(self, layer: int) -> tuple[Tensor, Tensor]:
        return self._keys[layer], self._values[layer]

    def _reserve(self, num_rows: int, num_tokens: int, dtype: torch.dtype, device: torch.device) -> None:
        has_rows, has_tokens = self.room
        if num_rows <= has_rows and num_tokens <= has_tokens:
            return
        rows = has_rows if num_rows <= has_rows else max(num_rows, min(2 * has_rows, 64))
        tokens = max(has_tokens, -(-num_tokens // _STEP_TOKENS) * _STEP_TOKENS)
        num_key_heads, width = self._shape
        for rooms in (self._keys, self._values):
            earlier = list(rooms)
            rooms[:] = [
                torch.zeros((rows, num_key_heads, tokens, width), dtype=dtype, device=device)
                for _ in range(self._num_layers)
            ]
            for old, new in zip(earlier, rooms, strict=False):
                new[: old.shape[0], :, : old.shape[2]] = old


def require_decoder(language_model: nn.Module) -> None:
    """Refuse a model that `Decoder` can't read.

    Raises:
        ModelError: Its architecture does more than the plain layers.
    """
    base = base_of(language_model)
    was_training = base.training
    base.eval()
    is_read = can_read(language_model)
    base.train(was_training)
    if not is_read:
        raise ModelError(
            f"model.tuning: activated needs a backbone of the kinds {', '.join(PLAIN)} without a sliding window; got "
            f"{base.config.model_type}. Choose lora."
        )


@torch.inference_mode()
def can_read(language_model: nn.Module) -> bool:
    """Whether `Decoder` gives what the stock forward gives, by the architecture and by trying it on a few ids."""
    base = base_of(language_model)
    config = base.config
    layer_types = getattr(config, "layer_types", None) or ()
    if (
        config.model_type not in PLAIN
        or any(kind != "full_attention" for kind in layer_types)
        or (config.model_type == "mistral" and config.sliding_window is not None)
        or getattr(config, "rope_parameters", {}).get("rope_type") not in _ROPE
        or base.training
    ):
        return False
    ids = [index % config.vocab_size for index in range(1, 2 * _PROBE)]
    decoder = Decoder(language_model)
    found_ND, kept = decoder.read([ids[:_PROBE], ids], keeps=True)
    slots = decoder.new_slots()
    slots.add(kept[:1])
    found_ND = torch.cat([found_ND, decoder.write(slots, [ids[_PROBE:]])])
    stock_LD = body_of(language_model)(
        input_ids=torch.tensor([ids], device=decoder.device), use_cache=False
    ).last_hidden_state[0]
    wanted_ND = torch.cat([stock_LD[[_PROBE - 1, -1]], stock_LD[_PROBE:]])
    tolerance = 1e-4 if found_ND.dtype == torch.float32 else 0.05
    return torch.allclose(
        found_ND.float(), wanted_ND.float(), rtol=tolerance, atol=tolerance * float(wanted_ND.abs().max() + 1)
    )


def _rotated(heads_THE: Tensor, cos_TE: Tensor, sin_TE: Tensor) -> Tensor:
    half = heads_THE.shape[-1] // 2
    turned = torch.cat([-heads_THE[..., half:], heads_THE[..., :half]], dim=-1)
    return heads_THE * cos_TE[:, None] + turned * sin_TE[:, None]


def _spans(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Where pieces of these lengths begin and end, one after another."""
    ends = list(accumulate(lengths))
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _attention(query_THE: Tensor, key_SGE: Tensor, value_SGE: Tensor) -> Tensor:
    """(T, H, E): the last T of S tokens, each seeing itself and what comes before; the queries are scaled already."""
    query, key, value = (part.transpose(0, 1)[None] for part in (query_THE, key_SGE, value_SGE))
    num_queries, num_keys = len(query_THE), len(key_SGE)
    if num_queries > 1 and query.dtype == torch.bfloat16 and query.device.type == "cpu":
        return blocked(query, key, value)[0].transpose(0, 1)
    mask = None
    if 1 < num_queries < num_keys:
        mask = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device).tril(num_keys - num_queries)
    output = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=1 < num_queries == num_keys,
        scale=1.0,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output[0].transpose(0, 1)


def _of_slots(query_NQHE: Tensor, key_NGSE: Tensor, value_NGSE: Tensor, hidden_NQS: Tensor | None) -> Tensor:
    """Attention of each slot's new tokens to all that it holds, (N * Q, H, E)."""
    num_rows, num_new, num_heads, _ = query_NQHE.shape
    _, num_key_heads, num_keys, width = key_NGSE.shape
    query = query_NQHE.view(num_rows, num_new, num_key_heads, -1, width).permute(0, 2, 3, 1, 4)  # N, G, R, Q, E
    logits = torch.bmm(query.reshape(num_rows * num_key_heads, -1, width), key_NGSE.flatten(0, 1).transpose(1, 2))
    logits = logits.view(*query.shape[:4], num_keys)
    if hidden_NQS is not None:
        logits = logits.masked_fill(hidden_NQS[:, None, None], torch.finfo(logits.dtype).min)
    probs = logits.float().softmax(-1).to(query.dtype)
    output = torch.bmm(probs.view(num_rows * num_key_heads, -1, num_keys), value_NGSE.flatten(0, 1))
    return output.view(*query.shape).permute(0, 3, 1, 2, 4).reshape(num_rows * num_new, num_heads, width)
