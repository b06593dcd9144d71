"""Rows of tokens packed into one: no padding, and what rows share at their beginning is computed once.

Rows of a batch often begin alike: the same system prompt, the same tool document. Under causal attention the
hidden states of such a beginning do not depend on what follows, so that one copy of it serves every row,
forward and backward. The rows become a tree of segments laid end to end; the linear layers see one long row,
and attention looks, from each segment, at the segments above it and at itself. The arithmetic is that of the
padded batch, in another order of summation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from adaptman.errors import ModelError

Keep = Callable[[int, Tensor, Tensor], None]

# A shared beginning shorter than this costs more in bookkeeping than it saves.
_LEAST_SHARED = 16
# Entries of a mask beyond which what is above a long segment is rather asked along with it.
_LARGE_MASK = 2**20

# Tables of positions in GPT-2 and its kin, in OPT and in GPT; rotary ones have no end.
_LEARNED_POSITIONS = ("wpe", "embed_positions", "positions_embed")


class Segment(NamedTuple):
    """A stretch of tokens that one or more rows go through, and the segments that come before it in them."""

    length: int
    above: tuple[int, ...]
    before: int
    """Tokens of the segments above."""

    @property
    def takes_along(self) -> bool:
        """Whether what is above is asked once more with the segment, so that plain causal attention serves.

        A mask has length · (before + length) entries: of one long row that is more than all its states.
        """
        return self.before <= self.length and self.length * (self.before + self.length) > _LARGE_MASK


@dataclass(frozen=True)
class Packed:
    """Rows as one. T is the number of packed tokens."""

    ids_T: Tensor
    positions_T: Tensor
    """Each token's position in its row."""
    segments: tuple[Segment, ...]
    rows: tuple[Tensor, ...]
    """For each row, the packed index of each of its tokens."""

    def masks(self, device: torch.device) -> list[Tensor | None]:
        """What to add to each segment's scores above and in itself: −∞ where it may not look. None where
        that is plain causal attention."""
        return [_mask(segment, device) for segment in self.segments]


def _mask(segment: Segment, device: torch.device) -> Tensor | None:
    if not segment.before or segment.takes_along:
        return None
    # As numbers: of booleans every layer would make its own numbers, and keep them for the way back.
    whole = torch.full((segment.length, segment.before + segment.length), float("-inf"), device=device)
    return whole.triu_(segment.before + 1)


def pack(rows: Sequence[Sequence[int]]) -> Packed:
    """Lay `rows` (token ids, none of them empty) end to end, shared beginnings once."""
    order, common = _sorted(rows)
    layout = _Layout([len(rows[row]) for row in order], common)
    starts = [0, *accumulate(segment.length for segment in layout.segments)]
    ids, positions = torch.empty(starts[-1], dtype=torch.long), torch.empty(starts[-1], dtype=torch.long)
    indices: dict[int, Tensor] = {}
    for row, path in zip(order, layout.paths, strict=True):
        index = torch.cat([torch.arange(starts[i], starts[i + 1]) for i in path])
        ids[index] = torch.tensor(rows[row])
        positions[index] = torch.arange(len(rows[row]))
        indices[row] = index
    return Packed(ids, positions, tuple(layout.segments), tuple(indices[row] for row in range(len(rows))))


def budgeted(rows: Sequence[Sequence[int]], budget: int) -> list[list[int]]:
    """Indices of rows that are packed together: neighbours in what they begin with, up to `budget` tokens.

    A pack may hold half as many tokens again as its longest row, so that long rows share their beginning too.
    """
    order, common = _sorted(rows)
    lengths = [len(rows[row]) for row in order]
    first, packs = 0, []
    while first < len(order):
        count = _fitting(lengths[first:], common[first:], budget)
        packs.append(order[first : first + count])
        first += count
    return packs


