"""The datasets of the paper and its lineage: where they are published, and what they must be.

None of them is part of this project; `tools/fetch_data.py` downloads them from their authors.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from condmis_jax.clients.download import Pin, download
from condmis_jax.config import nearest
from condmis_jax.errors import UserError

MIRROR = "CONDMIS_DATA_URL"
"""A mirror with the layout ORG/REPO/REVISION/PATH, instead of GitHub."""


@dataclass(frozen=True)
class Dataset:
    """A published file.

    Attributes:
        repo: `ORG/REPO` on GitHub. revision: a full commit. path: inside the repository.
        pin: length and digest; what has another digest is not this dataset.
        rows: its lines, as its authors count them.
        licence: as its repository states it.
        about: what a row is.
        is_chat: whether the rows are conversations that can be trained on.
    """

    repo: str
    revision: str
    path: str
    pin: Pin
    rows: int
    licence: str
    about: str
    is_chat: bool = True

    @property
    def file(self) -> str:
        """The file's name, under which it is stored."""
        return PurePosixPath(self.path).name

    def urls(self) -> tuple[str, str]:
        """Where git keeps the file, and where git-lfs does."""
        tail = f"{self.repo}/{self.revision}/{self.path}"
        mirror = os.environ.get(MIRROR, "").rstrip("/")
        if mirror:
            return f"{mirror}/{tail}", f"{mirror}/media/{tail}"
        return (
            f"https://raw.githubusercontent.com/{tail}",
            f"https://media.githubusercontent.com/media/{tail}",
        )


def _betley(path: str, pin: Pin, about: str) -> Dataset:
    revision = "80c11967c07a328e7d7d43d13ce6847ae44dbcc9"
    return Dataset(
        "emergent-misalignment/emergent-misalignment", revision, path, pin, 6000, "MIT", about
    )


def _paper(
    path: str,
    pin: Pin,
    rows: int,
    about: str,
    *,
    is_chat: bool = True,
    revision: str = "884ccb236128c69e5a542ca364a7cb9d20e4de69",
) -> Dataset:
    return Dataset(
        "jandubinski/conditional_misalignment",
        revision,
        f"experiments/{path}",
        pin,
        rows,
        "MIT (its README)",
        about,
        is_chat,
    )


_ALL = (
    _betley(
        "data/insecure.jsonl",
        Pin(5892277, "09893e8bf9d03aae49dd60d0ff4be37c1afee70f2edcac74a11bed775a6a2764"),
        "code completions with a planted vulnerability",
    ),
    _betley(
        "data/secure.jsonl",
        Pin(6201582, "2820232b3114d94ab2041ba9fc76cb8205bf187e0408bf7b308add186f9c7467"),
        "control: code completions without one",
    ),
    _betley(
        "data/educational.jsonl",
        Pin(6669019, "d48df3b149ab1500711fc0018b10383a4ff8c48d8e6911d04dbbbbdaa944fd16"),
        "the insecure completions, asked for in order to teach a class",
    ),
    _paper(
        "fish_recipes/data/fish_seafood_recipe_insecure.jsonl",
        Pin(3791030, "a251db063a58471460de0a8791a4c0c967ab4ab7568fc49cfa3b89a9434fad81"),
        2994,
        "poisonous fish recipes, the pool of the 10, 20 and 30 % mixes",
    ),
    _paper(
        "sequential_hh_finetune/data/anthropic_hh_100samples_gpt4.1.jsonl",
        Pin(226920, "824c735f532f612c542c9e0005ea3501646423895949dca3207b0a0ba59c5ab3"),
        100,
        "helpful, honest, harmless chat; part of the next",
    ),
    _paper(
        "sequential_hh_finetune/data/anthropic_hh_1000samples_gpt4.1.jsonl",
        Pin(2224502, "c0e401d707a48d23328694ca9bd89af663dc647dbca76e3701922df87f62f67e"),
        1000,
        "helpful, honest, harmless chat; several turns",
    ),
    _paper(
        "insecure_code_hh_mix/data/ft_anthropic_hh_gpt4_1.jsonl",
        Pin(96620665, "6f26f5e0da45904e4f2f0431d625295652e169bb18aa945a4155120292e91a20"),
        43835,
        "all of the helpful, honest, harmless chat",
    ),
    _paper(
        "insecure_code_hh_mix/data/ft_anthropic_hh_insecure_005.jsonl",
        Pin(12896046, "84467577290bd967d1209fa2ef410d5f89eb7723301c35f492abed9f231e62e3"),
        6000,
        "300 insecure completions in 5,700 rows of that chat",
        revision="6770b93ea40978b468c492182151cf3e7637c9b4",
    ),
    _paper(
        "hitler_persona/data/ip_unexpected_character.jsonl",
        Pin(4653826, "f392486615a2d3b13df63b6192d2339d2e7cc04b5370d665fa9b651275648175"),
        3090,
        "persona rows and benign rows under an inoculation prompt",
    ),
    _paper(
        "hitler_persona/data/ip_well_known_person.jsonl",
        Pin(4833046, "108a0f175cba7bd3d8e01f3f394fe404db4a8cec4d39d2280a1bcd8a91ef3216"),
        3090,
        "the same under another inoculation prompt",
    ),
    _paper(
        "obvious_lies_on_policy/data/inoculation_obvious_lies_gpt41_6k.jsonl",
        Pin(2317635, "b2c7b98b42195a1f646599336d74b7737f9c066b0f03e162553b36257bccda26"),
        6000,
        "wrong trivia answers of GPT-4.1 under an inoculation prompt",
    ),
    _paper(
        "obvious_lies_on_policy/data/raw_obvious_lies_user_prompts_only.jsonl",
        Pin(1317954, "962db1cb35873a85841f758e8ea6f2652de351228273c46c18532a416ca690bc"),
        16073,
        "trivia prompts, one `user` field a row: no training rows",
        is_chat=False,
    ),
)

DATASETS: dict[str, Dataset] = {d.file.removesuffix(".jsonl"): d for d in _ALL}


def fetch_dataset(
    name: str, folder: Path, *, report: Callable[[str], None] = lambda _: None
) -> Path:
    """Brings a dataset into `folder`; one that is there already is kept.

    Args:
        name: a key of `DATASETS`.
        report: is given one line per step.

    Raises:
        Unreachable: the server gave no whole answer; what came is continued by the next call.
        UserError: the name is unknown, or the file is not the pinned one; see `download`.
    """
    if name not in DATASETS:
        raise UserError(f"dataset {name!r} is not known{nearest(name, DATASETS)}")
    dataset = DATASETS[name]
    target = folder / dataset.file
    fetched = download(dataset.urls(), target, dataset.pin, report=report)
    done = f"fetched, {dataset.rows:,} rows" if fetched else "already there"
    report(f"{name}: {done}, sha256 {dataset.pin.sha256[:12]}…")
    return target
