#!/bin/sh
# Build llama.cpp's server from the sources that the sdist of llama-cpp-python carries: some 10 minutes on two cores.
# Usage: build.sh FOLDER VERSION
set -eu
folder=$1
version=$2
mkdir -p "$folder"
python3 -m pip download -q --no-deps --no-binary llama-cpp-python --dest "$folder" "llama-cpp-python==$version"
tar -xzf "$folder/llama_cpp_python-$version.tar.gz" -C "$folder"
cmake -S "$folder/llama_cpp_python-$version/vendor/llama.cpp" -B "$folder/build" -DCMAKE_BUILD_TYPE=Release \
    -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
cmake --build "$folder/build" --target llama-server --parallel 2
