# SPDX-License-Identifier: Apache-2.0
"""Our declarations of AscendCL and HCCL against the vendor's own headers, which the torch_npu wheel carries.

functions.def needs no test of its own: every row of it defines a function that our headers declare, so a row that
differs from its declaration does not compile.
"""

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

ABI = Path(__file__).parents[2] / "native" / "abi" / "include"
OURS = ["acl_types.h", "acl_rt.h", "acl_op.h", "acl_prof.h", "hccl.h"]
VENDORS = [
    "acl/acl.h",
    "acl/acl_op_compiler.h",
    "acl/acl_dump.h",
    "acl/acl_rt_memory_soma.h",
    "acl/acl_platform.h",
    "acl/acl_prof.h",
    "hccl/hccl.h",
]


def vendor_includes() -> list[str]:
    # Not find_spec: a test that hides torch_npu from transformers would hide it from here as well.
    root = Path(str(importlib.metadata.distribution("torch_npu").locate_file("torch_npu"))) / "include"
    third_party = root / "third_party"
    return [f"-I{path}" for path in (root, third_party / "acl" / "inc", third_party / "hccl" / "inc")]


def compile_text(text: str, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    compiler = shutil.which("c++") or shutil.which("g++")
    assert compiler is not None, "no C++ compiler: run `make test`, which installs one"
    source = tmp_path / "check.cc"
    source.write_text(text)
    return subprocess.run(
        [compiler, "-std=c++20", "-w", *options, str(source)], capture_output=True, text=True, check=False
    )


def header(name: str) -> str:
    text = (ABI / "flexnpu_abi" / name).read_text()
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def declarations() -> dict[str, str]:
    """Name to declaration of every function in our headers."""
    found = {}
    for name in OURS:
        for text in re.findall(r"^ACL_API ([^;]+);", header(name), flags=re.M):
            function = re.search(r"(\w+)\(", text)
            assert function is not None, text
            found[function.group(1)] = " ".join(text.split())
    return found


def constants() -> list[str]:
    names: list[str] = []
    for name in OURS:
        text = header(name)
        names += re.findall(r"^#define ((?:ACL|HCCL|COMM|UDI|BUFFER)\w+) +[-\dx]", text, flags=re.M)
        for body in re.findall(r"enum(?: \w+)? \{([^}]*)\}", text):
            names += re.findall(r"(\w+)(?: = [^,]+)?(?:,|$)", body.strip())
    return names


def layouts() -> list[str]:
    """An expression for the size of every structure and the place of every member."""
    wanted = []
    for name in OURS:
        for body, alias in re.findall(r"typedef (?:struct|union)(?: \w+)? \{([^{}]*)\} (\w+);", header(name)):
            wanted.append(f"sizeof({alias})")
            wanted += [f"offsetof({alias}, {member})" for member in re.findall(r"(\w+)(?:\[[^\]]*\])?\s*;", body)]
    return wanted


def values_of_ours(expressions: list[str], tmp_path: Path) -> dict[str, int]:
    lines = [f'#include "flexnpu_abi/{name}"' for name in OURS]
    prints = [f'  std::printf("%lld\\n", static_cast<long long>({text}));' for text in expressions]
    program = "\n".join([*lines, "#include <cstdio>", "int main() {", *prints, "}"])
    binary = tmp_path / "values"
    built = compile_text(program, tmp_path, f"-I{ABI}", "-o", str(binary))
    assert built.returncode == 0, built.stderr
    run = subprocess.run([str(binary)], capture_output=True, text=True, check=True)
    return dict(zip(expressions, map(int, run.stdout.split()), strict=True))


def against_vendor(lines: list[str], tmp_path: Path) -> str:
    includes = ["#include <cstddef>", *(f'#include "{name}"' for name in VENDORS)]
    text = "\n".join([*includes, *lines])
    return compile_text(text, tmp_path, "-fsyntax-only", *vendor_includes()).stderr


def signature_lines(found: dict[str, str]) -> list[str]:
    known = [f"using vendors_{name} = decltype(&::{name});" for name in found]
    return [*known, 'extern "C" {', *(f"{text};" for text in found.values()), "}"]


def test_signatures_are_the_vendors(tmp_path: Path) -> None:
    found = declarations()
    assert len(found) > 300
    assert against_vendor(signature_lines(found), tmp_path) == ""


def test_a_wrong_signature_would_be_seen(tmp_path: Path) -> None:
    found = {"aclrtFree": "aclError aclrtFree(int devPtr)"}
    assert "aclrtFree" in against_vendor(signature_lines(found), tmp_path)


def test_constants_and_layouts_are_the_vendors(tmp_path: Path) -> None:
    expressions = constants() + layouts()
    assert len(constants()) > 400
    assert len(layouts()) > 100
    values = values_of_ours(expressions, tmp_path)
    lines = [f'static_assert(static_cast<long long>({text}) == {value}LL, "{text}");' for text, value in values.items()]
    assert against_vendor(lines, tmp_path) == ""


def test_each_header_compiles_alone_as_c(tmp_path: Path) -> None:
    for path in sorted((ABI / "flexnpu_abi").glob("*.h")):
        source = tmp_path / "alone.c"
        source.write_text(f'#include "flexnpu_abi/{path.name}"\n')
        built = subprocess.run(
            ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ABI}", str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stderr


def test_operator_rows_are_sorted_and_unique() -> None:
    text = (ABI.parent / "aclnn.def").read_text()
    names = re.findall(r"^FLEXNPU_ACLNN\((\w+), \d+, \d+\)$", text, flags=re.M)
    assert len(names) > 1000
    assert names == sorted(set(names))
