"""Make the embedded base model: tokenizer, stages of training, asset.

python scripts/build_base.py tokenizer
python scripts/build_base.py pretrain pretrain-1
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from base import asset, joint, kernels
from base.claims import of_corpus
from base.corpus import Tokens, encode, read_corpus, read_lines
from base.instruct import article_licences, items
from base.optimizer import Masters
from base.packing import joined, rows, stream
from base.plan import PlanError, chain_of, change, kind_of, load_plan, stage_of, start_of, tokens_read
from base.stage import CROSSING_TOKENS, Schedule, Stage, bits_per_byte, figures, run_packed
from clsgen.data.tokenizer import END, PAD, train_tokenizer

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("CLSGEN_SHARED", ROOT.parent / "shared")) / "data"
ASSET = ROOT / "src" / "clsgen" / "assets" / "embedded"
WORK = ROOT / "runs" / "base"
LOGS = ROOT / "docs" / "benchmarks" / "base"
MINUTES = "End the stage after so many, unfinished; default: when its tokens are read."
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make_tokenizer() -> None:
    """Read the corpus, train the tokenizer on it, and keep the corpus as token ids."""
    plan, corpus = load_plan(), read_corpus(DATA)
    for source, texts in corpus.documents.items():
        print(f"{source}: {len(texts)} documents kept; left out: {corpus.dropped[source] or 'none'}")
    tokenizer = train_tokenizer((text for texts in corpus.documents.values() for text in texts), **plan["tokenizer"])
    WORK.mkdir(parents=True, exist_ok=True)
    tokenizer.model_max_length = plan["model"]["context"]
    tokenizer.save_pretrained(WORK / "tokenizer")
    for source, texts in corpus.documents.items():
        tokens = encode(tokenizer, texts)
        np.savez(WORK / f"{source}.npz", ids=tokens.ids, bounds=tokens.bounds)
        size = sum(len(text.encode()) for text in texts) / len(tokens.ids)
        print(f"{source}: {len(tokens.ids)} tokens, {size:.3f} bytes each")
    counts = {source: len(texts) for source, texts in corpus.documents.items()}
    (WORK / "corpus.json").write_text(json.dumps({"documents": counts, "dropped": corpus.dropped}, indent=1))


def make_model(tokenizer: Any, shape: dict[str, Any]) -> Any:
    """A Llama with random weights, in bfloat16."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape["width"],
        intermediate_size=shape["mlp"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["key_heads"],
        max_position_embeddings=shape["context"],
        rope_parameters={"rope_type": "default", "rope_theta": shape["rope_theta"]},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
    )
    torch.manual_seed(shape["seed"])
    model = LlamaForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.zeros_(parameter)
    return model.to(DEVICE, torch.bfloat16)


def pretrain(name: str, *, folder_name: str, minutes: float, changes: list[str]) -> None:
    """Run one stage of plain language modelling, or a trial of it: other settings, another folder."""
    plan = load_plan()
    stage_settings = stage_of(plan, name, "pretrain")
    change(plan, stage_settings, changes)
    tokenizer, model, stage, folder = start_stage(folder_name, stage_settings, plan)
    stage.record(changes=changes)
    end_id = tokenizer.convert_tokens_to_ids(END)

    def make_rows(length: int, num_rows: int, step: int) -> Any:
        documents = texts(stage_settings, tokenizer, length=length, seed=stage_settings["seed"] + step)
        return rows(documents, length=length, num_rows=num_rows)

    run_packed(
        stage,
        make_rows,
        end_id=end_id,
        validation=validation_documents(tokenizer),
        save=lambda: save(model, tokenizer, folder),
        limit_seconds=minutes * 60,
    )


def start_stage(name: str, stage_settings: dict[str, Any], plan: dict[str, Any]) -> tuple[Any, Any, Stage, Path]:
    """Tokenizer, model, trainer and folder of a stage; the model is new or an earlier stage's."""
    source = start_of(stage_settings, plan, WORK)
    tokenizer = AutoTokenizer.from_pretrained(source)
    if stage_settings["init"] is None:
        model = make_model(tokenizer, plan["model"])
        model.set_attn_implementation(kernels.ATTENTION)
    else:
        model = load_model(source)
    model.train()
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    masters = Masters(model, **stage_settings["optimizer"])
    stage = Stage(model, masters, Schedule(**stage_settings["schedule"]), folder / "log.jsonl")
    stage.record(stage=name, parameters=sum(p.numel() for p in model.parameters()), at=time.ctime())
    return tokenizer, model, stage, folder


