"""A chat client for any OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, a cloud.

The SDK sends and parses; when to send, how often to try again and what it may cost are decided here. The SDK is
imported with the first client, so that importing this file stays cheap.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from types import TracebackType
from typing import Any

from clsgen.errors import ConfigError, TeacherError
from clsgen.llm.answers import expected_tokens, has_usage, read_reply, worst_tokens
from clsgen.llm.chat import ChatReply, ChatRequest
from clsgen.llm.failures import Asked, AttemptError, malformed, read_failure
from clsgen.llm.hosts import check_host, host_of, is_loopback
from clsgen.llm.limits import Budget, Tokens
from clsgen.llm.settings import ChatSettings, Limits, check_key

_SCHEMA_REFUSALS = {"http_400", "http_404", "http_422"}


class OpenAIChat:
    """Asks one model at one endpoint; for use in one event loop, as an `async with` block.

    Attributes:
        model: Name of the model.
        is_structured: Whether the endpoint takes a schema for its answers; None until a request with one was answered.
        num_sent: Requests that were sent, each further attempt included.
        num_estimated: Answers whose tokens the server didn't count, so that they are estimated.
    """

    def __init__(
        self,
        endpoint: str,
        model: str,
        *,
        api_key: str | None = None,
        settings: ChatSettings | None = None,
        limits: Limits | None = None,
    ) -> None:
        """A client that has sent nothing yet.

        Args:
            endpoint: Base address, such as http://localhost:8000/v1.
            model: Name of the model, as the server knows it.
            api_key: None where the server needs none; no key is ever read from the environment.
            settings: How it is asked.
            limits: None means no bound a minute or in all.

        Raises:
            ConfigError: The address or the key can't be used, or the extra `teacher` is not installed.
            RestrictedError: The texts are restricted, and the endpoint is not where they may go.
        """
        self._settings = settings or ChatSettings()
        self._limits = limits or Limits()
        check_host(endpoint, is_restricted=self._settings.is_restricted, allowed=self._settings.allowed_hosts)
        check_key(api_key)
        self.model = model
        self.is_structured: bool | None = None
        self.num_sent = 0
        self.num_estimated = 0
        self._is_reached = False
        self._host = host_of(endpoint)
        self._api_key = api_key
        self._slots = asyncio.Semaphore(self._settings.concurrency)
        self._probe = asyncio.Lock()
        self._openai, stamina = _import_sdk()
        self._retry = stamina.AsyncRetryingCaller(
            attempts=self._settings.num_attempts,
            timeout=None,
            wait_initial=self._settings.wait_initial_seconds,
            wait_max=self._settings.wait_max_seconds,
            wait_jitter=self._settings.wait_initial_seconds,
        )
        # A proxy can't reach this machine's own loopback, and restricted texts must not pass through one.
        is_direct = self._settings.is_restricted or is_loopback(self._host)
        self._sdk = self._openai.AsyncOpenAI(
            base_url=endpoint,
            api_key=api_key or "none",
            # Said once more, since OPENAI_CUSTOM_HEADERS would win over the key.
            default_headers={"Authorization": f"Bearer {api_key or 'none'}"},
            max_retries=0,
            timeout=self._settings.timeout_seconds,
            http_client=self._openai.DefaultAsyncHttpxClient(
                follow_redirects=False, trust_env=not is_direct, timeout=self._settings.timeout_seconds
            ),
        )

    def __repr__(self) -> str:
        return f"OpenAIChat(model={self.model!r}, host={self._host!r})"

    async def __aenter__(self) -> OpenAIChat:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._sdk.close()

    @property
    def budget(self) -> Budget:
        """What was spent, and what may be."""
        return self._limits.budget

    async def ask(self, request: ChatRequest) -> ChatReply:
        """The answer to `request`, after as many attempts as it takes or the settings allow.

        A schema that the endpoint refuses is left out, once it has answered the same request without it.

        Raises:
            TeacherError: It has finally failed; `reason` says what to count it as.
            BudgetError: It could pass the budget.
        """
        if request.schema is not None and self.is_structured is None:
            async with self._probe:  # one request finds out; those that waited know
                if self.is_structured is None:
                    return await self._find_out(request)
        return await self._ask(request, has_schema=request.schema is not None and bool(self.is_structured))

    async def _find_out(self, request: ChatRequest) -> ChatReply:
        try:
            reply = await self._ask(request, has_schema=True)
        except TeacherError as error:
            if error.reason not in _SCHEMA_REFUSALS:
                raise
            reply = await self._ask(request, has_schema=False)  # fails too where the schema was not to blame
            self.is_structured = False
        else:
            self.is_structured = True
        return reply

    async def _ask(self, request: ChatRequest, *, has_schema: bool) -> ChatReply:
        wasted: list[Tokens] = []
        async with self._slots:
            try:
                reply: ChatReply = await self._retry(
                    self._wait_before_retry, self._attempt, request, wasted, has_schema=has_schema
                )
            except TeacherError as error:
                error.tokens_charged = sum(tokens.total for tokens in wasted)
                raise
        return replace(reply, tokens_wasted=sum(tokens.total for tokens in wasted))

    def _wait_before_retry(self, error: Exception) -> bool | float:
        settings = self._settings
        if not isinstance(error, AttemptError) or not error.is_transient:
            return False
        if error.reason == "connection" and error.is_free and not self._is_reached:
            return False  # nobody has ever answered there: a wrong address, or a server that is not up
        if error.wait_seconds is None:
            return True
        if error.wait_seconds > settings.retry_after_max_seconds:
            return False
        return max(error.wait_seconds, settings.wait_initial_seconds)

    async def _attempt(self, request: ChatRequest, wasted: list[Tokens], *, has_schema: bool) -> ChatReply:
        """One attempt. What it may have cost, where no answer tells, is charged as the worst, and added to `wasted`."""
        worst = worst_tokens(request)
        async with self._limits.budget.reserve(worst) as charge:
            use = await self._limits.rate.wait(expected_tokens(request))
            charge.tokens = worst
            self.num_sent += 1
            try:
                reply = await self._send(request, has_schema=has_schema)
            except AttemptError as error:
                self._is_reached |= error.reason != "connection"
                if error.is_free:
                    charge.tokens = Tokens()
                else:
                    wasted.append(worst)
                raise
            self._is_reached = True
            charge.tokens = Tokens(reply.prompt_tokens, reply.completion_tokens)
            use.num_tokens = charge.tokens.total
            return reply

    def _body(self, request: ChatRequest, *, has_schema: bool) -> dict[str, Any]:
        """The request's body; what is None is left out."""
        fields = {
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in request.messages],
            **self._settings.extra_body,
            self._settings.max_tokens_field: request.max_tokens,
        }
        drawn = {"temperature": request.temperature, "top_p": request.top_p, "seed": request.seed}
        fields |= {name: value for name, value in drawn.items() if value is not None}
        if has_schema:
            schema = {"name": "answer", "strict": True, "schema": request.schema}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        return fields

    async def _send(self, request: ChatRequest, *, has_schema: bool) -> ChatReply:
        # `from None`: the errors below hold the request and the server's answer, neither of which may be shown.
        asked = Asked(
            f"model {self.model!r} at {self._host}",
            request,
            self._api_key,
            self._settings.timeout_seconds,
            self._settings.is_restricted,
        )
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):  # the SDK's own is between two bytes
                # Not chat.completions.create, which matches each message with every type that it knows: a fifth of
                # the processor's time of a request.
                completion = await self._sdk.post(
                    "/chat/completions",
                    cast_to=self._openai.types.chat.ChatCompletion,
                    body=self._body(request, has_schema=has_schema),
                )
        except (TimeoutError, ValueError, RecursionError, self._openai.OpenAIError) as error:
            raise read_failure(error, asked) from None
        try:
            reply = read_reply(completion, request, self.model)
        except ValueError as error:
            raise malformed(asked, str(error)) from None
        self.num_estimated += not has_usage(completion)
        return reply


def _import_sdk() -> tuple[Any, Any]:
    try:
        import openai  # noqa: PLC0415  (the extra `teacher`; half a second)
        import stamina  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"teacher: the packages openai and stamina must be installed; got {error.name!r} missing. "
            "Run: pip install 'clsgen[teacher]'"
        ) from error
    # Retries are counted here; without a handler, each would print a line without content.
    logging.getLogger("stamina").addHandler(logging.NullHandler())
    return openai, stamina
