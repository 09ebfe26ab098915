#include "store/foreign.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace moe {

namespace {

using namespace std::string_view_literals;

/// The bytes with which a kind of file begins, and what is said of it.
struct Magic {
  std::string_view begin, what;
};
constexpr auto kGguf =
    "is a GGUF file of llama.cpp, and safetensors are wanted; makemoe import takes such a file by "
    "its name"sv;
constexpr auto kPickle =
    "is a Python pickle, as torch.save writes it, which may run code; convert it: python3 -c "
    "\"import torch, safetensors.torch as st; st.save_file({k: v.contiguous().clone() for k, v in "
    "torch.load('FILE', map_location='cpu', weights_only=True).items()}, 'NEW.safetensors')\" (of "
    "a checkpoint with more in it, take the "
    "weights alone: torch.load(...)['model'].items())"sv;
constexpr auto kNumpy =
    "is a NumPy archive; convert it: python3 -c \"import numpy as np, safetensors.numpy as st; "
    "st.save_file(dict(np.load('FILE')), 'NEW.safetensors')\""sv;
constexpr auto kIndex =
    "is the index of weights in several files, not weights; join them: python3 -c \"import json, "
    "safetensors.torch as st; st.save_file({k: v for f in "
    "sorted(set(json.load(open('FILE'))['weight_map'].values())) for k, v in "
    "st.load_file(f).items()}, 'NEW.safetensors')\""sv;
constexpr auto kPage =
    "is a web page, perhaps an error or a login in place of the file; download the file itself"sv;
constexpr std::array kMagics{
    Magic{"GGUF", kGguf},
    Magic{"\x93NUMPY", "is one NumPy array; weights are many, in a safetensors file"},
    Magic{"\x89HDF\r\n", "is an HDF5 file; convert it to safetensors"},
    Magic{"\x1F\x8B", "is compressed with gzip; unpack it: gunzip -k FILE"},
    Magic{"\xFD"
          "7zXZ",
          "is compressed with xz; unpack it: unxz -k FILE"},
    Magic{"\x28\xB5\x2F\xFD", "is compressed with zstd; unpack it: unzstd FILE"},
    Magic{"version https://git-lfs.github.com/spec/",
          "is a Git LFS pointer, not the weights; get them: git lfs pull"}};

bool has(std::string_view bytes, std::string_view part) {
  return bytes.substr(0, kFront).find(part) != std::string_view::npos;
}

std::string_view zip_kind(std::string_view bytes) {
  if (has(bytes, "/data.pkl")) return kPickle;
  if (has(bytes, ".npy")) return kNumpy;
  return "is a zip archive; unpack it and name the safetensors file in it"sv;
}

/// Pickles of protocol 2 and later; older ones have no mark.
bool is_pickle(std::string_view bytes) {
  return bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5;
}

/// Kinds of text, by the first symbols that are not white.
std::string_view text_kind(std::string_view bytes) {
  const auto first = bytes.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "";
  std::string begin(bytes.substr(first, 20));
  std::ranges::transform(begin, begin.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const auto page : {"<!doctype", "<html", "<?xml"})
    if (begin.starts_with(page)) return kPage;
  if (!begin.starts_with('{')) return "";
  if (has(bytes, "\"weight_map\"")) return kIndex;
  return "is JSON, not weights; name the safetensors file that belongs to it"sv;
}

std::string_view kind_of(std::string_view bytes) {
  for (const auto& magic : kMagics)
    if (bytes.starts_with(magic.begin)) return magic.what;
  if (bytes.starts_with("PK\x03\x04")) return zip_kind(bytes);
  return is_pickle(bytes) ? kPickle : text_kind(bytes);
}

}  // namespace

std::string foreign_weights(std::string_view bytes) { return std::string(kind_of(bytes)); }

}  // namespace moe
