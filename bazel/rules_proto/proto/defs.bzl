"""Bazel's built-in rules, by the names under which rules_proto has them."""

proto_lang_toolchain = native.proto_lang_toolchain
proto_library = native.proto_library