def texts(stage_settings: dict[str, Any], tokenizer: Any, *, length: int, seed: int) -> Iterator[np.ndarray]:
    """The documents that a stage reads in rows of `length` tokens, without end; in long rows, paragraphs together."""
    sources = {source: Tokens(**np.load(WORK / f"{source}.npz")) for source in stage_settings["weights"]}
    if length >= CROSSING_TOKENS:
        between = tokenizer.encode("\n", add_special_tokens=False)[0]
        for source, num in load_plan()["joined"].items():
            sources[source] = joined(sources[source], num=num, between=between)
    end_id = tokenizer.convert_tokens_to_ids(END)
    return stream(sources, stage_settings["weights"], end_id=end_id, seed=seed)


def validation_documents(tokenizer: Any) -> list[tuple[list[int], int]]:
    """(ids, UTF-8 bytes) of the documents that bits per byte are measured on."""
    texts = read_lines(DATA / "corpus" / "lm_validation.txt.gz")
    return [(tokenizer(text, add_special_tokens=False)["input_ids"], len(text.encode())) for text in texts]


def load_model(folder: Path) -> Any:
    """A stage's model, as stages train and measure it."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.set_attn_implementation(kernels.ATTENTION)
    return model.to(DEVICE)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Weights and tokenizer of a stage."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def instruct(name: str, *, minutes: float) -> None:
    """Run the last phase: rows with decisions and reasons beside replayed text."""
    plan = load_plan()
    stage_settings = stage_of(plan, name, "instruct")
    bins, generator = stage_settings["bins"], np.random.default_rng(stage_settings["seed"])
    tokenizer, model, stage, folder = start_stage(name, stage_settings, plan)
    end_id, pad_id = tokenizer.convert_tokens_to_ids(END), tokenizer.convert_tokens_to_ids(PAD)
    sources = items(DATA) | of_corpus(read_corpus(DATA).documents)
    labels = sorted({label for rows_of in sources.values() for item in rows_of for label in item.spec.labels})
    train, watch = joint.watched_apart(sources, every=stage_settings["watch_every"])
    renderer = joint.Rows(tokenizer, labels, bins["length"])
    watched = {source: [renderer.row(item, generator) for item in rows_of] for source, rows_of in watch.items()}
    head = joint.Head(model.config.hidden_size, len(labels)).to(DEVICE)
    drawn = joint.epochs(train, stage_settings["items"], generator)
    binned = joint.batches(drawn, renderer, generator, num_bins=bins["a_step"], length=bins["length"])
    documents = texts(stage_settings, tokenizer, length=bins["replayed_length"], seed=stage_settings["seed"])
    replayed = rows(documents, length=bins["replayed_length"], num_rows=bins["replayed_rows"])
    validation = validation_documents(tokenizer)
    start = last = time.monotonic()
    num_steps = stage.schedule.num_steps
    losses = []
    for step in range(num_steps):
        factor = stage.schedule.factor(step)
        found = next(binned)
        share = (1 - bins["replay_share"]) * bins["micro"] / len(found)
        for first in range(0, len(found), bins["micro"]):
            part = joint.batch(
                found[first : first + bins["micro"]],
                length=bins["length"],
                prompt_weight=stage_settings["prompt_weight"],
                pad_id=pad_id,
            )
            losses.append(joint.backward(stage, head, part, share=share))
            stage.num_tokens += part.inputs.numel()
        stage.packed_backward(next(replayed), end_id=end_id, share=bins["replay_share"])
        head.step(factor)
        stage.masters.step(factor)
        now = time.monotonic()
        if step % 50 == 49:
            text, decision = np.mean(losses[-100:], axis=0)
            stage.record(
                step=step + 1,
                text=round(float(text), 4),
                decision=round(float(decision), 4),
                tokens_a_second=round(stage.num_tokens / (now - start)),
            )
        if now - last > 480 or step == num_steps - 1:
            save(model, tokenizer, folder)
            right = joint.accuracies(stage, head, watched, length=bins["length"], pad_id=pad_id)
            figure = bits_per_byte(model, validation[:60], end_id=end_id)
            stage.record(step=step + 1, accuracy=right, bits_per_byte_of_60=round(figure, 4))
            last = now
        if now - start > minutes * 60:
            break
    save(model, tokenizer, folder)
    stage.finish(step + 1, **figures(model, validation, end_id=end_id))


def ship(name: str) -> None:
    """Write the asset from a stage's weights, which are measured again; keep the logs of all stages that led to it."""
    plan = load_plan()
    chain = chain_of(plan, name)
    num_tokens = sum(tokens_read(WORK / stage / "log.jsonl") for stage in chain)
    corpus = json.loads((WORK / "corpus.json").read_text())
    kept = [f"| {source} | {count:,} | {plan['licences'][source]} |" for source, count in corpus["documents"].items()]
    commands = ["tokenizer", *(f"{kind_of(plan['stages'][stage])} {stage}" for stage in chain), f"ship {name}"]
    card = {
        "sources": "\n".join(kept),
        "dropped": f"{sum(sum(found.values()) for found in corpus['dropped'].values()):,}",
        "tokens": f"{num_tokens / 1e6:.1f} million",
        "commands": "\n".join(f"python scripts/build_base.py {command}" for command in commands),
    }
    licences = list(article_licences(DATA).values())
    restricted = sum("-nc" in text or "-nd" in text or "non-commercial" in text for text in licences)
    unnamed = sum(text.endswith("no CC url") for text in licences)
    card |= {"articles": len(licences), "restricted": restricted, "unnamed": unnamed}
    tokenizer = AutoTokenizer.from_pretrained(WORK / name)
    end_id = tokenizer.convert_tokens_to_ids(END)
    measured = figures(load_model(WORK / name), validation_documents(tokenizer), end_id=end_id)
    card["by_position"] = ", ".join(f"{value:.2f} ({band})" for band, value in measured["nats_by_position"].items())
    asset.export(WORK / name, ASSET, end_token=END, facts={"bits_per_byte": measured["bits_per_byte"], "card": card})
    for stage in chain:
        shutil.copy(WORK / stage / "log.jsonl", LOGS / f"{stage}.jsonl")


