# SPDX-License-Identifier: Apache-2.0
"""What is said to the kubelet is what Kubernetes publishes, and what is committed is made from the .proto files."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor

from device_plugin.wire import deviceplugin_pb2, podresources_v1_pb2, podresources_v1alpha1_pb2

ROOT = Path(__file__).parents[2]
WIRE = ROOT / "device_plugin/wire"
MADE_BY = "1.85.1"  # another grpcio-tools writes other comments

# name: (number, type, is repeated), by message, as the interfaces of Kubernetes have them.
TEXT, BOOL, INT32, INT64, MESSAGE = (
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_MESSAGE,
)
DEVICE_PLUGIN = {
    "DevicePluginOptions": [(1, BOOL, False), (2, BOOL, False)],
    "RegisterRequest": [(1, TEXT, False), (2, TEXT, False), (3, TEXT, False), (4, MESSAGE, False)],
    "ListAndWatchResponse": [(1, MESSAGE, True)],
    "Device": [(1, TEXT, False), (2, TEXT, False), (3, MESSAGE, False)],
    "TopologyInfo": [(1, MESSAGE, True)],
    "NUMANode": [(1, INT64, False)],
    "PreferredAllocationRequest": [(1, MESSAGE, True)],
    "ContainerPreferredAllocationRequest": [(1, TEXT, True), (2, TEXT, True), (3, INT32, False)],
    "PreferredAllocationResponse": [(1, MESSAGE, True)],
    "ContainerPreferredAllocationResponse": [(1, TEXT, True)],
    "AllocateRequest": [(1, MESSAGE, True)],
    "ContainerAllocateRequest": [(1, TEXT, True)],
    "AllocateResponse": [(1, MESSAGE, True)],
    "ContainerAllocateResponse": [(number, MESSAGE, True) for number in (1, 2, 3, 4, 5)],
    "Mount": [(1, TEXT, False), (2, TEXT, False), (3, BOOL, False)],
    "DeviceSpec": [(1, TEXT, False), (2, TEXT, False), (3, TEXT, False)],
    "CDIDevice": [(1, TEXT, False)],
    "PreStartContainerRequest": [(1, TEXT, True)],
    "PreStartContainerResponse": [],
    "Empty": [],
}
POD_RESOURCES = {
    "ListPodResourcesRequest": [],
    "ListPodResourcesResponse": [(1, MESSAGE, True)],
    "PodResources": [(1, TEXT, False), (2, TEXT, False), (3, MESSAGE, True)],
    "ContainerResources": [(1, TEXT, False), (2, MESSAGE, True)],
    "ContainerDevices": [(1, TEXT, False), (2, TEXT, True)],
}


@pytest.mark.parametrize(
    ("module", "package", "published"),
    [
        (deviceplugin_pb2, "v1beta1", DEVICE_PLUGIN),
        (podresources_v1_pb2, "v1", POD_RESOURCES),
        (podresources_v1alpha1_pb2, "v1alpha1", POD_RESOURCES),
    ],
)
def test_messages_are_those_that_kubernetes_publishes(module, package, published):
    assert module.DESCRIPTOR.package == package
    ours = {
        name: [(field.number, field.type, field.is_repeated) for field in message.fields]
        for name, message in module.DESCRIPTOR.message_types_by_name.items()
    }
    assert ours == published


def test_services_are_those_that_kubernetes_publishes():
    services = {
        name: [method.name for method in service.methods]
        for module in (deviceplugin_pb2, podresources_v1_pb2)
        for name, service in module.DESCRIPTOR.services_by_name.items()
    }
    assert services == {
        "Registration": ["Register"],
        "DevicePlugin": [
            "GetDevicePluginOptions",
            "ListAndWatch",
            "GetPreferredAllocation",
            "Allocate",
            "PreStartContainer",
        ],
        "PodResourcesLister": ["List"],
    }


def test_bytes_of_a_registration_are_as_a_kubelet_reads_them():
    options = deviceplugin_pb2.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True)
    request = deviceplugin_pb2.RegisterRequest(
        version="v1beta1", endpoint="a.sock", resource_name="b/c", options=options
    )
    assert request.SerializeToString() == b'\n\x07v1beta1\x12\x06a.sock\x1a\x03b/c"\x04\x08\x01\x10\x01'


def test_what_is_committed_is_what_the_proto_files_make(tmp_path: Path):
    if importlib.metadata.version("grpcio-tools") != MADE_BY:
        pytest.skip(f"grpcio-tools is another one than {MADE_BY}")
    sources = sorted(str(file.relative_to(ROOT)) for file in WIRE.glob("*.proto"))
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I",
        ".",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
    ]
    subprocess.run([*command, *sources], cwd=ROOT, check=True)
    made = {file.name: file.read_text() for file in (tmp_path / "device_plugin/wire").iterdir()}
    committed = {file.name: file.read_text() for file in WIRE.iterdir() if "_pb2.py" in file.name}
    assert committed == made, "run: make wire"
