// SPDX-License-Identifier: Apache-2.0
#include "runtime/versions.h"

#include <link.h>

#include <cstring>
#include <fstream>
#include <string_view>

namespace softnpu {
namespace {

struct Package {
    const char* name;
    const char* library;
    std::string directory;  // of the package; empty while its library is not loaded
};

struct Packages {
    Package torch{"torch", "/lib/libtorch_cpu.so", {}};
    Package torch_npu{"torch_npu", "/lib/libtorch_npu.so", {}};
};

int look(dl_phdr_info* info, size_t /*size*/, void* data) {
    const std::string_view path = info->dlpi_name;
    auto& packages = *static_cast<Packages*>(data);
    for (Package* package : {&packages.torch, &packages.torch_npu}) {
        if (path.ends_with(package->library)) {
            package->directory = path.substr(0, path.size() - std::strlen(package->library));
        }
    }
    return 0;
}

// "2.13.0+cpu"; empty when the package does not say.
std::string version_of(const Package& package) {
    std::ifstream file(package.directory + "/version.py");
    for (std::string line; std::getline(file, line);) {
        constexpr std::string_view start = "__version__ = '";
        if (line.starts_with(start)) {
            return line.substr(start.size(), line.find('\'', start.size()) - start.size());
        }
    }
    return {};
}

// "2.13" of "2.13.0+cpu".
std::string_view release(std::string_view version) {
    const size_t minor = version.find('.');
    return version.substr(0, minor == std::string_view::npos ? minor : version.find('.', minor + 1));
}

}  // namespace

std::string torch_mismatch() {
    constexpr std::string_view built = SOFTNPU_TORCH_VERSION;
    Packages packages;
    dl_iterate_phdr(look, &packages);
    for (const Package* package : {&packages.torch, &packages.torch_npu}) {
        const std::string found = package->directory.empty() ? std::string() : version_of(*package);
        if (!found.empty() && release(found) != release(built)) {
            const std::string known(release(built));
            return std::string(package->name) + " " + found + " in " + package->directory +
                   ": this software NPU is built for torch and torch_npu " + known + "; install torch==" + known +
                   ".* and torch_npu==" + known + ".*, or build flexnpu with that torch";
        }
    }
    return {};
}

}  // namespace softnpu
