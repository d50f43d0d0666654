"""Convolutional baseline: Kim (2014, arXiv 1408.5882) over words, from scratch.

Shapes: B examples, L words (padded), E embedding, F filters, W words of a window, C classes.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from clsgen.baselines.rows import label_indices
from clsgen.types import Example, TaskSpec

DROPOUT = 0.5
LEARNING_RATE = 1e-3
BATCH_SIZE = 32
MAX_WORDS = 1000
MAX_EPOCHS = 20
PATIENCE_EPOCHS = 3

PAD, UNKNOWN, SEPARATOR = 0, 1, 2
NUM_RESERVED = 3


class CnnShape(NamedTuple):
    """Width of the embedding, widths of the windows in words, filters of each width."""

    embedding_width: int
    widths: tuple[int, ...]
    num_filters: int


KIM = CnnShape(128, (3, 4, 5), 100)
"""Kim's windows and filters."""
LCD = CnnShape(100, (1, 2, 3), 25)
"""The smaller network that the LCD benchmark is published with."""


class KimCnn(nn.Module):
    """Embedding, convolutions of several widths, the maximum over time, a linear layer."""

    def __init__(self, num_words: int, num_classes: int, shape: CnnShape = KIM) -> None:
        super().__init__()
        self.widths = shape.widths
        self.embedding = nn.Embedding(num_words, shape.embedding_width, padding_idx=PAD)
        nn.init.uniform_(self.embedding.weight, -0.25, 0.25)
        with torch.no_grad():
            self.embedding.weight[PAD] = 0
        self.convolutions = nn.ModuleList(
            nn.Conv1d(shape.embedding_width, shape.num_filters, width) for width in shape.widths
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.output = nn.Linear(shape.num_filters * len(shape.widths), num_classes)

    def forward(self, words_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Class logits (B, C). Windows that reach into the padding take no part in the maximum.

        Args:
            words_BL: Word ids, padded on the right with `PAD`; L is at least the largest width.
            lengths_B: Words of each row; a row shorter than a width keeps its first window.
        """
        with torch.no_grad():
            embedded_BEL = self.embedding(words_BL).transpose(1, 2).contiguous()
        pooled = [
            self._pool(convolution, words_BL, embedded_BEL, lengths_B).relu() for convolution in self.convolutions
        ]
        logits_BC: Tensor = self.output(self.dropout(torch.cat(pooled, dim=1)))
        return logits_BC

    def _pool(self, convolution: nn.Module, words_BL: Tensor, embedded_BEL: Tensor, lengths_B: Tensor) -> Tensor:
        """Largest response of each filter (B, F).

        The maximum passes its gradient to one window a filter. So the windows are searched without a gradient, and
        the winner alone is computed with one: the same numbers at a quarter of the time.
        """
        assert isinstance(convolution, nn.Conv1d)
        assert convolution.bias is not None
        (width,) = convolution.kernel_size
        with torch.no_grad():
            responses_BFL = convolution(embedded_BEL)
            num_windows_B = (lengths_B - width + 1).clamp(min=1)
            is_padding_BL = torch.arange(responses_BFL.shape[2]) >= num_windows_B[:, None]
            first_BF = responses_BFL.masked_fill_(is_padding_BL[:, None], -torch.inf).argmax(dim=2)
        positions_BFW = first_BF[:, :, None] + torch.arange(width)
        rows_B11 = torch.arange(len(words_BL))[:, None, None]
        winners_BFWE = self.embedding(words_BL[rows_B11, positions_BFW])
        return torch.einsum("bfwe,few->bf", winners_BFWE, convolution.weight) + convolution.bias


@dataclass(frozen=True, slots=True)
class CnnBaseline:
    """A fitted convolutional classifier.

    Attributes:
        network: In evaluation mode.
        vocabulary: Word -> id, from the train rows.
        num_epochs: Epochs whose weights were kept.
        validation_log_losses: Mean log loss on the validation rows after each epoch, in nats a row.
    """

    network: KimCnn
    vocabulary: dict[str, int] = field(repr=False)
    num_epochs: int
    validation_log_losses: tuple[float, ...]

    def logits(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """Class logits before calibration, (N, C) float64; N may be 0."""
        rows = [_encode(example, self.vocabulary) for example in examples]
        return _logits(self.network, rows).double().numpy()

    def probs(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """Probabilities before calibration, (N, C) float64; rows sum to 1."""
        probs_NC: NDArray[np.float64] = softmax(self.logits(examples), axis=1)
        return probs_NC


def fit_cnn(
    train: Sequence[Example], validation: Sequence[Example], spec: TaskSpec, *, seed: int, shape: CnnShape = KIM
) -> CnnBaseline:
    """Convolutional classifier of the train rows, stopped early on the validation rows.

    Args:
        train: Labelled rows, every class among them; words that occur twice in them are the vocabulary.
        validation: Labelled rows; the epoch with their least log loss is kept.
        spec: The task.
        seed: Of initialisation, order and dropout. The caller's own random state is left as it was.
        shape: Of the network.

    Returns:
        The fitted baseline.

    Raises:
        DataError: Rows that `label_indices` refuses.
    """
    train_labels = torch.from_numpy(label_indices(train, spec, role="train"))
    validation_labels = torch.from_numpy(label_indices(validation, spec, role="validation"))
    vocabulary = _build_vocabulary(train)
    train_rows = [_encode(example, vocabulary) for example in train]
    validation_rows = [_encode(example, vocabulary) for example in validation]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = KimCnn(NUM_RESERVED + len(vocabulary), spec.num_labels, shape)
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
        log_losses: list[float] = []
        best = copy.deepcopy(network.state_dict())
        for _ in range(MAX_EPOCHS):
            _train_epoch(network, optimizer, train_rows, train_labels)
            log_losses.append(F.cross_entropy(_logits(network, validation_rows), validation_labels).item())
            if log_losses[-1] == min(log_losses):
                best = copy.deepcopy(network.state_dict())
            if len(log_losses) - 1 - int(np.argmin(log_losses)) >= PATIENCE_EPOCHS:
                break
    network.load_state_dict(best)
    return CnnBaseline(network.eval(), vocabulary, int(np.argmin(log_losses)) + 1, tuple(log_losses))


def _train_epoch(network: KimCnn, optimizer: torch.optim.Optimizer, rows: list[list[int]], labels: Tensor) -> None:
    """One pass over the rows in a random order."""
    network.train()
    for chosen in torch.split(torch.randperm(len(rows)), BATCH_SIZE):
        loss = F.cross_entropy(
            network(*_pad([rows[index] for index in chosen.tolist()], network.widths)), labels[chosen]
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _logits(network: KimCnn, rows: list[list[int]]) -> Tensor:
    """Class logits (N, C) without dropout, in batches of rows in their order."""
    network.eval()
    batches = [rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]
    with torch.inference_mode():
        outputs = [network(*_pad(batch, network.widths)) for batch in batches]
        return torch.cat(outputs) if outputs else torch.zeros(0, network.output.out_features)


def _words(text: str) -> list[str]:
    """Lower-case words and single marks of punctuation."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def _build_vocabulary(train: Sequence[Example]) -> dict[str, int]:
    """Words that occur twice or more in the train documents and questions, most frequent first."""
    counts: Counter[str] = Counter()
    for example in train:
        counts.update(_words(example.document))
        counts.update(_words(example.question))
    kept = [word for word, count in counts.most_common() if count >= 2]
    return {word: index for index, word in enumerate(kept, start=NUM_RESERVED)}


def _encode(example: Example, vocabulary: dict[str, int]) -> list[int]:
    """Word ids of document, separator, question. Beyond `MAX_WORDS` the middle of the document is left out."""
    document = [vocabulary.get(word, UNKNOWN) for word in _words(example.document)]
    question = [vocabulary.get(word, UNKNOWN) for word in _words(example.question)]
    room = max(0, MAX_WORDS - 1 - len(question))
    if len(document) > room:
        num_tail = room // 2
        document = document[: room - num_tail] + document[len(document) - num_tail :]
    return [*document, SEPARATOR, *question]


def _pad(rows: list[list[int]], widths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Word ids (B, L) padded on the right, and lengths (B,)."""
    lengths_B = torch.tensor([len(row) for row in rows])
    width = max(*widths, int(lengths_B.max()))
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows]), lengths_B
