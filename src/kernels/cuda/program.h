#pragma once

#include <map>
#include <string>
#include <vector>

namespace moe::kernels::cuda {

/// A file that a program includes.
struct Header {
  std::string name;  // as #include gives it
  std::string text;
};

/// What a program is compiled from (docs/adr/0053).
struct ProgramSource {
  std::string name;  // for messages
  std::string text;  // CUDA C++
  std::vector<Header> headers = {};
  std::vector<std::string> kernels = {};  // instantiations that are wanted: "drop_values<float>"
};

/// Machine code for one kind of GPU.
struct Program {
  std::string code;                                 // a cubin
  std::map<std::string, std::string> symbols = {};  // of each wanted kernel, its name in the code
};

}  // namespace moe::kernels::cuda
