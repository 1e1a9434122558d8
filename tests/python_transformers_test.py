# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The attention implementation "rapt" of transformers: tiny random models against eager ones.

torch and transformers are optional; everything here is skipped without them.
"""

import copy

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import rapt.transformers  # noqa: E402

VOCABULARY, LENGTH, BATCH = 97, 21, 3
COMMON = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96,
          "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
          "max_position_embeddings": 256}
WINDOW = {"head_dim": 16, "sliding_window": 8}
# Grouped heads; norms on q and k; a window; softcap with windows; learned sinks with windows.
MODELS = {
    "Llama": {},
    "Qwen3": {"head_dim": 16},
    "Mistral": {"sliding_window": 8},
    "Gemma2": WINDOW | {"query_pre_attn_scalar": 16},
    "GptOss": WINDOW | {"num_local_experts": 2, "num_experts_per_tok": 1},
}
PLACES = torch.arange(LENGTH)[None]
MASKS = {
    "none": None,
    "left": PLACES >= torch.tensor([[0], [5], [12]]),
    "right": PLACES < torch.tensor([[21], [15], [9]]),
    "holes": (PLACES != 7).expand(BATCH, -1),
}


@pytest.fixture(name="pair", params=MODELS)
def fixture_pair(request):
    """The same random model with eager attention and with rapt's."""
    torch.manual_seed(1)
    config = getattr(transformers, f"{request.param}Config")(**COMMON, **MODELS[request.param])
    eager = getattr(transformers, f"{request.param}ForCausalLM")(config).eval()
    eager.set_attn_implementation("eager")
    ours = copy.deepcopy(eager)
    ours.set_attn_implementation("rapt")
    return eager, ours


def tokens():
    return torch.randint(0, VOCABULARY, (BATCH, LENGTH), generator=torch.manual_seed(2))


@pytest.fixture(name="calls", autouse=True)
def fixture_calls(monkeypatch):
    """What rapt was asked for meanwhile: a model that went another way would agree as well."""
    calls = []

    def watched(*tensors, **keywords):
        calls.append(keywords)
        return rapt.torch.attend(*tensors, **keywords)

    monkeypatch.setattr(rapt.transformers, "attend", watched)
    return calls


@pytest.mark.parametrize("name", MASKS)
def test_logits_are_eager_s(pair, calls, name):
    mask = MASKS[name]
    given = None if mask is None else mask.long()
    with torch.no_grad():
        wanted, found = (model(tokens(), attention_mask=given).logits for model in pair)
    seen = slice(None) if mask is None else mask
    torch.testing.assert_close(found[seen], wanted[seen], rtol=1e-4, atol=2e-6)
    assert len(calls) == COMMON["num_hidden_layers"]
    if name in ("left", "right") and "sliding_window" not in pair[0].config.to_dict():
        assert all("left_pad" in call and "bias" not in call for call in calls)


def test_gradients_are_eager_s(pair, calls):
    for model in pair:
        model.train()
        model(tokens(), labels=tokens()).loss.backward()
    eager, ours = (dict(model.named_parameters()) for model in pair)
    assert calls
    for name, parameter in eager.items():
        if parameter.grad is not None:
            torch.testing.assert_close(ours[name].grad, parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generated_tokens_are_eager_s(pair, calls, cache):
    wanted, found = (
        model.generate(tokens(), attention_mask=MASKS["left"].long(), max_new_tokens=8,
                       do_sample=False, pad_token_id=0, cache_implementation=cache)
        for model in pair)
    assert torch.equal(found, wanted) and len(calls) >= 8


def test_a_model_without_a_causal_mask():
    torch.manual_seed(1)
    sizes = {key: value for key, value in COMMON.items() if key != "num_key_value_heads"}
    eager = transformers.BertModel(transformers.BertConfig(**sizes)).eval()
    eager.set_attn_implementation("eager")
    ours = copy.deepcopy(eager)
    ours.set_attn_implementation("rapt")
    for mask in (None, MASKS["right"]):
        given = None if mask is None else mask.long()
        with torch.no_grad():
            wanted, found = (model(tokens(), attention_mask=given).last_hidden_state
                             for model in (eager, ours))
        seen = slice(None) if mask is None else mask
        torch.testing.assert_close(found[seen], wanted[seen], rtol=1e-4, atol=5e-6)


def test_packed_sequences_do_not_see_each_other(pair, calls):
    """Positions that begin again, without a mask: transformers' own sign of packing."""
    positions = torch.cat([torch.arange(9), torch.arange(12)])[None].expand(BATCH, -1)
    with torch.no_grad():
        wanted, found = (model(tokens(), position_ids=positions, use_cache=False).logits
                         for model in pair)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-6)
    assert calls


def test_dropout_follows_torch_s_generator():
    module = torch.nn.Module()
    q, k, v = (torch.randn(1, 2, 5, 8) for _ in range(3))

    def call(seed):
        torch.manual_seed(seed)
        return rapt.transformers.attention(module, q, k, v, None, dropout=0.5)[0]

    assert torch.equal(call(3), call(3)) and not torch.equal(call(3), call(4))


def test_weights_are_refused():
    q = torch.randn(1, 2, 5, 8)
    with pytest.raises(NotImplementedError, match="^output_attentions: "):
        rapt.transformers.attention(torch.nn.Module(), q, q, q, None, output_attentions=True)
