# SPDX-License-Identifier: Apache-2.0
"""Latency of one engine iteration on some of a device's cores, alone or beside another phase."""

from flexnpu.forecast.batch import Batch, ForecastError, Request
from flexnpu.forecast.breakdown import Forecast
from flexnpu.forecast.forecaster import Forecaster, forecast
from flexnpu.forecast.load import Load
from flexnpu.forecast.profile import Profile, saturation

__all__ = ["Batch", "Forecast", "ForecastError", "Forecaster", "Load", "Profile", "Request", "forecast", "saturation"]
