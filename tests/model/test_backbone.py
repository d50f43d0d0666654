"""Stock backbones: found before anything heavy, read as their own forward does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from transformers import LlamaForCausalLM

import tiny
from clsgen.errors import ArtifactError, ConfigError, HardwareError, ModelError
from clsgen.model import adapter, backbone


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_projection_is_the_models_own(family):
    model = tiny.backbone(family, 60).eval()
    ids = torch.randint(0, 60, (1, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = backbone.body_of(model)(input_ids=ids).last_hidden_state
        assert torch.allclose(backbone.project(model, hidden[0]), model(input_ids=ids).logits[0], atol=1e-5)


def test_a_projection_that_is_not_understood_is_refused():
    class Scaled(LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.logits = output.logits * 3
            return output

    model = Scaled(tiny.backbone("llama", 60).config).eval()
    with pytest.raises(ModelError, match="Scaled computes its vocabulary logits in a way that is not understood"):
        backbone.check_logits(model)


def test_a_missing_weight_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny.save("llama", tmp_path / "base")
    state = load_file(folder / "model.safetensors")
    del state["model.norm.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing or misshapen: model\.norm\.weight"):
        backbone.load_backbone(str(folder))


def test_dtype_is_what_was_asked_for_not_what_the_file_has(tmp_path):
    model = tiny.backbone("llama", 60).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    assert backbone.load_backbone(str(tmp_path)).dtype == torch.float32
    assert backbone.load_backbone(str(tmp_path), dtype="bfloat16").dtype == torch.bfloat16


def test_a_directory_without_config_or_weights_is_found_at_once(tmp_path):
    with pytest.raises(ModelError, match=r"must hold config\.json"):
        backbone.preflight(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="it has no weights"):
        backbone.preflight(str(tmp_path))


class _Hub(BaseHTTPRequestHandler):
    """Answers as the hub does for a gated and for a missing repository."""

    def _answer(self):
        gated = "gated" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("X-Error-Message", "no")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = _answer

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def hub():
    server = HTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("someone/gated-model", "is gated: access must be granted first. Accept its licence"),
        ("someone/no-such-model", "must be embedded, a directory or a hub id that exists; got 'someone/no-such-model'"),
        ("not a//name", "must be embedded, a directory or a hub id that exists"),
    ],
)
def test_a_gated_or_missing_model_says_what_to_do(hub, command, tmp_path, monkeypatch, name, message):
    """A real client against a real HTTP answer; nothing of the run is made before."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    (tmp_path / "run.yaml").write_text(f"output: {tmp_path}/run\ndata: {{task: synthetic-notes, num_rows: 60}}\n")
    done = command("train", tmp_path / "run.yaml", f"model.backbone={name}")
    assert done.code == 2, done.err
    assert message in " ".join(done.err.split())
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_that_cannot_be_loaded(tmp_path):
    folder = tiny.save("llama", tmp_path / "base")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match=r"model\.backbone: the tokenizer of '.*base' can't be loaded"):
        backbone.load_tokenizer(str(folder))


def test_weights_that_are_no_causal_model(tmp_path):
    folder = tiny.save("llama", tmp_path / "base")
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ModelError, match=r"model\.backbone: '.*base' can't be loaded as a causal language model"):
        backbone.load_backbone(str(folder))


def test_an_unreachable_hub_says_how_to_go_on_without_it(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"neither a directory nor in the hub cache.*hf download someone/model-x"):
        backbone.preflight("someone/model-x")


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows the error where there is no CUDA")
def test_qlora_without_cuda_is_one_clear_error():
    with pytest.raises(HardwareError, match=r"qlora needs a CUDA device; none is here\. Use lora"):
        backbone.require_for_qlora()


def test_qlora_without_its_package_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # what find_spec takes for not installed
    with pytest.raises(ConfigError, match=r"bitsandbytes must be installed.*pip install 'clsgen\[quant\]'"):
        backbone.require_for_qlora()


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_lora_targets_are_the_architectures_projections(family):
    model = tiny.backbone(family, 60)
    wrapped = adapter.add_lora(model, rank=2, alpha=4.0, dropout=0.0, targets=None)
    wanted = set(adapter.lora_targets(backbone.base_of(wrapped)))
    assert "lm_head" not in wanted
    assert len(wanted) >= 3


def test_unknown_targets_are_an_error():
    with pytest.raises(ModelError, match=r"model\.lora\.targets must name layers of the backbone"):
        adapter.add_lora(tiny.backbone("llama", 60), rank=2, alpha=4.0, dropout=0.0, targets=["no_such_layer"])


_LITTLE_MEMORY = """
import resource
from clsgen.errors import HardwareError
from clsgen.model.backbone import load_backbone
load_backbone("embedded")  # whatever else takes memory is there
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 2**22, -1))
try:
    load_backbone("embedded")
except HardwareError as error:
    print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_too_little_memory_is_not_the_models_fault():
    ran = subprocess.run([sys.executable, "-c", _LITTLE_MEMORY], capture_output=True, text=True, check=True)
    assert "there must be memory for the weights of 'embedded'" in ran.stdout


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_an_adapter_of_a_shared_table_is_refused(target):
    """Added into one of the two it would change the other, and the class logits with it."""
    options = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": ["q_proj", target]}
    with pytest.raises(ModelError, match="which are one table"):
        adapter.add_lora(tiny.backbone("llama", 60, is_tied=True), **options)
    adapter.add_lora(tiny.backbone("llama", 60, is_tied=False), **options)


def test_an_architecture_without_known_names_asks_for_targets():
    model = tiny.backbone("gpt2", 60)
    model.config.model_type = "unheard-of"
    with pytest.raises(ModelError, match=r"model\.lora\.targets must be given for the architecture 'unheard-of'"):
        adapter.lora_targets(model)


def test_scratch_weights_follow_the_seed_and_leave_the_generator_alone():
    shape = {"vocabulary": 60, "width": 32, "num_layers": 1, "num_heads": 2, "max_length_tokens": 64, "is_tied": True}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again = (backbone.scratch_backbone(**shape, seed=5).state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = backbone.scratch_backbone(**shape, seed=6).state_dict()
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("b"), "missing: b"),
        (lambda state: state.update(c=torch.ones(1)), "unknown: c"),
        (lambda state: state.update(b=torch.ones(3)), "misshapen: b"),
        (lambda state: state.update(b=torch.tensor([1.0, float("nan")])), "not finite: b"),
    ],
)
def test_tensors_must_be_complete(change, message):
    expected = {"a": torch.ones(2), "b": torch.ones(2)}
    found = dict(expected)
    change(found)
    with pytest.raises(ArtifactError, match=message):
        backbone.check_tensors("file", found, expected)


def test_weight_hash_follows_the_contents(tmp_path):
    folder = tiny.save("llama", tmp_path / "base")
    before = backbone.weights_hash(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"note": "x"}))
    assert backbone.weights_hash(folder) == before
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))
    assert backbone.weights_hash(folder) != before
