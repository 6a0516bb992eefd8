# SPDX-License-Identifier: Apache-2.0
"""A forecast as it is asked for and answered."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Prompt = Annotated[str, Field(pattern=r"^([0-9]{1,5}x)?[0-9]{1,8}(\+[0-9]{1,8})?$", max_length=32)]
Running = Annotated[str, Field(pattern=r"^([0-9]{1,5}x)?[0-9]{1,8}$", max_length=32)]
Format = Annotated[str, Field(max_length=32)]


class ForecastQuestion(BaseModel):
    """prefill: prompts, each TOKENS, COUNTxTOKENS or TOKENS+CACHED. decode: running requests, each CONTEXT or
    COUNTxCONTEXT. Both are one iteration on `cores` (null: all), unless the prompts have `beside_cores` of theirs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str = Field(max_length=64, description="one that ships, such as qwen2.5-7b", examples=["qwen2.5-7b"])
    soc: str = Field(max_length=64, description="a SoC that is known", examples=["Ascend910B2"])
    cores: int | None = Field(default=None, ge=1, le=1024)
    prefill: list[Prompt] = Field(default_factory=list, max_length=64, examples=[["4x2048"]])
    decode: list[Running] = Field(default_factory=list, max_length=64, examples=[["64x4096"]])
    beside_cores: int | None = Field(default=None, ge=1, le=1024)
    tensor_parallel: int = Field(default=1, ge=1, le=64)
    expert_parallel: int = Field(default=1, ge=1, le=64)
    weight_dtype: Format | None = None
    kv_dtype: Format | None = None


class OperatorTime(BaseModel):
    """bound_by: what it waits for, such as compute or memory."""

    seconds: float
    bound_by: str


class ForecastAnswer(BaseModel):
    """Modelled, not measured. seconds: of the iteration, of device time; uncertainty: of that, as a ratio, one standard
    deviation. bytes: on each device."""

    soc: str
    model: str
    tensor_parallel: int
    expert_parallel: int
    weight_dtype: str
    kv_dtype: str
    weight_bytes: float
    kv_bytes_per_token: float
    cores: int
    tokens: int
    seconds: float
    uncertainty: float
    calibrated: bool
    weights_fit: bool
    notes: list[str]
    tokens_per_second: float
    operators: dict[str, OperatorTime]


class ShippedModel(BaseModel):
    """A model that forecasts can be asked for, by the architecture of its config.json."""

    name: str
    architecture: str


class ForecastModels(BaseModel):
    items: list[ShippedModel]
