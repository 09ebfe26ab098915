#pragma once

namespace moe {

/// The names of an enum's values in files, in the order of the values; specialised per enum.
template <class Enum>
struct EnumNames;

}  // namespace moe
