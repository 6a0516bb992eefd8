# SPDX-License-Identifier: Apache-2.0
"""Memory, devices and training as a torch_npu program uses them."""

from __future__ import annotations

# Prints the loss at every step of the same training on the CPU and on the NPU.
COMPARE = """
def compare(network, make_optimizer, steps, loss_of):
    curves = []
    for device in ("cpu", "npu"):
        torch.manual_seed(1)
        net, curve = network().to(device), []
        optimizer = make_optimizer(net.parameters())
        for _ in range(steps):
            loss = loss_of(net, device)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
        curves.append(curve)
    print(json.dumps(curves))
"""


def test_expandable_segments_grow_and_are_given_back(on_device):
    result = on_device("""
torch.npu.memory._set_allocator_settings("expandable_segments:True")
few = torch.full((1 << 18,), 2.0).npu()
many = [torch.full((1 << 20,), float(i)).npu() for i in range(40)]
sums = [each.sum().item() / (1 << 20) for each in many]
held = torch.npu.memory_reserved()
del many
torch.npu.empty_cache()
print(json.dumps([sums, held >> 20, torch.npu.memory_reserved() >> 20, few.sum().item()]))
""")
    sums, held, after, first = result
    assert sums == [float(i) for i in range(40)]
    assert held >= 160
    assert after <= 40
    assert first == 2.0 * (1 << 18)


def test_tensors_travel_between_devices(on_device):
    assert on_device(
        """
x = torch.arange(5.0).to("npu:0")
y = x.to("npu:1") + 1
print(json.dumps([torch.npu.device_count(), y.device.index, y.to("npu:0").tolist(), y.cpu().tolist()]))
""",
        devices=2,
    ) == [2, 1, [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]]


def test_formats_of_the_cube_keep_the_values(on_device):
    assert on_device("""
x = torch.arange(33 * 65).reshape(33, 65).float()
there = torch_npu.npu_format_cast(x.half().npu(), 29)
product = torch.eye(33).half().npu() @ there
print(json.dumps([bool((there.cpu() == x.half()).all()), bool((product.cpu() == x.half()).all())]))
""") == [True, True]


def test_training_with_amp_and_adamw_follows_the_cpu(on_device):
    here, there = on_device(f"""{COMPARE}
torch.manual_seed(0)
data, goal = torch.randn(64, 16), torch.randn(64, 4)
def network():
    return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.LayerNorm(32), torch.nn.GELU(), torch.nn.Linear(32, 4))
def loss_of(net, device):
    with torch.autocast(device, torch.bfloat16):
        return torch.nn.functional.mse_loss(net(data.to(device)), goal.to(device))
compare(network, lambda parameters: torch.optim.AdamW(parameters, lr=1e-2), 20, loss_of)
""")
    assert here[-1] < 0.7 * here[0]
    # bf16 keeps 8 bits, and twenty steps add their roundings up
    assert max(abs(a - b) / a for a, b in zip(here, there, strict=True)) < 0.03


def test_a_convolutional_network_trains_as_on_the_cpu(on_device):
    here, there = on_device(f"""{COMPARE}
torch.manual_seed(0)
images, labels = torch.randn(8, 3, 16, 16), torch.randint(0, 5, (8,))
def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 16, 3, stride=2), torch.nn.GroupNorm(4, 16), torch.nn.SiLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 5))
def loss_of(net, device):
    return torch.nn.functional.cross_entropy(net(images.to(device)), labels.to(device))
compare(network, lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9), 10, loss_of)
""")
    assert here[-1] < 0.7 * here[0]
    assert max(abs(a - b) for a, b in zip(here, there, strict=True)) < 1e-3


def test_a_saturating_device_keeps_the_largest_number_and_tells(on_device):
    by_default, saturated, flags = on_device("""
import ctypes
ascendcl = ctypes.CDLL("libascendcl.so")
def overflowed():
    return torch_npu.npu_get_float_status(torch.zeros(8).npu()).cpu()[0].item() != 0
large = torch.tensor([60000.0, -60000.0, 1.0]).half().npu()
by_default = (large * 2).tolist()
assert ascendcl.aclrtSetDeviceSatMode(0) == 0
flags = [overflowed()]
saturated = (large * 2).tolist()
flags.append(overflowed())
torch_npu.npu_clear_float_status(torch.zeros(8).npu())
flags.append(overflowed())
print(json.dumps([[str(x) for x in by_default], saturated, flags]))
""")
    assert by_default == ["inf", "-inf", "2.0"]
    assert saturated == [65504.0, -65504.0, 2.0]
    assert flags == [False, True, False]


def test_a_device_that_was_stopped_drops_its_work_and_goes_on_after_a_restart(on_device):
    said, total = on_device("""
x = torch.ones(1024, 1024).npu()
torch.npu.synchronize()
assert torch_npu.npu.stop_device(0) == 0
try:
    x @ x
    torch.npu.synchronize()
    said = ""
except RuntimeError as error:
    said = str(error)
torch_npu.npu.restart_device(0)
print(json.dumps([said, (x @ x).sum().item()]))
""")
    assert said.startswith("FORCE STOP")
    assert total == 1024**3
