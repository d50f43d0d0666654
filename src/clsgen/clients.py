"""Class log-probabilities and a text from a stock server, in one request to /v1/completions.

The server holds a folded model (`clsgen export --format folded`): ids that it never writes carry the classes, and this
reads what it says of them as alternatives to its first token. Token ids go out, so the server renders nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import httpx2 as httpx

from clsgen.errors import ClientError

_RETRIED = (408, 425, 429, 500, 502, 503, 504)
_NUM_TRIES = 5
_LONGEST_WAIT_S = 30.0


class Completion(NamedTuple):
    """class_logprobs: of the class ids at the first step, natural logarithms over the whole vocabulary. text: what was
    written. has_ended: whether it ended by itself.
    """

    class_logprobs: tuple[float, ...]
    text: str
    has_ended: bool


class Endpoint(Protocol):
    """A folded model, wherever it runs; what each method gives stands at `FoldedEndpoint`."""

    def read(self, prompt_ids: Sequence[int]) -> tuple[float, ...]:
        """Class log-probabilities after a prompt."""

    def read_and_write(
        self, prompt_ids: Sequence[int], *, max_tokens: int, banned_ids: Sequence[int] = ()
    ) -> Completion:
        """Class log-probabilities after a prompt, and a text."""

    def go_on(self, prompt_ids: Sequence[int], *, max_tokens: int) -> Completion:
        """A text from ids beyond the decision position."""

    def close(self) -> None:
        """Let go of what is open."""


@dataclass(slots=True)
class FoldedEndpoint:
    """A server of a folded model: vLLM, SGLang, llama.cpp or another with /v1/completions.

    Attributes:
        endpoint: Address up to and including /v1.
        model: What the server calls the model.
        class_ids: Ids that carry the classes.
        class_tokens: Their texts, by which some servers name them.
        num_logprobs: Alternatives asked for at a step; most servers give up to 20.
        api_key: Sent as a bearer token; None: none.
        timeout_s: For one request.
    """

    endpoint: str
    model: str
    class_ids: tuple[int, ...]
    class_tokens: tuple[str, ...]
    num_logprobs: int = 20
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 600.0
    _http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        headers = {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}
        limits = httpx.Limits(max_connections=None)
        self._http = httpx.Client(headers=headers, timeout=self.timeout_s, limits=limits, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def read(self, prompt_ids: Sequence[int]) -> tuple[float, ...]:
        """Class log-probabilities after a prompt; nothing is written that counts.

        Args:
            prompt_ids: The prompt, decision position last.

        Raises:
            ClientError: The server can't be reached, refuses, or does not tell the class ids' log-probabilities.
        """
        choice = self._choice(self._body(prompt_ids, 1, ()) | self._wanted())
        found = _alternatives(choice, self.endpoint)
        known = self._of_classes(found)
        if len(known) < len(self.class_ids):
            raise ClientError(
                f"{self.endpoint}: log-probabilities of the {len(self.class_ids)} class ids must be among the "
                f"{len(found)} alternatives told; {len(known)} are. Raise the server's own limit (vLLM: "
                "--max-logprobs), or export again with calibration rows like these."
            )
        return known

    def read_and_write(
        self, prompt_ids: Sequence[int], *, max_tokens: int, banned_ids: Sequence[int] = ()
    ) -> Completion:
        """Let the server read a prompt once: class log-probabilities, and up to so many tokens of text.

        The class ids are the likeliest and must not be written, so they are banned. A server that tells
        log-probabilities as they are after a ban does not tell theirs: class_logprobs is then empty.

        Args:
            prompt_ids: The prompt, decision position last.
            max_tokens: Tokens to write.
            banned_ids: Ids that are not written, besides the class ids.

        Raises:
            ClientError: The server can't be reached, refuses, or tells no log-probabilities at all.
        """
        body = self._body(prompt_ids, max_tokens, (*self.class_ids, *banned_ids)) | self._wanted()
        choice = self._choice(body)
        known = self._of_classes(_alternatives(choice, self.endpoint))
        is_told = len(known) == len(self.class_ids)
        return Completion(known if is_told else (), choice["text"], choice["finish_reason"] == "stop")

    def go_on(self, prompt_ids: Sequence[int], *, max_tokens: int) -> Completion:
        """Let the server write on from ids beyond the decision position; class_logprobs is empty.

        Raises:
            ClientError: The server can't be reached or refuses.
        """
        choice = self._choice(self._body(prompt_ids, max_tokens, self.class_ids))
        return Completion((), choice["text"], choice["finish_reason"] == "stop")

    def _wanted(self) -> dict[str, Any]:
        """VLLM then names every alternative by its id; others leave the second field alone."""
        return {"logprobs": self.num_logprobs, "return_tokens_as_token_ids": True}

    def _of_classes(self, found: Mapping[str, float]) -> tuple[float, ...]:
        """Those that are told, in the order of the labels."""
        names = zip(self.class_ids, self.class_tokens, strict=True)
        logprobs = [found.get(f"token_id:{index}", found.get(token)) for index, token in names]
        return tuple(each for each in logprobs if each is not None)

    def _body(self, prompt_ids: Sequence[int], max_tokens: int, banned_ids: Sequence[int]) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt": list(prompt_ids),
            "max_tokens": max_tokens,
            "temperature": 0,
            "logit_bias": {str(index): -100 for index in banned_ids},
        }

    def _choice(self, body: Mapping[str, Any]) -> Any:
        answer = self._post(body)
        try:
            choice = answer["choices"][0]
            if not isinstance(choice["text"], str):
                raise TypeError("text is no text")
            return choice | {"finish_reason": choice["finish_reason"]}
        except (KeyError, IndexError, TypeError) as error:
            raise ClientError(
                f"{self.endpoint}: the answer must be a completion; {type(error).__name__}: {error}. The address must "
                "be that of an OpenAI-compatible server, up to and including /v1."
            ) from error

    def _post(self, body: Mapping[str, Any]) -> Any:
        url = f"{self.endpoint.rstrip('/')}/completions"
        for number in range(_NUM_TRIES):
            is_last = number == _NUM_TRIES - 1
            try:
                answer = self._http.post(url, json=body)
            except httpx.TransportError as error:
                if is_last:
                    raise ClientError(
                        f"{self.endpoint}: the server must be reachable; {error or type(error).__name__}. Start it, or "
                        "mend the address; the same `clsgen predict` then goes on where it stopped."
                    ) from error
                time.sleep(2**number / 4)
                continue
            if answer.status_code in _RETRIED and not is_last:
                time.sleep(_wait(answer, number))
                continue
            return self._read(answer)
        raise AssertionError("unreachable")

    def _read(self, answer: httpx.Response) -> Any:
        if answer.status_code != 200:
            raise ClientError(
                f"{self.endpoint}: the server must answer 200; it answered {answer.status_code}: {answer.text[:300]!r}."
            )
        try:
            return answer.json()
        except (ValueError, RecursionError) as error:
            raise ClientError(f"{self.endpoint}: the server must answer with JSON; {error}.") from error


def _wait(answer: httpx.Response, number: int) -> float:
    told = answer.headers.get("retry-after", "")
    return min(float(told), _LONGEST_WAIT_S) if told.isascii() and told.isdigit() else 2**number / 4


def _alternatives(choice: Mapping[str, Any], endpoint: str) -> dict[str, float]:
    """Name -> log-probability of what might have been written first, `token_id:N` where ids are told."""
    try:
        logprobs = choice["logprobs"]
        if "content" in logprobs:  # llama.cpp
            told = logprobs["content"][0]["top_logprobs"]
            return {f"token_id:{each['id']}": _logprob(each["logprob"]) for each in told}
        return {name: _logprob(value) for name, value in logprobs["top_logprobs"][0].items()}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ClientError(
            f"{endpoint}: the answer must hold log-probabilities; {type(error).__name__}: {error}. Check that the "
            "server was started with log-probabilities."
        ) from error


def _logprob(told: Any) -> float:
    """The logarithm of a probability; some servers round a certain one to a little above 0."""
    value = float(told)
    if not value <= 1e-3:
        raise ValueError(f"{told!r} is no logarithm of a probability")
    return value
