"""Readers: language models that answer a case's question from a full or a compressed text."""

from __future__ import annotations

import os
from typing import Any, Protocol

from ..errors import CprsError, InputError, MissingExtraError

ANSWER_TOKENS = 128  # at most, of one answer
_RETRIES = 5  # with waits that double from half a second to eight
_LOCAL = "hf:"


class Reader(Protocol):
    """What answers."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    def answer(self, query: str, context: str) -> str:
        """The answer in words."""
        ...


def prompt(query: str, context: str) -> str:
    """What a reader is asked; the same with every method's context."""
    return (
        "Answer the question from the text below, with as few words as possible and without an explanation. "
        f"If there are several answers, give all of them.\n\nText:\n{context}\n\nQuestion: {query}\nAnswer:"
    )


def open_reader(where: str, model: str | None, device: str | None) -> Reader:
    """A reader from what follows ``--llm``: the URL of a service, or ``hf:`` with the name of a local model.

    Raises:
        InputError: neither; or a service without the name of a model.
        MissingExtraError, ModelLoadError, DeviceError: it cannot be opened.
    """
    if where.startswith(_LOCAL):
        return LocalReader(where.removeprefix(_LOCAL), device)
    if not where.startswith(("http://", "https://")):
        raise InputError(f"--llm {where} is no reader; give the URL of a service (http://.../v1) or hf:FOLDER_OR_HUB_ID")
    if not model:
        raise InputError(f"the service at {where} may have many models; name one with --llm-model")
    return ServiceReader(where, model)


class ServiceReader:
    """A model behind an OpenAI-compatible chat service. The key is read from the variable ``OPENAI_API_KEY``.

    Args:
        url: where the service is, version included: ``http://localhost:8000/v1``.
        retries: how often to try again what failed for the moment: no connection, overload, a server's error.
        timeout: seconds for one answer.

    Raises:
        MissingExtraError: openai is not installed.
    """

    def __init__(self, url: str, model: str, *, retries: int = _RETRIES, timeout: float = 300.0) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingExtraError("openai", "eval") from error
        self.name, self._url, self._openai = model, url, openai
        key = os.environ.get("OPENAI_API_KEY") or "none"  # local services want none, the package wants one
        self._client = openai.OpenAI(base_url=url, api_key=key, max_retries=retries, timeout=timeout)

    def answer(self, query: str, context: str) -> str:
        """See :class:`Reader`.

        Raises:
            CprsError: the service cannot be reached, refuses, or answers with something else.
        """
        try:
            reply = self._client.chat.completions.create(
                model=self.name,
                messages=[{"role": "user", "content": prompt(query, context)}],
                temperature=0,
                max_tokens=ANSWER_TOKENS,
            )
        except self._openai.APIConnectionError as error:
            raise CprsError(
                f"no answer from {self._url} after several tries ({error.__cause__ or error}); check that the service runs, "
                "that the URL ends as its documentation says (often in /v1), and proxies and firewalls"
            ) from error
        except self._openai.APIStatusError as error:
            raise CprsError(
                f"{self._url} refused with status {error.status_code}: {error.message}; check --llm-model {self.name}, "
                "the key in OPENAI_API_KEY, and that the texts fit into the model's context (--lengths)"
            ) from error
        except self._openai.APIError as error:
            raise CprsError(f"{self._url} failed: {error.message}; is it an OpenAI-compatible service?") from error
        choices = getattr(reply, "choices", None)
        if not choices:
            raise CprsError(f"{self._url} answered with no choices: {reply!r}; is it an OpenAI-compatible service?")
        return (choices[0].message.content or "").strip()


class LocalReader:
    """A causal language model of transformers, greedy, with its chat template if it has one.

    Args:
        name: a folder, a .gguf file or a hub id.
        device: None = a GPU if there is one.

    Raises:
        ModelLoadError, DeviceError: see :func:`~.causal.load_causal`.
    """

    def __init__(self, name: str, device: str | None = None) -> None:
        from .causal import load_causal

        self.name = name
        self._tokenizer, self._model = load_causal(name, device)

    def answer(self, query: str, context: str) -> str:
        """See :class:`Reader`.

        Raises:
            InputError: the text does not fit into the model's context.
        """
        inputs = self._encode(prompt(query, context))
        length, most = inputs["input_ids"].shape[1], self._model.config.max_position_embeddings
        if length + ANSWER_TOKENS > most:
            raise InputError(
                f"a text of {length:,} tokens and an answer do not fit into the {most:,} of {self.name}; ask for shorter "
                "texts with --lengths, or take another model"
            )
        end = self._tokenizer.eos_token_id
        pad = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else end
        result = self._model.generate(**inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False, pad_token_id=pad)
        answer: str = self._tokenizer.decode(result[0, length:], skip_special_tokens=True)
        return answer.strip()

    def _encode(self, text: str) -> Any:
        if self._tokenizer.chat_template:
            messages = [{"role": "user", "content": text}]
            inputs = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        else:
            inputs = self._tokenizer(text, return_tensors="pt")
        return inputs.to(self._model.device)
