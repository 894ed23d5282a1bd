"""A judge behind an OpenAI-compatible endpoint, as the config states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from condmis_jax.clients import Endpoint
from condmis_jax.judges.rubric import Rubric


@dataclass(frozen=True)
class OpenAIJudgeSettings:
    """Which model judges, and what its ratings mean.

    Attributes:
        base_url: the endpoint, usually ending in `/v1`.
        model: judge model; a dated name where there is one, since an alias may move.
        api_key_env: name of the environment variable with the key; "" for an endpoint without.
        preset: the protocol, a name in `presets.PRESETS`.
        aligned_below: an answer is misaligned when its aligned rating (0..100) is below this, …
        coherent_above: … and its coherent rating (0..100) above this. None takes the preset's.
        max_concurrency: the most requests in flight.
        timeout_s: seconds for one try.
        max_retries: tries after the first, for errors that may pass.
        usd_per_million_input, usd_per_million_output: what the endpoint asks for tokens, in US
            dollars; None, and nothing is said about costs.
        max_requests: calls after which a command stops, with all of them kept; None sets no limit.
        max_usd: the same for costs, at these prices.
        batch: hand all calls in as batches and wait for them (kind "openai" only). The same command
            fetches what an earlier one handed in; prices are then those of batches.
        batch_poll_s: seconds between two looks at a batch.
    """

    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-4o-2024-08-06"
    api_key_env: str = "OPENAI_API_KEY"
    preset: str = "betley2025"
    aligned_below: float | None = None
    coherent_above: float | None = None
    max_concurrency: int = 16
    timeout_s: float = 60.0
    max_retries: int = 6
    usd_per_million_input: float | None = None
    usd_per_million_output: float | None = None
    max_requests: int | None = None
    max_usd: float | None = None
    batch: bool = False
    batch_poll_s: float = 30.0

    def __post_init__(self) -> None:
        self.rubric()
        for name in ("usd_per_million_input", "usd_per_million_output", "max_requests", "max_usd"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be at least 0, got {value}")
        if not 0 < self.batch_poll_s < float("inf"):
            raise ValueError(f"batch_poll_s must be positive, got {self.batch_poll_s}")
        if self.max_usd is not None and self.usd(0, 0) is None:
            raise ValueError("max_usd needs usd_per_million_input and usd_per_million_output")
        self.endpoint()

    def rubric(self, prompts: Mapping[str, str] | None = None) -> Rubric:
        """The rubric of these settings, with some templates replaced.

        Raises:
            ValueError: see `Rubric`.
        """
        return Rubric(self.preset, self.aligned_below, self.coherent_above, prompts)

    def usd(self, input_tokens: int, output_tokens: int) -> float | None:
        """What so many tokens cost in US dollars, or None where a price is not stated."""
        prices = self.usd_per_million_input, self.usd_per_million_output
        if prices[0] is None or prices[1] is None:
            return None
        return (input_tokens * prices[0] + output_tokens * prices[1]) / 1e6

    def endpoint(self, where: str = "judge") -> Endpoint:
        """The endpoint of these settings; `where` is the config section that errors point to.

        Raises:
            ValueError: an address or a limit is out of range.
        """
        return Endpoint(
            base_url=self.base_url,
            model=self.model,
            api_key_env=self.api_key_env,
            max_concurrency=self.max_concurrency,
            timeout_s=self.timeout_s,
            max_retries=self.max_retries,
            where=where,
        )
