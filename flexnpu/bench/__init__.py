# SPDX-License-Identifier: Apache-2.0
"""What FlexNPU promises in figures, measured: one module per benchmark. docs/benchmarks.md says what each means."""
