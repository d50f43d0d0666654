"""Two heads on one backbone. B examples, L tokens, D hidden, C classes, V vocabulary, N supervised positions."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from threading import RLock
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clsgen.model import adapter, backbone
from clsgen.model.decoder import Decoder, Kept, require_decoder
from clsgen.model.head import ClassHead
from clsgen.model.losses import LossSum, token_loss


class DualOutput(NamedTuple):
    """What a forward gives.

    class_logits_BC: float32. token_loss: of the targets, where they were given; else None. token_logits_NV: float32;
    None where the targets were given and the logits of all would be too many at once. base_logits_NV: the frozen
    base's, or None.
    """

    class_logits_BC: Tensor
    token_logits_NV: Tensor | None
    base_logits_NV: Tensor | None
    token_loss: LossSum | None = None


_MAX_LOGITS = 2**24
"""Vocabulary logits that the loss of explanation tokens holds at a time, where it is taken in parts."""

_TURN = RLock()
"""Held by the thread that asks an activated model: its adapter is switched off and on for all threads at once."""


class DualModel(nn.Module):
    """A stock causal language model and a class head that reads the last prompt token.

    Attributes:
        language_model: The stock model, or PEFT's wrapper around it.
        head: The class head.
        tuning: full, lora, qlora, activated or head_only.
        starts_at: activated: the adapter acts from the "document_end" or from the "decision" position on, and the
            frozen base reads what comes before; None: there is no such part.
        is_packed: Whether batches are read without padding by `Decoder`, the last layer at the positions that a loss
            needs alone, and a document once that several rows are about; else, and by default, by the stock forward.
    """

    def __init__(
        self, language_model: nn.Module, head: ClassHead, *, tuning: str, starts_at: str | None = None
    ) -> None:
        super().__init__()
        if tuning == "activated":
            require_decoder(language_model)
        self.starts_at = starts_at if tuning == "activated" else None
        self.language_model = language_model
        self.head = head
        self.tuning = tuning
        self.is_packed = False
        self._reference: tuple[nn.Module, ...] = ()  # in a tuple: no submodule, so never saved or trained
        if tuning == "head_only":
            language_model.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the head's weights are."""
        return self.head.weight.device

    def turn(self) -> AbstractContextManager[object]:
        """What a thread holds while it asks this model; threads that ask a model without an adapter to switch all may.

        A lock of the process and not of the model, which is copied and pickled.
        """
        return _TURN if self.tuning == "activated" else nullcontext()

    def hidden(
        self, input_ids_BL: Tensor, attention_mask_BL: Tensor, position_ids_BL: Tensor, cache: Any = None
    ) -> Tensor:
        """Last hidden states (B, L, D), final norm included.

        Args:
            input_ids_BL: Ids.
            attention_mask_BL: 1 where real; with a cache (B, past + L).
            position_ids_BL: 0-based positions, counted without padding.
            cache: A transformers cache that is filled in place; None: nothing is kept.
        """
        output = backbone.body_of(self.language_model)(
            input_ids=input_ids_BL,
            attention_mask=attention_mask_BL,
            position_ids=position_ids_BL,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        hidden_BLD: Tensor = output.last_hidden_state
        return hidden_BLD

    def starts_of(
        self, prompts: Sequence[Sequence[int]], document_ends: Sequence[int], *, is_shared: bool = False
    ) -> list[int]:
        """How many ids of each prompt are read apart from the rest, 0 for none.

        They are what the frozen base reads before an activated adapter acts; of other models, a document that several
        of the prompts are about.

        Args:
            prompts: Ids, the decision position last.
            document_ends: Ids up to the document's end; 0 where that is not known.
            is_shared: Whether others may be about the same documents, so that each is read apart.
        """
        if self.starts_at is None:
            documents = [tuple(prompt[:end]) for prompt, end in zip(prompts, document_ends, strict=True)]
            asked = Counter(documents)
            return [len(document) if is_shared or asked[document] > 1 else 0 for document in documents]
        if min(document_ends) < 1:
            raise ValueError("an activated adapter needs to know where the document ends")
        return list(document_ends) if self.starts_at == "document_end" else [len(prompt) - 1 for prompt in prompts]

    def read_before(self, rows: Set[tuple[int, ...]]) -> dict[tuple[int, ...], Kept]:
        """Keys and values of rows that come before the rest of prompts, by their ids.

        What comes before an activated adapter acts is read by the frozen base and without a graph.
        """
        if not rows:
            return {}
        ordered, decoder = sorted(rows), Decoder(self.language_model)
        if self.starts_at is None:
            return dict(zip(ordered, decoder.read(ordered, keeps=True)[1], strict=True))
        with torch.no_grad(), adapter.adapter_off(self.language_model):
            return dict(zip(ordered, decoder.read(ordered, keeps=True)[1], strict=True))

    def fold_adapter(self) -> None:
        """Add the adapter into the weights for asking, where it acts on every token."""
        if self.tuning != "activated":
            adapter.fold_adapter(self.language_model)

    def vocabulary_logits(self, hidden_ND: Tensor) -> Tensor:
        """Vocabulary logits (N, V), float32, at the positions given and nowhere else."""
        return backbone.project(self.language_model, hidden_ND)

    def forward(
        self,
        input_ids_BL: Tensor,
        attention_mask_BL: Tensor,
        position_ids_BL: Tensor,
        decision_B: Tensor,
        document_end_B: Tensor,
        target_row_N: Tensor,
        target_column_N: Tensor,
        target_N: Tensor | None = None,
        with_base: bool = False,
    ) -> DualOutput:
        """One forward for both heads (the arguments are those of `data.batch.Batch`).

        Args:
            input_ids_BL: Prompt and explanation ids, right-padded.
            attention_mask_BL: 1 where real.
            position_ids_BL: 0-based positions.
            decision_B: Column of the last prompt token.
            document_end_B: Column after the document.
            target_row_N: Row of each supervised position.
            target_column_N: Column of each supervised position.
            target_N: Id that each must predict, for the loss; None: only logits are wanted.
            with_base: Also compute the frozen base's logits at the supervised positions, without a graph.
        """
        if self.starts_at is None and not self.is_packed:
            hidden_BLD = self.hidden(input_ids_BL, attention_mask_BL, position_ids_BL)
            rows_B = torch.arange(len(decision_B), device=decision_B.device)
            decision_BD, target_ND = hidden_BLD[rows_B, decision_B], hidden_BLD[target_row_N, target_column_N]
        else:
            lengths_B = attention_mask_BL.sum(dim=1)
            rows = [ids[:length] for ids, length in zip(input_ids_BL.tolist(), lengths_B.tolist(), strict=True)]
            hidden_TD = self._read_packed(rows, decision_B.tolist(), document_end_B.tolist())
            # from each row's decision position on, row after row
            num_B = lengths_B - decision_B
            first_B = num_B.cumsum(0) - num_B
            decision_BD = hidden_TD[first_B]
            target_ND = hidden_TD[first_B[target_row_N] + target_column_N - decision_B[target_row_N]]
        class_logits_BC = self.head(decision_BD)
        if target_N is None and not len(target_row_N):  # the vocabulary is left alone
            return DualOutput(class_logits_BC, None, None)
        if target_N is not None and not with_base and self._is_large(target_ND):
            return DualOutput(class_logits_BC, None, None, self._token_loss(target_ND, target_N))
        token_logits_NV = self.vocabulary_logits(target_ND)
        base_logits_NV = None
        if with_base:
            base_logits_NV = self._base_logits(
                lambda model: backbone.body_of(model)(
                    input_ids=input_ids_BL,
                    attention_mask=attention_mask_BL,
                    position_ids=position_ids_BL,
                    use_cache=False,
                ).last_hidden_state[target_row_N, target_column_N]
            )
        loss = None if target_N is None else token_loss(token_logits_NV, target_N)
        return DualOutput(class_logits_BC, token_logits_NV, base_logits_NV, loss)

    def _is_large(self, target_ND: Tensor) -> bool:
        return len(target_ND) * backbone.vocabulary_size(self.language_model) > 2 * _MAX_LOGITS

    def _token_loss(self, target_ND: Tensor, target_N: Tensor) -> LossSum:
        """The loss in parts, whose logits are computed anew in the backward: never those of all positions at once."""
        size = max(1, _MAX_LOGITS // backbone.vocabulary_size(self.language_model))

        def of_part(hidden_ND: Tensor, ids_N: Tensor) -> Tensor:
            return token_loss(self.vocabulary_logits(hidden_ND), ids_N).total

        parts = list(zip(torch.split(target_ND, size), torch.split(target_N, size), strict=True))
        totals = [checkpoint(of_part, hidden_ND, ids_N, use_reentrant=False) for hidden_ND, ids_N in parts]
        return LossSum(torch.stack(totals).sum(), torch.tensor(len(target_N), device=target_N.device))

    def _read_packed(
        self, rows: Sequence[Sequence[int]], decisions: Sequence[int], document_ends: Sequence[int]
    ) -> Tensor:
        """Hidden states from the decision positions on (T, D), with a graph."""
        prompts = [row[: decision + 1] for row, decision in zip(rows, decisions, strict=True)]
        starts = self.starts_of(prompts, document_ends)
        heads = [tuple(row[:start]) for row, start in zip(rows, starts, strict=True)]
        known = self.read_before({head for head in heads if head})
        hidden_TD, _ = Decoder(self.language_model).read(
            [row[start:] for row, start in zip(rows, starts, strict=True)],
            keeps=False,
            after=[known.get(head) for head in heads],
            num_wanted=[len(row) - decision for row, decision in zip(rows, decisions, strict=True)],
        )
        return hidden_TD

    @torch.no_grad()
    def _base_logits(self, hidden_of: Callable[[nn.Module], Tensor]) -> Tensor:
        """Logits of the base: the adapter switched off, or the frozen second copy."""
        if self._reference:
            return backbone.project(self._reference[0], hidden_of(self._reference[0]))
        with adapter.adapter_off(self.language_model):
            return backbone.project(self.language_model, hidden_of(self.language_model))

    def keep_reference(self) -> int:
        """Keep a frozen copy of the full-tuned backbone as it is now.

        Returns:
            Bytes that the copy takes.
        """
        reference = copy.deepcopy(self.language_model).eval().requires_grad_(False)
        self._reference = (reference,)
        return sum(parameter.numel() * parameter.element_size() for parameter in reference.parameters())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DualModel:
        """Move the reference along with everything else."""
        for reference in self._reference:
            reference._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward; embeddings are made to carry a gradient so that adapters get one."""
        base = backbone.base_of(self.language_model)
        base.activation_checkpointing_enable({"use_reentrant": False})
        if self.tuning != "full":
            base.enable_input_require_grads()

    def trained_state(self) -> dict[str, Tensor]:
        """Every tensor that training moves, by name; tied weights once."""
        seen: set[int] = set()
        state = {}
        for name, parameter in self.named_parameters(remove_duplicate=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                state[name] = parameter.detach()
        return state

    @torch.no_grad()
    def load_trained_state(self, state: Mapping[str, Tensor], *, where: str) -> None:
        """Copy what `trained_state` gave back into place.

        Raises:
            ArtifactError: A missing, unknown, misshapen or non-finite tensor.
        """
        current = self.trained_state()
        backbone.check_tensors(where, state, current)
        for name, tensor in current.items():
            tensor.copy_(state[name])

    def num_parameters(self, *, trained_only: bool = False) -> int:
        """Number of parameters, tied ones counted once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not trained_only)
