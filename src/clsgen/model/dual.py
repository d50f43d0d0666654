"""Two heads on one backbone. B examples, L tokens, D hidden, C classes, V vocabulary, N supervised positions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clsgen.model import backbone
from clsgen.model.head import ClassHead


class DualOutput(NamedTuple):
    """class_logits_BC float32. token_logits_NV float32. base_logits_NV: the frozen base's, or None."""

    class_logits_BC: Tensor
    token_logits_NV: Tensor
    base_logits_NV: Tensor | None


class DualModel(nn.Module):
    """A stock causal language model and a class head that reads the last prompt token.

    Attributes:
        language_model: The stock model, or PEFT's wrapper around it.
        head: The class head.
        tuning: full, lora, qlora or head_only.
    """

    def __init__(self, language_model: nn.Module, head: ClassHead, *, tuning: str) -> None:
        super().__init__()
        self.language_model = language_model
        self.head = head
        self.tuning = tuning
        self._reference: tuple[nn.Module, ...] = ()  # in a tuple: no submodule, so never saved or trained
        if tuning == "head_only":
            language_model.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the head's weights are."""
        return self.head.weight.device

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

    def vocabulary_logits(self, hidden_ND: Tensor) -> Tensor:
        """Vocabulary logits (N, V), float32, at the positions given and nowhere else."""
        return backbone.project(self.language_model, hidden_ND)

    def forward(
        self,
        input_ids_BL: Tensor,
        attention_mask_BL: Tensor,
        position_ids_BL: Tensor,
        decision_B: Tensor,
        target_row_N: Tensor,
        target_column_N: Tensor,
        with_base: bool = False,
    ) -> DualOutput:
        """One forward for both heads (the arguments are those of `data.batch.Batch`).

        Args:
            input_ids_BL: Prompt and explanation ids, right-padded.
            attention_mask_BL: 1 where real.
            position_ids_BL: 0-based positions.
            decision_B: Column of the last prompt token.
            target_row_N: Row of each supervised position.
            target_column_N: Column of each supervised position.
            with_base: Also compute the frozen base's logits at the supervised positions, without a graph.
        """
        hidden_BLD = self.hidden(input_ids_BL, attention_mask_BL, position_ids_BL)
        rows_B = torch.arange(len(decision_B), device=decision_B.device)
        class_logits_BC = self.head(hidden_BLD[rows_B, decision_B])
        token_logits_NV = self.vocabulary_logits(hidden_BLD[target_row_N, target_column_N])
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
        return DualOutput(class_logits_BC, token_logits_NV, base_logits_NV)

    @torch.no_grad()
    def _base_logits(self, hidden_of: Callable[[nn.Module], Tensor]) -> Tensor:
        """Logits of the base: the adapter switched off, or the frozen second copy."""
        if self._reference:
            return backbone.project(self._reference[0], hidden_of(self._reference[0]))
        with backbone.adapter_off(self.language_model):
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
            if parameter.requires_grad and parameter.data_ptr() not in seen:
                seen.add(parameter.data_ptr())
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
