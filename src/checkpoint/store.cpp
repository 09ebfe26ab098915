#include <algorithm>

#include "moe/base/text.h"
#include "moe/checkpoint/checkpoint.h"

namespace moe {

namespace {

/// A name for `folder` among its neighbours that nothing has so far.
fs::path free_name(const fs::path& folder, std::string_view prefix) {
  std::error_code ignored;
  const auto first = folder.parent_path() / cat(prefix, folder.filename().string());
  auto free = first;
  for (int i = 2; fs::exists(free, ignored); ++i) free = cat(first.string(), "-", i);
  return free;
}

void correct_hint(const fs::path& file, const CheckpointRef& ref, FileLayer& files) {
  constexpr std::uint64_t kLongestHint = 200;
  const auto name = ref.folder.filename().string() + "\n";
  std::error_code ignored;
  if (fs::is_regular_file(file, ignored) && fs::file_size(file, ignored) < kLongestHint &&
      read_file(file, ErrorKind::resource) == name)
    return;
  files.replace(file, name);
}

/// What retention may remove, newest first.
std::vector<CheckpointRef> superfluous(const fs::path& run, std::int64_t keep,
                                       std::int64_t best_step, std::set<std::int64_t>& verified) {
  const auto checkpoints = list_checkpoints(run);
  const auto kept = static_cast<std::size_t>(std::max<std::int64_t>(2, keep));
  if (checkpoints.size() <= kept) return {};
  const RunIdentity identity(run);
  std::size_t sound = 0;
  std::vector<CheckpointRef> out;
  for (const auto& ref : checkpoints) {
    if (sound == kept) {
      if (ref.step != best_step && identity.difference(ref).empty()) out.push_back(ref);
    } else if (verified.contains(ref.step) || is_sound(ref, identity)) {
      verified.insert(ref.step);
      ++sound;
    }
  }
  return out;
}

}  // namespace

std::vector<std::string> put_aside(const std::vector<PassedOver>& passed_over, FileLayer& files) {
  std::vector<std::string> lines;
  for (const auto& one : passed_over) {
    const auto aside = free_name(one.ref.folder, one.is_foreign ? "foreign-" : "damaged-");
    files.rename(one.ref.folder, aside);
    lines.push_back(cat(one.ref.folder.string(), ": is kept aside as ", aside.filename().string(),
                        "; remove it when you do not need it"));
  }
  return lines;
}

std::vector<std::string> make_way_for(const fs::path& run, std::int64_t step, FileLayer& files) {
  const RunIdentity identity(run);
  std::vector<PassedOver> in_the_way;
  for (const auto& ref : list_checkpoints(run))
    if (ref.step == step && !is_sound(ref, identity))
      in_the_way.push_back({ref, !identity.difference(ref).empty(), ""});
  return put_aside(in_the_way, files);
}

void correct_hints(const CheckpointInfo& newest, FileLayer& files) {
  const auto checkpoints = newest.ref.folder.parent_path();
  correct_hint(checkpoints / "last", newest.ref, files);
  const auto best_step = newest.state.value("best_step", Json());
  for (const auto& ref : list_checkpoints(*newest.ref.run))
    if (best_step == ref.step) correct_hint(checkpoints / "best", ref, files);
}

void prune_checkpoints(const fs::path& run, std::int64_t keep, std::int64_t best_step,
                       FileLayer& files, std::set<std::int64_t>* verified) {
  std::set<std::int64_t> none;
  for (const auto& ref :
       superfluous(run, keep, best_step, verified != nullptr ? *verified : none)) {
    files.tidy(ref.folder);
  }
}

}  // namespace moe
