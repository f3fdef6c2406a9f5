"""The callback, called as LiteLLM's proxy calls it, with what it returns sent through LiteLLM to a provider of our own."""

from __future__ import annotations

import copy

import litellm
import pytest
from litellm import CustomLLM
from litellm.exceptions import BadRequestError
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import UserAPIKeyAuth
from words import KEPT, LONG, Failing, WordCompressor

from cprs_core import InputError
from cprs_core.integrations.litellm import CPRSHandler

pytestmark = pytest.mark.filterwarnings("ignore:Item:UserWarning")  # LiteLLM's own

MESSAGES = [{"role": "user", "content": f"{LONG * 4}\n\nWho?"}]
SHORT = [{"role": "user", "content": f"{KEPT} {KEPT} {KEPT} {KEPT}\n\nWho?"}]


class Provider(CustomLLM):
    """Notes what it is sent."""

    def __init__(self):
        super().__init__()
        self.sent = []

    async def acompletion(self, *args, **request):
        self.sent.append(request)
        return litellm.completion("gpt-4o", [{"role": "user", "content": "a"}], mock_response="An answer.")


@pytest.fixture
def provider(monkeypatch):
    made = Provider()
    monkeypatch.setattr(litellm, "custom_provider_map", [{"provider": "ours", "custom_handler": made}])
    litellm.utils.custom_llm_setup()
    return made


def handler(compressor=None, **options):
    return CPRSHandler(compressor or WordCompressor(), min_tokens=20, **options)


async def hooked(made, data, call_type="acompletion", key="k"):
    """A request as the proxy has it after its hooks."""
    return await made.async_pre_call_hook(UserAPIKeyAuth(api_key=key), None, copy.deepcopy(data), call_type)


async def test_the_provider_gets_short_messages(provider):
    made = handler()
    data = await hooked(made, {"model": "ours/m", "messages": MESSAGES, "temperature": 0.5, "metadata": {"a": 1}})
    answer = await litellm.acompletion(**data)
    assert answer.choices[0].message.content == "An answer."
    (request,) = provider.sent
    assert request["messages"] == SHORT and request["optional_params"]["temperature"] == 0.5
    assert data["metadata"]["a"] == 1 and data["metadata"]["cprs"]["status"] == "compressed"
    headers = await made.async_post_call_response_headers_hook(data, UserAPIKeyAuth(), answer, request_headers={})
    words = str(4 * len(LONG.split()))
    expected = {"status": "compressed", "messages": "1", "input-tokens": words, "kept-tokens": "16"}
    assert headers == {f"x-cprs-{name}": value for name, value in expected.items()}


async def test_messages_of_anthropic_and_their_own_metadata():
    made = handler()
    content = [{"type": "tool_result", "tool_use_id": "1", "content": LONG}, {"type": "text", "text": "Who?"}]
    data = {"messages": [{"role": "user", "content": content}], "metadata": {"user_id": "a"}, "litellm_metadata": {}}
    done = await hooked(made, data, "anthropic_messages")
    assert done["messages"][0]["content"] == [{**content[0], "content": KEPT}, content[1]]
    assert done["metadata"] == {"user_id": "a"}
    assert (await made.async_post_call_response_headers_hook(done, None, None))["x-cprs-status"] == "compressed"


async def test_what_passes_as_it_is():
    made = handler()
    assert (await hooked(made, {"messages": MESSAGES, "cprs": False})) == {"messages": MESSAGES}
    for data, call_type in (
        ({"input": LONG}, "aembedding"),
        ({"messages": "odd"}, "acompletion"),
        ({"prompt": LONG}, "atext_completion"),
    ):
        assert await hooked(made, data, call_type) == data
        assert await made.async_post_call_response_headers_hook(data, None, None) is None
    with pytest.raises(BadRequestError, match="must be true or false, got dict"):
        await hooked(made, {"messages": MESSAGES, "cprs": {}})


async def test_words_stay_and_keys_are_apart():
    compressor = WordCompressor()
    made = handler(compressor)
    first = await hooked(made, {"messages": MESSAGES})
    longer = [*MESSAGES, {"role": "assistant", "content": "Ann."}, {"role": "user", "content": "When?"}]
    assert (await hooked(made, {"messages": longer}))["messages"][0] == first["messages"][0]
    assert len(compressor.calls) == 1
    await hooked(made, {"messages": MESSAGES}, key="other")
    assert len(compressor.calls) == 2


async def test_a_failure_passes_the_message_on_unless_asked_otherwise():
    data = {"messages": MESSAGES, "metadata": {}}
    done = await hooked(handler(Failing()), data)
    assert done["messages"] == MESSAGES and done["metadata"]["cprs"]["status"] == "failed"
    with pytest.raises(RuntimeError):
        await hooked(handler(Failing(), on_error="raise"), data)


def test_the_proxy_finds_the_hooks():
    made = handler()
    assert isinstance(made, CustomLogger)
    for name in ("async_pre_call_hook", "async_post_call_response_headers_hook"):
        assert name in vars(type(made))  # inherited ones are not called


def test_bad_options_are_refused():
    with pytest.raises(InputError):
        handler(max_tokens=0)
