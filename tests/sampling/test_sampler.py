"""The sampler against plain forward passes: whatever it caches, shares or refills shows nowhere."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import xla_flags

from condmis_jax.errors import UserError
from condmis_jax.models import logits
from condmis_jax.sampling import Completion, Request, Sampler, SamplingSettings, decode
from condmis_jax.sampling import sampler as sampler_module
from condmis_jax.sampling.noise import uniform

NEW = 20
GREEDY = SamplingSettings(temperature=0, max_new_tokens=NEW)
WARM = SamplingSettings(temperature=1.0, max_new_tokens=NEW)


def prompts(n: int, seed: int = 0, longest: int = 60) -> list[tuple[int, ...]]:
    """Prompts of 1 to `longest` tokens: two classes of length."""
    rng = np.random.default_rng(seed)
    lengths = [1, 31, 32, 33, longest, *rng.integers(2, longest, n)][:n]
    return [tuple(rng.integers(3, 300, k).tolist()) for k in lengths]


def sampled(
    sampler: Sampler, requests: Sequence[Request], settings: SamplingSettings
) -> dict[Any, Completion]:
    out: dict[Any, Completion] = {}

    def take(done: list[Completion]) -> None:
        for completion in done:
            assert completion.key not in out
            out[completion.key] = completion

    sampler.sample(requests, settings, take)
    assert out.keys() == {r.key for r in requests}
    return out


@pytest.fixture(scope="module")
def make_sampler(tiny_model: Any, mesh: Any) -> Any:
    def make(slots: int = 8, group: int = 2, stop: Sequence[int] = (), **options: Any) -> Sampler:
        return Sampler(
            tiny_model.config, tiny_model.params, stop, mesh, slots=slots, group=group, **options
        )

    return make


@pytest.fixture(scope="module")
def sampler(make_sampler: Any) -> Sampler:
    return make_sampler()


@pytest.fixture(scope="module")
def scores(tiny_model: Any) -> Any:
    """Logits of whole rows, padded to one shape, without any cache."""
    run = jax.jit(logits, static_argnums=0)

    def of(rows: Sequence[Sequence[int]]) -> np.ndarray:
        tokens = np.zeros((8, 96), np.int32)
        out = []
        for i in range(0, len(rows), 8):
            part = rows[i : i + 8]
            for r, row in enumerate(part):
                tokens[r, : len(row)] = row
            out.append(np.asarray(run(tiny_model.config, tiny_model.params, tokens))[: len(part)])
        return np.concatenate(out)

    return of


@pytest.fixture(scope="module")
def greedy(scores: Any) -> list[list[int]]:
    """Greedy completions of `prompts(12)`, token by token without a cache."""
    rows = [list(p) for p in prompts(12)]
    for _ in range(NEW):
        found = scores(rows)
        for row, s in zip(rows, found, strict=True):
            row.append(int(s[len(row) - 1].argmax()))
    return [row[len(p) :] for row, p in zip(rows, prompts(12), strict=True)]


def test_greedy_is_the_forward_pass_without_a_cache(
    sampler: Sampler, greedy: list[list[int]]
) -> None:
    requests = [Request(i, p, 0) for i, p in enumerate(prompts(12))]
    out = sampled(sampler, requests, GREEDY)
    assert [out[i].tokens for i in range(12)] == greedy
    assert {c.finish for c in out.values()} == {"length"}
    # The comparison means something: completions are no repetition of one token.
    assert np.mean([len(set(t)) for t in greedy]) > 5


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[int]]]:
    """What of prompts is read together: "head" or "rest", and how many tokens of each."""
    seen: list[tuple[str, list[int]]] = []
    made = decode.make_programs

    def make_programs(config: Any, settings: Any, shape: decode.Shape, *of: Any) -> decode.Programs:
        programs = made(config, settings, shape, *of)

        def begin(params: Any, tokens: Any, count: Any) -> Any:
            seen.append(("head", count.tolist()))
            return programs.begin(params, tokens, count)

        def prefill(*of: Any) -> Any:
            groups, count = of[3], of[-1]
            seen.append(("rest", count[groups < shape.P].tolist()))
            return programs.prefill(*of)

        return dataclasses.replace(programs, begin=begin, prefill=prefill)

    monkeypatch.setattr(sampler_module, "make_programs", make_programs)
    return seen


def test_what_prompts_begin_with_is_read_once(
    sampler: Sampler, scores: Any, read: list[tuple[str, list[int]]]
) -> None:
    """Two heads, asked in turn: each is read once, and completions are those of whole prompts."""
    rng = np.random.default_rng(3)

    def drawn(n: int) -> tuple[int, ...]:
        return tuple(rng.integers(3, 300, n).tolist())

    heads = [drawn(20), drawn(37)]
    asked = [(head, drawn(n)) for n in (1, 5, 25) for head in heads]
    requests = [Request(i, head + rest, 0, len(head)) for i, (head, rest) in enumerate(asked)]
    out = sampled(sampler, requests, GREEDY)
    found = scores([[*r.prompt, *out[r.key].tokens] for r in requests])
    for request, s in zip(requests, found, strict=True):
        at = s[len(request.prompt) - 1 :][:NEW]
        picked = at[np.arange(NEW), out[request.key].tokens]
        np.testing.assert_allclose(picked, at.max(axis=-1), rtol=0, atol=1e-4)
    # 21 and 25 tokens fit the smallest program whole; sharing would save nothing.
    whole = [("rest", 21), ("rest", 25)]
    shared = [("head", 20), ("rest", 25), ("head", 37), ("rest", 1), ("rest", 5), ("rest", 25)]
    assert sorted((kind, n) for kind, counts in read for n in counts) == sorted(whole + shared)


def test_short_prompts_with_one_sample_are_read_together(
    make_sampler: Any, greedy: list[list[int]], read: list[tuple[str, list[int]]]
) -> None:
    short = [i for i, prompt in enumerate(prompts(12)) if len(prompt) <= 32][1:]
    requests = [Request(i, prompts(12)[i], 0) for i in short]
    out = sampled(make_sampler(slots=4, group=1), requests, GREEDY)
    assert [out[i].tokens for i in short] == [greedy[i] for i in short]
    most, few = divmod(len(short), 4)
    assert most and few  # so that a row without a prompt is read as well
    assert [len(counts) for _, counts in read] == [4] * most + [few]


def test_sharing_does_not_depend_on_what_else_is_asked(sampler: Sampler) -> None:
    requests = [Request(i, p, i, len(p) // 2) for i, p in enumerate(prompts(12))]
    whole = sampled(sampler, requests, WARM)
    for part in (requests[::-1], requests[3:4], requests[5:9]):
        for key, completion in sampled(sampler, part, WARM).items():
            assert completion == whole[key]


def test_stacked_layers_decode_like_unrolled_ones(
    make_sampler: Any, greedy: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What accelerators compile: one layer, looped over stacked weights and caches."""
    monkeypatch.setattr(decode, "unrolls", lambda mesh: False)
    requests = [Request((i, j), p, 0) for i, p in enumerate(prompts(12)) for j in range(3)]
    out = sampled(make_sampler(), requests, GREEDY)
    assert [out[i, j].tokens for i in range(12) for j in range(3)] == [
        tokens for tokens in greedy for _ in range(3)
    ]