def _fitting(lengths: Sequence[int], common: Sequence[int], budget: int) -> int:
    """How many of the first rows make a pack, one at least: in steps that double, then halve."""

    def fits(count: int) -> bool:
        if count > len(lengths):
            return False
        # Counted as laid out, since a row more can move where the others part.
        some = lengths[:count]
        return _Layout(some, common[:count]).total <= max(budget, max(some) * 3 // 2)

    count, step = 1, 1
    while fits(count + step):
        count, step = count + step, 2 * step
    while step := step // 2:
        count += step * fits(count + step)
    return count


def _sorted(rows: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Indices of rows, so that those that begin alike are neighbours, and how far each agrees with the one
    before it."""
    order = sorted(range(len(rows)), key=lambda row: tuple(rows[row]))
    return order, [0, *(_in_common(rows[one], rows[other]) for one, other in pairwise(order))]


def _in_common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((depth for depth, (a, b) in pairs if a != b), min(len(one), len(other)))


class _Layout:
    """The tree of segments of sorted rows, from their lengths and how far each agrees with the one before."""

    def __init__(self, lengths: Sequence[int], common: Sequence[int]) -> None:
        self._lengths, self._common = lengths, common
        self.segments: list[Segment] = []
        self.paths: list[tuple[int, ...]] = [()] * len(lengths)
        self._grow()

    @property
    def total(self) -> int:
        """Tokens laid down."""
        return sum(segment.length for segment in self.segments)

    def _grow(self) -> None:
        # Rows that agree up to `begin`, and the segments that hold them until there; from the root.
        pending: list[tuple[range, int, tuple[int, ...]]] = [(range(len(self._lengths)), 0, ())]
        while pending:
            group, begin, above = pending.pop()
            shared = min(self._common[group.start + 1 : group.stop], default=self._lengths[group.start])
            # A row that ends where the others go on needs a segment there, however short.
            ends = self._lengths[group.start] == shared
            if ends or shared - begin >= _LEAST_SHARED:
                above = self._segment(group, begin, shared, above)
                begin = shared
            pending.extend((part, begin, above) for part in reversed(self._parts(group, shared)))

    def _segment(self, group: range, begin: int, end: int, above: tuple[int, ...]) -> tuple[int, ...]:
        if begin == end:
            return above
        self.segments.append(Segment(end - begin, above, begin))
        path = (*above, len(self.segments) - 1)
        for row in group:
            self.paths[row] = path
        return path

    def _parts(self, group: range, depth: int) -> list[range]:
        """The rows that go on after `depth`, by their next token; sorted, those that end come first."""
        going = [row for row in group if self._lengths[row] > depth]
        starts = [row for row in going if row == going[0] or self._common[row] == depth]
        return [range(one, other) for one, other in pairwise([*starts, group.stop])]


class States(NamedTuple):
    """Last hidden states of some rows, and for each row where its tokens are among them."""

    hidden_TD: Tensor
    rows: tuple[Tensor, ...]


class RowReader:
    """Reads rows with a model without its LM head: packed where the model allows it, else one at a time."""

    def __init__(self, decoder: Any, *, longest: int) -> None:
        self._decoder = decoder
        self._device = next(decoder.parameters()).device
        self._packs = can_pack(decoder, longest=longest)

    def __call__(self, rows: Sequence[Sequence[int]]) -> States:
        """The states of `rows`, none of which is empty; differentiable."""
        if not self._packs:
            return _read_alone(self._decoder, rows)
        packed = pack(rows)
        return States(read_packed(self._decoder, packed), packed.rows)


def predicting(
    read: Callable[[Sequence[Sequence[int]]], States],
    rows: Sequence[Sequence[int]],
    positions: Sequence[Tensor],
    *,
    budget: int,
) -> Iterator[list[tuple[int, Tensor]]]:
    """For each pass, of at most `budget` tokens: the numbers of its rows, each with the hidden states
    [n, hidden] that predict the row's tokens at its `positions` [n]."""
    for indices in budgeted([row[:-1] for row in rows], budget):
        states = read([rows[index][:-1] for index in indices])
        device = states.hidden_TD.device
        where = [states.rows[at][positions[index] - 1].to(device) for at, index in enumerate(indices)]
        yield [(index, states.hidden_TD[one]) for index, one in zip(indices, where, strict=True)]


def read_packed(decoder: Any, packed: Packed, *, keep: Keep | None = None) -> Tensor:
    """Last hidden states, [T, hidden]. `keep` is given each layer's number, keys and values, [G, T, D]."""
    device = next(decoder.parameters()).device
    with attending(decoder, _attend):
        found = decoder(
            input_ids=packed.ids_T[None].to(device),
            position_ids=packed.positions_T[None].to(device),
            use_cache=False,
            packed=packed,
            packed_masks=packed.masks(device),
            keep=keep,
        )
    return found.last_hidden_state[0]  # type: ignore[no-any-return]


def _read_alone(decoder: Any, rows: Sequence[Sequence[int]]) -> States:
    device = next(decoder.parameters()).device
    ids = [torch.tensor([row], device=device) for row in rows]
    found = [decoder(input_ids=row, use_cache=False).last_hidden_state[0] for row in ids]
    return States(torch.cat(found), torch.arange(sum(map(len, rows))).split([len(row) for row in rows]))


def can_pack(decoder: Any, *, longest: int) -> bool:
    """Whether rows of up to `longest` tokens may be packed: by the configuration, and by trying it once.

    Raises:
        ModelError: they cannot be read at all: the model has learned a vector for each of fewer positions.
    """
    _check_positions(decoder, longest)
    if not _may_pack(decoder.config, longest):
        return False
    if decoder not in _AGREES:
        _AGREES[decoder] = _agrees(decoder)
    return _AGREES[decoder]


def _check_positions(decoder: Any, longest: int) -> None:
    most = getattr(decoder.config, "max_position_embeddings", longest)
    if longest <= most:
        return
    tables = [name for name, one in decoder.named_modules() if isinstance(one, torch.nn.Embedding)]
    if any(name.rpartition(".")[2] in _LEARNED_POSITIONS for name in tables):
        raise ModelError(
            f"a row has up to {longest:,} tokens, `{decoder.config.model_type}` has positions for {most:,}",
            hint="shorten the tool documents, the conversations or the answers, or choose another base",
        )


_AGREES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def _agrees(decoder: Any) -> bool:
    """Whether a few packed tokens come out as they do alone: an architecture may go its own ways."""
    beginning = [1 + index % 7 for index in range(_LEAST_SHARED)]
    rows = [[*beginning, 2, 3, 5], [*beginning, 7, 1], [4, 6]]
    with torch.no_grad():
        alone = _read_alone(decoder, rows).hidden_TD
        packed = pack(rows)
        try:
            found = read_packed(decoder, packed)
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return False
    tolerance = 2e-2 * float(alone.abs().max())
    return torch.allclose(found[torch.cat(packed.rows)], alone, rtol=2e-2, atol=tolerance)


def _may_pack(config: Any, longest: int) -> bool:
    """Whether every layer attends to all that came before: in a window only if no row is longer than it."""
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ("full_attention",))
    return kinds <= {"full_attention", "sliding_attention"} and (window or longest) >= longest


@contextmanager
def attending(decoder: Any, attend: Callable[..., tuple[Tensor, None]]) -> Iterator[None]:
    """Within, the model's layers attend by `attend`, which takes the place of transformers' own function."""
    from transformers import AttentionInterface

    name = f"adaptman_{attend.__name__.strip('_')}"
    AttentionInterface.register(name, attend)
    with attending_as(decoder.config, name):
        yield


@contextmanager
def attending_as(config: Any, name: str) -> Iterator[None]:
    """Within, the layers of the model with `config` attend by the function that is registered as `name`."""
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


_HARMLESS = {
    "cache_position",
    "dropout",  # of attention scores: nothing here is trained with it
    "is_causal",
    "output_attentions",
    "position_ids",
    "sliding_window",  # `can_pack` has compared it with the rows
    "use_cache",
}


def check_plain(extras: Mapping[str, Any]) -> None:
    """Refuse attention with something to it that is not known here, such as capped scores or sinks.

    Raises:
        TypeError: a layer asks for more than plain attention; `can_pack` then says no.
    """
    unknown = sorted(name for name, value in extras.items() if value is not None and name not in _HARMLESS)
    if unknown:
        raise TypeError(f"attention with {', '.join(unknown)} is not known here")


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: Packed,
    packed_masks: Sequence[Tensor | None],
    keep: Keep | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of each segment to those above it and to itself.

    query [1, H, T, D]; key and value [1, G, T, D], each serving H / G heads.
    """
    check_plain(kwargs)
    if keep is not None:
        keep(module.layer_idx, key[0], value[0])  # type: ignore[arg-type]
    heads = query.shape[1] // key.shape[1]
    if heads > 1:
        key, value = (part.repeat_interleave(heads, dim=1) for part in (key, value))
    lengths = [segment.length for segment in packed.segments]
    # One split each: slices would each send back a gradient of the whole length.
    queries, keys, values = (part.split(lengths, dim=2) for part in (query, key, value))
    outputs = []
    for index, (segment, mask) in enumerate(zip(packed.segments, packed_masks, strict=True)):
        seen = (*segment.above, index)
        asked = seen if segment.takes_along else (index,)
        found = torch.nn.functional.scaled_dot_product_attention(
            _along(queries, asked),
            _along(keys, seen),
            _along(values, seen),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
        )
        outputs.append(found[:, :, -segment.length :])
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _along(parts: Sequence[Tensor], chosen: Sequence[int]) -> Tensor:
    """Some segments' tokens, one after the other."""
    return parts[chosen[0]] if len(chosen) == 1 else torch.cat([parts[index] for index in chosen], dim=2)
