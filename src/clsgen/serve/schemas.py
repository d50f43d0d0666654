"""What goes over the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from clsgen.types import CONTRACT_SENTENCE, Example, ExplanationMode

_NOTE = "Aspirin was given to 120 patients; mortality fell from 12% to 7%."


def _unicode(given: str) -> str:
    try:
        given.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text; half of a surrogate pair stands in it") from None
    return given


Words = Annotated[str, AfterValidator(_unicode)]
Text = Annotated[str, Field(pattern=r"\S"), AfterValidator(_unicode)]
"""Something besides white space."""


class Document(BaseModel):
    """A text and what is asked of it."""

    model_config = ConfigDict(extra="forbid")

    text: Text = Field(description="The text. Only it may be cut to fit the model.", examples=[_NOTE])
    question: Words = Field("", description="What is asked of this text, where the model was trained on questions.")
    id: Words | None = Field(None, max_length=256, description="Given back with the answer; null: the text's number.")


def _kind(given: Any) -> str:
    """Which of the forms was meant, so that errors speak of that one."""
    if isinstance(given, str):
        return "<text>"
    return "<list>" if isinstance(given, list) else "<document>"


_TextOrDocument = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[Document, Tag("<document>")], Discriminator(_kind)
]


class ClassifyRequest(BaseModel):
    """One text or several."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"texts": [_NOTE]}]})

    texts: Annotated[
        Annotated[Text, Tag("<text>")] | Annotated[list[_TextOrDocument], Field(min_length=1), Tag("<list>")],
        Discriminator(_kind),
    ] = Field(description="A text, or a list of texts or documents.")

    def examples(self) -> list[Example]:
        """The texts as examples."""
        given = [self.texts] if isinstance(self.texts, str) else self.texts
        documents = [Document(text=each) if isinstance(each, str) else each for each in given]
        return [
            Example(str(number) if each.id is None else each.id, each.text, each.question)
            for number, each in enumerate(documents)
        ]


class ExplainRequest(ClassifyRequest):
    """Texts whose decision is to be explained."""

    mode: ExplanationMode = Field(
        "free",
        description="free: the text states its own view, compared with the decision in `agreement`. decision: it "
        "argues for the decision.",
    )


class SimilarRows(BaseModel):
    """What became of the calibration rows that were given a like probability."""

    label: str = Field(description="The positive label, or the decided one with more than two labels.")
    from_probability: float = Field(description="Rows whose probability of the label is at least this")
    to_probability: float = Field(description="and at most this.")
    num_rows: int
    num_with_label: int = Field(description="Those of them whose label it was.")
    low: float | None = Field(description="Lower end of the 95% interval of their share; null: no row.")
    high: float | None = Field(description="Upper end.")


class Quote(BaseModel):
    """Where the reason's quotes stand in the text: `text[start:end]`, in Unicode code points."""

    start: int
    end: int


class Result(BaseModel):
    """Probability and decision of a text."""

    id: str
    probabilities: dict[str, float] = Field(description="Calibrated; they sum to 1.")
    decision: str = Field(description="By the stored threshold, or the largest probability with more than two labels.")
    threshold: float | None = Field(description="Two labels: the positive one is decided from here upwards.")
    label_set: list[str] | None = Field(description="Labels that can't be excluded; null: the model never abstains.")
    abstained: bool | None = Field(description="Whether the text is left undecided; null: the model never abstains.")
    num_document_tokens_cut: int = Field(description="Tokens of the text that did not fit; 0: it was read whole.")
    similar: SimilarRows | None = Field(description="null: the model does not know.")


class ExplainedResult(Result):
    """The same with the reason."""

    mode: ExplanationMode
    explanation: str = Field(description="The reason in words. " + CONTRACT_SENTENCE)
    stated_label: str | None = Field(description="The label that the reason states; null: none that is known.")
    agreement: bool | None = Field(description="free: whether it states the decided label; null: it states none.")
    has_ended: bool = Field(description="Whether the reason ended by itself, and was not cut off.")
    quotes: list[Quote] = Field(description="Passages of the text that the reason quotes, four words or more.")


class ClassifyResponse(BaseModel):
    """Answers in the order of the texts."""

    model: str
    results: list[Result]


class ExplainResponse(BaseModel):
    """Answers in the order of the texts."""

    model: str
    results: list[ExplainedResult]
    notice: str = CONTRACT_SENTENCE


class Message(BaseModel):
    """A turn of a chat; only one of the user is understood."""

    role: str
    content: str | list[dict[str, Any]]


class ChatRequest(BaseModel):
    """What an OpenAI client sends; sampling options are ignored, as reasons are written greedily."""

    model: str = ""
    messages: list[Message] = Field(min_length=1, examples=[[{"role": "user", "content": _NOTE}]])
    stream: bool = False


class ChatMessage(BaseModel):
    """The reason."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(BaseModel):
    """The only choice."""

    index: int = 0
    message: ChatMessage
    finish_reason: Literal["stop", "length"]


class Usage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatResponse(BaseModel):
    """A chat completion with the probability in `clsgen`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    clsgen: ExplainedResult


class Limits(BaseModel):
    """What a request may hold, and what may wait."""

    texts: int = Field(description="Texts in one request.")
    tokens: int = Field(description="Of a text, what is asked of it included.")
    body_bytes: int
    queued: int = Field(description="Texts that wait to be read; a client alone may have all of them.")


class Model(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "clsgen"
    labels: list[str]
    positive: str | None
    instruction: str = Field(description="What is asked of every text.")
    explains: bool
    restricted: bool
    limits: Limits


class ModelList(BaseModel):
    """The models of this server."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """Whether the server lives, or takes requests."""

    status: Literal["ok", "stopping"]


class ErrorBody(BaseModel):
    """What went wrong, and what to do."""

    message: str
    type: str
    request_id: str


class ErrorResponse(BaseModel):
    """Every answer that is no success."""

    error: ErrorBody