def test_greedy_is_generate_of_transformers(sampler: Sampler, tiny_folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder, local_files_only=True).eval()
    some = prompts(12, seed=5)[:7]
    out = sampled(sampler, [Request(i, p, 0) for i, p in enumerate(some)], GREEDY)
    for i, prompt in enumerate(some):
        with torch.no_grad():
            made = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
                do_sample=False,
                max_new_tokens=NEW,
                eos_token_id=None,
                pad_token_id=0,
            )
        assert out[i].tokens == made[0, len(prompt) :].tolist()


def test_a_sample_does_not_depend_on_its_neighbours(sampler: Sampler) -> None:
    """Same compiled shape: the same tokens alone, among others, in any order."""
    few = prompts(6)
    requests = [Request((i, s), p, 100 * i + s) for i, p in enumerate(few) for s in range(7)]
    whole = sampled(sampler, requests, WARM)
    assert len({tuple(c.tokens) for c in whole.values()}) > 35
    shuffled = [requests[i] for i in np.random.default_rng(1).permutation(len(requests))]
    for part in (requests[::-1], shuffled, requests[:1], requests[5:20], shuffled[:9]):
        for key, completion in sampled(sampler, part, WARM).items():
            assert completion == whole[key]


def test_samples_of_one_prompt_share_it_over_several_groups(sampler: Sampler) -> None:
    """More samples than a group has slots; equal seeds give equal samples."""
    prompt = prompts(6)[5]
    requests = [Request(i, prompt, i % 10) for i in range(30)]
    out = sampled(sampler, requests, WARM)
    for i in range(30):
        assert out[i].tokens == out[i % 10].tokens
    assert len({tuple(c.tokens) for c in out.values()}) == 10


