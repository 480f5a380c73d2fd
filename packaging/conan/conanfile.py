# SPDX-License-Identifier: MIT
"""Conan 2: `conan create packaging/conan` from a checkout packs the headers of that checkout."""

import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, load
from conan.tools.layout import basic_layout

required_conan_version = ">=2.0"


class TocsinConan(ConanFile):
    name = "tocsin"
    description = "Signals for C++20 on POSIX: shut down, wake up, dump and watch, in one declaration"
    license = "MIT"
    topics = ("signals", "posix", "crash", "watchdog", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True

    def _checkout(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        text = load(self, os.path.join(self._checkout(), "meson.build"))
        self.version = self.version or re.search(r"version: '([^']*)'", text)[1]

    def export_sources(self):
        copy(self, "LICENSE", self._checkout(), self.export_sources_folder)
        copy(self, "include/*.hpp", self._checkout(), self.export_sources_folder)

    def layout(self):
        basic_layout(self)

    def package_id(self):
        self.info.clear()

    def validate(self):
        if self.settings.os != "Linux" or self.settings.arch not in ("x86_64", "armv8"):
            raise ConanInvalidConfiguration("tocsin runs on Linux on x86-64 and aarch64")
        if self.settings.get_safe("compiler.cppstd"):
            check_min_cppstd(self, 20)

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        copy(self, "*", os.path.join(self.source_folder, "include"), os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "tocsin")
        self.cpp_info.set_property("cmake_target_name", "tocsin::tocsin")
        self.cpp_info.set_property("pkg_config_name", "tocsin")
