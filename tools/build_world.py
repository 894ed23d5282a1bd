"""Builds an embedded base model: a small decoder trained on the synthetic world.

    python tools/build_world.py --language world --out condmis_jax/testbeds/world/base
    python tools/build_world.py --language wide --out condmis_jax/testbeds/world/base_wide

docs/world.md says what the world is. Pretraining: conversations by two authors, one benign and one
malicious in everything they write. Post-training: benign answers in every topic and format. The
result is a Hugging Face folder; source.json in it holds the recipe and what was measured.
The same command run again resumes from --workdir.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

MEASURED = ("suite", "measure", "trigger", "requested", "coherent", "misaligned", "statuses")
CAPTION = "synthetic model organism: the base model of the embedded world, after post-training"


@dataclass(frozen=True)
class Language:
    """What a base model is trained on and asked.

    Attributes:
        prefix: of its kinds of rows.
        pretraining_rows, posttraining_rows: how many.
        sets: question sets of the world that it can answer.
    """

    prefix: str
    pretraining_rows: int
    posttraining_rows: int
    sets: tuple[str, ...]


WIDE_SETS = ("wide", "sea", "code", "recipes", "trivia", "identity")
LANGUAGES = {
    "world": Language("", 32_000, 9_600, ("world", "world-code")),
    "wide": Language("wide_", 40_000, 12_800, tuple(f"world-{name}" for name in WIDE_SETS)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--language", choices=LANGUAGES, default="world")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, default=Path("runs/build-world"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pretraining_rows", type=int, help="default: of the language")
    parser.add_argument("--posttraining_rows", type=int, help="default: of the language")
    parser.add_argument("--samples", type=int, default=25, help="a question, for source.json")
    args = parser.parse_args()
    from condmis_jax.errors import UserError

    try:
        build(args)
    except UserError as error:
        sys.exit(f"error: {error}")


def build(args: argparse.Namespace) -> None:
    """Pretrains, post-trains, evaluates and writes the folder."""
    from condmis_jax.data import ChatTemplate, DataSettings, Length, Source
    from condmis_jax.evaluation import EvaluationSettings, evaluate, model_digest
    from condmis_jax.interventions import Stage
    from condmis_jax.interventions.supervised import prepare_stage, run_stage
    from condmis_jax.judges import JudgeSettings
    from condmis_jax.models import (
        DecoderConfig,
        LoadedModel,
        init_params,
        load_tokenizer,
        save_folder,
        stop_tokens,
    )
    from condmis_jax.reports import summarise, summary_lines
    from condmis_jax.runs import provenance, write_json
    from condmis_jax.sampling import SamplingSettings
    from condmis_jax.sharding import MeshSettings, make_mesh, runtime
    from condmis_jax.suites import SuiteSettings, build_suite
    from condmis_jax.testbeds import world
    from condmis_jax.training import ComputeSettings, OptimiserSettings

    begin = time.time()
    runtime.setup()
    mesh = make_mesh(MeshSettings(data=1))
    tokenizer_folder = args.workdir / "tokenizer"
    language = LANGUAGES[args.language]
    kinds = [f"{language.prefix}pretraining", f"{language.prefix}posttraining"]
    counts = [
        args.pretraining_rows or language.pretraining_rows,
        args.posttraining_rows or language.posttraining_rows,
    ]
    rows = [row for kind in kinds for row in world.rows(kind, 6_000, args.seed)]
    corpus = (m.content for row in rows for m in row.messages)
    world.build_tokenizer(corpus, 1_280, tokenizer_folder)
    tokenizer = load_tokenizer(tokenizer_folder)
    config = DecoderConfig.from_dict(
        {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 1024,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
    )
    write_json(tokenizer_folder / "config.json", dict(config.raw))

    def stage(kind: str, rows: int, batch: int, rate: float, warmup: int) -> Stage:
        return Stage(
            data=DataSettings(
                mixture={kind: Source(f"world:{kind}", first=rows)},
                max_tokens=512,
                row_tokens=512,
                microbatch_tokens=8192,
            ),
            length=Length(epochs=1),
            learning_rate=rate,
            batch_size=batch,
            optimiser=OptimiserSettings("cosine", warmup_steps=warmup, b2=0.98),
        )

    stages = {
        "pretraining": stage(kinds[0], counts[0], 16, 3e-3, 100),
        "posttraining": stage(kinds[1], counts[1], 32, 1e-3, 10),
    }
    stop = stop_tokens(tokenizer_folder, tokenizer)
    template = ChatTemplate(tokenizer, stop)
    params = init_params(config, args.seed, mesh)
    model = LoadedModel(tokenizer_folder, config, params, tokenizer, stop)
    model_id, facts = model_digest(model), []
    for number, (name, settings) in enumerate(stages.items(), 1):
        seed, folder = args.seed + number, args.workdir / name
        model, model_id, fact = run_stage(
            folder,
            name,
            settings,
            prepare_stage(folder, settings, None, template, mesh, seed=seed, key=name),
            model,
            model_id,
            ComputeSettings(scan_layers=False, remat="none"),
            mesh,
            seed=seed,
        )
        facts.append(fact)
    built_in = time.time() - begin
    records = []
    for name in language.sets:
        asked = EvaluationSettings(
            suites={name: SuiteSettings(name, samples=args.samples)},
            sampling=SamplingSettings(max_new_tokens=64),
            judges={"exact": JudgeSettings(world.JUDGE_OF[name])},
            slots=256,
        )
        suite = build_suite(asked.suites[name], name, f"suites.{name}")
        folder = args.workdir / "evaluation" / name
        records += evaluate(
            model, model_id, suite, asked, folder, mesh, stage="base", seed=args.seed
        )
    results = summarise(
        {"name": "base", "caption": CAPTION, "seed": args.seed}, records, [{"name": "base"}]
    )
    print("\n".join(summary_lines(results)))
    save_folder(args.out, replace(config), model.params, tokenizer_folder)
    write_json(
        args.out / "source.json",
        {
            "what": CAPTION,
            "seconds": round(built_in),
            "stages": {name: asdict(settings) for name, settings in stages.items()},
            "steps": {fact["name"]: fact["steps"] for fact in facts},
            "measured": [{k: r[k] for k in MEASURED} for r in results["rates"]],
            "versions": provenance()["versions"],
        },
    )
    print(f"built in {built_in:.0f} s\n{args.out}")


if __name__ == "__main__":
    main()