def test_every_token_is_the_one_its_noise_asks_for(make_sampler: Any, scores: Any) -> None:
    """For every number of slots each token's interval holds the uniform number, up to rounding.

    So wherever two compiled shapes differ, the draw lay within 1e-4 of a boundary.
    """
    few = prompts(6)
    requests = [Request((i, s), p, 100 * i + s) for i, p in enumerate(few) for s in range(3)]
    checked = 0
    for slots, group in ((8, 2), (3, 1), (32, 8)):
        out = sampled(make_sampler(slots, group), requests, WARM)
        found = scores([[*r.prompt, *out[r.key].tokens] for r in requests])
        for request, s in zip(requests, found, strict=True):
            tokens = np.asarray(out[request.key].tokens)
            at = len(request.prompt) - 1
            p = np.asarray(jax.nn.softmax(s[at : at + NEW], axis=-1), np.float64)
            u = np.asarray(
                uniform(jnp.full(NEW, request.seed, jnp.uint32), jnp.arange(NEW, dtype=jnp.int32))
            )
            ends = np.cumsum(p, axis=-1)[np.arange(NEW), tokens]
            begins = ends - p[np.arange(NEW), tokens]
            assert (begins - 1e-4 < u).all() and (u < ends + 1e-4).all()
            checked += len(tokens)
    assert checked == 3 * len(requests) * NEW


def test_stop_tokens_end_a_completion_and_are_not_part_of_it(
    make_sampler: Any, greedy: list[list[int]]
) -> None:
    stop = (greedy[0][0], greedy[1][7], greedy[4][NEW - 1])
    requests = [Request(i, p, 0) for i, p in enumerate(prompts(12))]
    out = sampled(make_sampler(stop=stop), requests, GREEDY)
    for i, whole in enumerate(greedy):
        end = next((n for n, token in enumerate(whole) if token in stop), None)
        wanted = Completion(i, whole[:end], "length" if end is None else "stop")
        assert out[i] == wanted
    assert out[0].tokens == []
    assert {c.finish for c in out.values()} == {"length", "stop"}


@pytest.mark.parametrize("longest", [1, 5])
def test_short_completions_have_their_length(
    sampler: Sampler, greedy: list[list[int]], longest: int
) -> None:
    requests = [Request(i, p, 0) for i, p in enumerate(prompts(12))]
    settings = SamplingSettings(temperature=0, max_new_tokens=longest)
    out = sampled(sampler, requests, settings)
    assert [out[i].tokens for i in range(12)] == [whole[:longest] for whole in greedy]


def test_top_k_1_is_greedy(sampler: Sampler, greedy: list[list[int]]) -> None:
    requests = [Request(i, p, i) for i, p in enumerate(prompts(12))]
    settings = SamplingSettings(temperature=1.5, top_k=1, max_new_tokens=NEW)
    out = sampled(sampler, requests, settings)
    assert [out[i].tokens for i in range(12)] == greedy


def test_bfloat16_stays_close_to_the_best_token(make_sampler: Any, scores: Any) -> None:
    """Each greedy token in bfloat16 is nearly the likeliest in float32, with a full cache too."""
    some = prompts(12)[:8]
    out = sampled(
        make_sampler(dtype=jnp.bfloat16), [Request(i, p, 0) for i, p in enumerate(some)], GREEDY
    )
    found = scores([[*p, *out[i].tokens] for i, p in enumerate(some)])
    for i, prompt in enumerate(some):
        at = found[i, len(prompt) - 1 : len(prompt) - 1 + NEW]
        gap = at.max(axis=-1) - at[np.arange(NEW), out[i].tokens]
        assert gap.max() < 0.15 * at.std()


def test_a_prompt_fits_to_the_last_position_and_no_further(sampler: Sampler) -> None:
    limit = 256 - NEW
    fits = Request("fits", tuple([7] * limit), 0)
    assert len(sampled(sampler, [fits], GREEDY)["fits"].tokens) == NEW
    long = Request("long", tuple([7] * (limit + 1)), 0)
    done: list[Completion] = []
    with pytest.raises(UserError, match=r"prompt of 237 tokens .* 256 positions") as caught:
        sampler.sample([fits, long], GREEDY, done.extend)
    assert "\n" not in str(caught.value)
    assert not done  # found before anything is drawn


def test_nothing_to_draw(sampler: Sampler) -> None:
    assert sampled(sampler, [], GREEDY) == {}


def test_slots_are_a_multiple_of_the_group(make_sampler: Any) -> None:
    with pytest.raises(ValueError, match="slots 6 is not a multiple of group 4"):
        make_sampler(6, 4)


@pytest.mark.slow
def test_meshes_decode_like_one_device(tiny_folder: Path, greedy: list[list[int]]) -> None:
    some = prompts(12)
    process = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("mesh_sampling.py")),
            str(tiny_folder),
            json.dumps(some),
        ],
        env=os.environ | {"XLA_FLAGS": xla_flags(8)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert {name: f["devices"] for name, f in found.items()} == {"one": 1, "data": 8, "all": 8}
    wanted = {str(i): tokens[:12] for i, tokens in enumerate(greedy)}
    for name, made in found.items():
        assert made["tokens"] == wanted, name