def measure(folder: Path) -> None:
    """Print the last figures of a model in a folder: a stage's or the shipped one.

    Raises:
        PlanError: The folder holds no model.
    """
    if not (folder / "model.safetensors").exists():
        raise PlanError(
            f"{folder} holds no model.safetensors. Name the folder of a stage, or {ASSET.relative_to(ROOT)}."
        )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end_id = tokenizer.convert_tokens_to_ids(END)
    print(json.dumps(figures(load_model(folder), validation_documents(tokenizer), end_id=end_id)))


def run(arguments: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        PlanError: It can't be done.
    """
    if not (DATA / "corpus").is_dir():
        raise PlanError(f"{DATA} is not there. Set CLSGEN_SHARED to the folder that holds data/.")
    if arguments.command == "tokenizer":
        make_tokenizer()
    elif arguments.command == "ship":
        ship(arguments.stage)
    elif arguments.command == "measure":
        measure(arguments.folder)
    elif arguments.command == "instruct":
        instruct(arguments.stage, minutes=arguments.minutes)
    else:
        folder = arguments.folder or arguments.stage
        pretrain(arguments.stage, folder_name=folder, minutes=arguments.minutes, changes=arguments.changes)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("tokenizer")
    part = commands.add_parser("pretrain")
    part.add_argument("stage")
    part.add_argument("--minutes", type=float, default=math.inf, help=MINUTES)
    part.add_argument(
        "--set", nargs="*", default=[], dest="changes", help="Settings of a trial: optimizer.is_muon=false"
    )
    part.add_argument("--as", default=None, dest="folder", help="Folder of a trial; default: the stage's name.")
    part = commands.add_parser("instruct")
    part.add_argument("stage")
    part.add_argument("--minutes", type=float, default=math.inf, help=MINUTES)
    part = commands.add_parser("ship")
    part.add_argument("stage")
    part = commands.add_parser("measure")
    part.add_argument("folder", type=Path)
    try:
        run(parser.parse_args())
    except PlanError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
