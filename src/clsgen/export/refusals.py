"""What can't be said in another tool's form, found before anything is written."""

from __future__ import annotations

from clsgen.errors import ConfigError, ModelError
from clsgen.model import backbone
from clsgen.model.checkpoint import Bundle


def check_mergeable(bundle: Bundle) -> None:
    """Whether the adapter can be added into weights of a plain type.

    Raises:
        ConfigError: An activated adapter, or a base in 4 bits.
    """
    if bundle.model.tuning == "activated":
        raise ConfigError(
            "export: the adapter must act on every token; an activated one acts on the last ones alone, which no stock "
            "model does. Serve it with clsgen, or train with model.tuning: lora."
        )
    if getattr(backbone.base_of(bundle.model.language_model), "is_quantized", False):
        raise ConfigError(
            "export: the base must be in float32 or bfloat16; this one is in 4 bits, and rounding merged weights to 4 "
            "bits changes what the model says. Train with model.tuning: lora."
        )


def check_linear(bundle: Bundle) -> None:
    """Whether class probabilities are a softmax of logits that are linear in the last hidden state.

    Raises:
        ConfigError: An isotonic calibrator.
    """
    if not bundle.calibrator.is_foldable:
        raise ConfigError(
            "export: the calibrator must be slopes and biases; isotonic curves are no weights. Calibrate again: "
            "clsgen calibrate RUN --method vector"
        )


def check_uncapped(bundle: Bundle) -> None:
    """Whether the output layer's logits leave as they are computed.

    Raises:
        ModelError: They are squeezed, as Gemma 2's are.
    """
    config = backbone.base_of(bundle.model.language_model).config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    if cap is not None:
        raise ModelError(
            f"export: vocabulary logits must leave the model as they are computed; this one squeezes them into "
            f"(-{cap:g}, {cap:g}), and class logits with them. Use --format seqcls and --format causal-lm."
        )
