"""FlexNPU: several unmodified programs share one Ascend NPU, each on a virtual NPU of its own."""

__version__ = "0.1.0"
